//! [`Blob`]: bytes that cross to another process beside the message instead of in it.
//!
//! While a call or its result is encoded on behalf of the process pool, a thread-local collector is in
//! place: a blob that is serialised then, however deeply nested, leaves itself in the collector and
//! writes only its number. While one is decoded, the blobs that came along lie there to be picked up.
//! With no collector in place a blob is plain bytes to serde.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::process::{Mapping, Sealed};

/// Blobs up to this size are cheaper to copy into the message than to lay beside it (a system call
/// and a page fault each).
pub(crate) const NEAR_LIMIT: usize = 4096;

/// Blobs of a [`BlobBuf`](crate::BlobBuf) have a file of their own from this size on: for shorter ones the system calls
/// for that, some ten on each side, take longer than to copy the bytes.
pub(crate) const SEALED_FROM: usize = 64 * 1024;

/// A buffer of bytes that reaches another process without being run through the codec.
///
/// Anywhere in the argument or the result of a [`call`](crate::call), a `Vec<u8>` is encoded and
/// decoded with everything else; a `Blob` is laid beside. A job reads its argument's blobs in place,
/// in memory shared with the program; a result's blobs are copied once. Cloning is cheap.
///
/// One that was written in a [`BlobBuf`](crate::BlobBuf) is not copied at all, in neither direction.
///
/// To any other serialiser it is a plain sequence of bytes.
///
/// ```
/// use loopool_executors::{Blob, Executor, ProcessPoolExecutor, call};
///
/// fn invert(picture: Blob) -> Blob {
///     picture.iter().map(|byte| !byte).collect::<Vec<u8>>().into()
/// }
///
/// let pool = ProcessPoolExecutor::builder().workers(1).build()?;
/// let mut job = pool.submit(call(invert, Blob::from(vec![0; 1 << 20])))?;
/// assert_eq!(job.result(None)?.into_vec(), vec![255; 1 << 20]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Blob(Bytes);

#[derive(Clone)]
enum Bytes {
    Owned(Arc<Vec<u8>>),
    /// In a worker: a part of the arena. The mapping lives as long as any blob in it.
    Mapped {
        mapping: Arc<Mapping>,
        start: usize,
        len: usize,
    },
    /// A file of its own, which nobody can change.
    Sealed(Arc<Sealed>),
}

impl Blob {
    /// The bytes as a vector; copied when they are shared with a clone or with another process, as those of a
    /// [`BlobBuf`](crate::BlobBuf) are.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Bytes::Owned(bytes) => Arc::try_unwrap(bytes).unwrap_or_else(|bytes| bytes.to_vec()),
            Bytes::Mapped { .. } | Bytes::Sealed(_) => self.to_vec(),
        }
    }

    /// A part of `mapping`; none when it does not lie within.
    pub(crate) fn mapped(mapping: &Arc<Mapping>, offset: u64, len: u64) -> Option<Blob> {
        let start = usize::try_from(offset).ok()?;
        let len = usize::try_from(len).ok()?;
        mapping.get(start..start.checked_add(len)?)?;
        Some(Blob(Bytes::Mapped { mapping: mapping.clone(), start, len }))
    }

    /// The file that it has of its own.
    pub(crate) fn sealed(&self) -> Option<&Arc<Sealed>> {
        match &self.0 {
            Bytes::Sealed(sealed) => Some(sealed),
            Bytes::Owned(_) | Bytes::Mapped { .. } => None,
        }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Mapped { mapping, start, len } => &mapping[*start..*start + *len],
            Bytes::Sealed(sealed) => sealed,
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(Bytes::Owned(Arc::new(bytes)))
    }
}

