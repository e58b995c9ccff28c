//! What a workload may ask of a pool of processes.

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// What crosses to a worker and back.
pub(super) trait Message: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}

/// Many bytes.
pub(super) trait Buffer: Message + Clone + From<Vec<u8>> + Deref<Target = [u8]> {}

impl<T: Message + Clone + From<Vec<u8>> + Deref<Target = [u8]>> Buffer for T {}

/// A pool.
pub(super) trait Pool: Sized {
    /// How many jobs it has in flight where it has many.
    const IN_FLIGHT: usize;

    /// How it takes many bytes best.
    type Bytes: Buffer;

    /// A job that was submitted.
    type Job<R>;

    /// So many workers, or the promise of so many.
    fn start(workers: usize) -> Result<Self, Error>;

    /// Has `function` called in a worker.
    fn submit<A: Message, R: Message>(
        &self,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<Self::Job<R>, Error>;

    /// Waits for what comes of it.
    fn result<R: Message>(job: Self::Job<R>) -> Result<R, Error>;

    /// Both.
    fn call<A: Message, R: Message>(&self, function: fn(A) -> R, argument: A) -> Result<R, Error> {
        Self::result(self.submit(function, argument)?)
    }

    /// The same bytes as something that need not be copied on its way, where there is such a thing.
    fn sealed(_bytes: &[u8]) -> Option<Self::Bytes> {
        None
    }

    /// Ends the workers and waits for that, where one can.
    fn end(self) {}
}
