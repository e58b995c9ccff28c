//! procspawn's pool.

use std::fmt;
use std::ops::Deref;

use procspawn::JoinHandle;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::pool::{Message, Pool};
use crate::Error;

/// Its pool.
pub(super) struct Procspawn(procspawn::Pool);

impl Pool for Procspawn {
    /// Each job that waits has three descriptors; more than some thousands are too many by default.
    const IN_FLIGHT: usize = 1_000;

    type Bytes = Bytes;

    type Job<R> = JoinHandle<R>;

    fn start(workers: usize) -> Result<Self, Error> {
        Ok(Procspawn(procspawn::Pool::new(workers)?))
    }

    fn submit<A: Message, R: Message>(
        &self,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<JoinHandle<R>, Error> {
        Ok(self.0.spawn(argument, function))
    }

    fn result<R: Message>(job: JoinHandle<R>) -> Result<R, Error> {
        Ok(job.join()?)
    }
}

/// Bytes that serde takes in one piece. (The pool sends its arguments in a way in which the crate's own
/// `Shmem` does not arrive.)
#[derive(Clone)]
pub(super) struct Bytes(Vec<u8>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(bytes)
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Whole)
    }
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }
}