impl From<Sealed> for Blob {
    fn from(sealed: Sealed) -> Self {
        Blob(Bytes::Sealed(Arc::new(sealed)))
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl Default for Blob {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

/// What the thread does with blobs right now.
enum Crossing {
    Out(Vec<Blob>),
    In(Vec<Blob>),
}

thread_local! {
    static CROSSING: RefCell<Option<Crossing>> = const { RefCell::new(None) };
}

/// Puts the previous collector back, also when a serialiser panics.
struct Restore(Option<Crossing>);

impl Restore {
    fn after(new: Crossing) -> Self {
        Restore(CROSSING.replace(Some(new)))
    }

    fn finish(mut self) -> Option<Crossing> {
        let previous = self.0.take();
        let mine = CROSSING.replace(previous);
        std::mem::forget(self);
        mine
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The collector of a panicked encoding is dropped after the cell is free again.
        let mine = CROSSING.replace(self.0.take());
        drop(mine);
    }
}

/// Runs `encode` and returns, besides what it returns, the blobs it met, in their order.
pub(crate) fn collect<T>(encode: impl FnOnce() -> T) -> (T, Vec<Blob>) {
    let restore = Restore::after(Crossing::Out(Vec::new()));
    let encoded = encode();
    match restore.finish() {
        Some(Crossing::Out(blobs)) => (encoded, blobs),
        _ => (encoded, Vec::new()),
    }
}

/// Runs `decode`, which finds `blobs` by their numbers.
pub(crate) fn supply<T>(blobs: Vec<Blob>, decode: impl FnOnce() -> T) -> T {
    let restore = Restore::after(Crossing::In(blobs));
    let decoded = decode();
    drop(restore.finish());
    decoded
}

/// What a blob is to serde while it crosses.
#[derive(serde::Serialize)]
#[serde(rename = "Blob")]
enum CrossingOut<'a> {
    Near(Plain<&'a [u8]>),
    Far(u32),
}

#[derive(serde::Deserialize)]
#[serde(rename = "Blob")]
enum CrossingIn {
    Near(Plain<Vec<u8>>),
    Far(u32),
}

/// Bytes as serde's bytes, not as a sequence of numbers.
struct Plain<T>(T);

impl Serialize for Plain<&[u8]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Plain<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor).map(Plain)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = CROSSING.with_borrow_mut(|crossing| match crossing {
            Some(Crossing::Out(_)) if self.len() <= NEAR_LIMIT => Some(Ok(None)),
            Some(Crossing::Out(blobs)) => {
                let number = u32::try_from(blobs.len());
                blobs.push(self.clone());
                Some(number.map(Some))
            }
            _ => None,
        });
        match number {
            None => serializer.serialize_bytes(self),
            Some(Ok(None)) => CrossingOut::Near(Plain(self)).serialize(serializer),
            Some(Ok(Some(number))) => CrossingOut::Far(number).serialize(serializer),
            Some(Err(_)) => Err(S::Error::custom("more than 2^32 blobs in one value")),
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let crossing = CROSSING.with_borrow(|now| matches!(now, Some(Crossing::In(_))));
        if !crossing {
            return Plain::deserialize(deserializer).map(|Plain(bytes)| bytes.into());
        }
        match CrossingIn::deserialize(deserializer)? {
            CrossingIn::Near(Plain(bytes)) => Ok(bytes.into()),
            CrossingIn::Far(number) => CROSSING
                .with_borrow(|now| match now {
                    Some(Crossing::In(blobs)) => blobs.get(number as usize).cloned(),
                    _ => None,
                })
                .ok_or_else(|| D::Error::custom("a blob is missing that the message refers to")),
        }
    }
}

struct BytesVisitor;

/// The most that is set aside on the word of a length nobody has checked.
const RESERVE_AT_MOST: usize = 1 << 16;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(RESERVE_AT_MOST));
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> (usize, usize, T) {
        let (bytes, blobs) = collect(|| postcard::to_stdvec(value).unwrap());
        let count = blobs.len();
        (bytes.len(), count, supply(blobs, || postcard::from_bytes(&bytes).unwrap()))
    }

    #[test]
    fn a_large_one_crosses_beside_the_message_however_nested() {
        let value = vec![Some((1u8, Blob::from(vec![7; 10_000]))), None];
        let (len, blobs, back) = round_trip(&value);
        assert!(len < 20, "{len}");
        assert_eq!((blobs, back), (1, value));
    }

    #[test]
    fn a_small_one_crosses_in_the_message() {
        let value = Blob::from(vec![7; 100]);
        let (len, blobs, back) = round_trip(&value);
        assert!(len > 100);
        assert_eq!((blobs, back), (0, value));
    }

    #[test]
    fn outside_a_crossing_it_is_plain_bytes() {
        let value = Blob::from(vec![7; 10_000]);
        let bytes = postcard::to_stdvec(&value).unwrap();
        assert!(bytes.len() > 10_000);
        assert_eq!(postcard::from_bytes::<Blob>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_number_without_a_blob_is_an_error() {
        let (bytes, _) = collect(|| postcard::to_stdvec(&Blob::from(vec![7; 10_000])).unwrap());
        let back = supply(Vec::new(), || postcard::from_bytes::<Blob>(&bytes));
        assert!(back.is_err());
    }

    #[test]
    fn a_panic_while_encoding_leaves_no_collector_behind() {
        let panicked = std::panic::catch_unwind(|| collect(|| panic!("in a serialiser")));
        assert!(panicked.is_err());
        assert!(CROSSING.with_borrow(Option::is_none));
    }

    #[test]
    fn the_only_owner_gets_the_vector_back_uncopied() {
        let bytes = vec![1; 5000];
        let place = bytes.as_ptr();
        let back = Blob::from(bytes).into_vec();
        assert_eq!(back.as_ptr(), place);
    }
}
