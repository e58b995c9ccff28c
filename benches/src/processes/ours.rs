//! Ours.

use loopool::{Blob, BlobBuf, Executor, Job, ProcessPoolExecutor, call};

use super::pool::{Message, Pool};
use crate::Error;

impl Pool for ProcessPoolExecutor {
    const IN_FLIGHT: usize = 10_000;

    type Bytes = Blob;

    type Job<R> = Job<R>;

    fn start(workers: usize) -> Result<Self, Error> {
        Ok(ProcessPoolExecutor::new(workers)?)
    }

    fn submit<A: Message, R: Message>(
        &self,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<Job<R>, Error> {
        Executor::submit(self, call(function, argument))
            .map_err(|rejected| rejected.to_string().into())
    }

    fn result<R: Message>(mut job: Job<R>) -> Result<R, Error> {
        job.result(None).map_err(|error| error.to_string().into())
    }

    fn sealed(bytes: &[u8]) -> Option<Blob> {
        let mut sealed = BlobBuf::zeroed(bytes.len());
        sealed.copy_from_slice(bytes);
        Some(sealed.freeze())
    }

    fn end(self) {
        self.shutdown(true, false);
    }
}
