//! [`BlobBuf`]: where a [`Blob`] is written that reaches other processes without a copy.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::blob::{Blob, SEALED_FROM};
use crate::process::Unsealed;

/// Bytes to be filled and then frozen into a [`Blob`] that is not copied on its way to another process, or back.
///
/// From 64 KiB on they lie in shared memory from the start. [`freeze`](Self::freeze) seals it: nobody can change the
/// bytes any more, neither here nor elsewhere, so a process that gets them reads them where they are, and may keep them
/// and pass them on. One blob may be sent as often and to as many processes as you like.
///
/// It pays for bytes that are sent to several jobs or workers, come back, are a job's result, or of which only a part is read.
/// Those that lie in a `Vec` and are read once, from start to end, are as well sent as `Blob::from(vec)`: here, new
/// memory is filled more slowly, and to map a page costs about what it costs to copy it.
///
/// # What it costs
/// A descriptor for as long as the blob is alive, in each process that has it. A process has at most a quarter of its limit
/// of open files for these (as it was when first asked, and 1024 at most), and a message takes 64 of them: what comes
/// beyond that is copied, as any blob. So are shorter ones, those of pools with a
/// [limit of open files](crate::ProcessPoolBuilder::open_files), and all of them where the system has no memory to seal.
///
/// After a `fork` (not `exec`) parent and child share one that is not frozen yet.
///
/// ```
/// use loopool_executors::{Blob, BlobBuf, Executor, ProcessPoolExecutor, call};
///
/// fn invert(picture: Blob) -> Blob {
///     let mut inverted = BlobBuf::zeroed(picture.len());
///     for (to, from) in inverted.iter_mut().zip(picture.iter()) {
///         *to = !from;
///     }
///     inverted.freeze()
/// }
///
/// let mut picture = BlobBuf::zeroed(1 << 20);
/// picture.fill(3);
/// let picture = picture.freeze();
/// let pool = ProcessPoolExecutor::builder().workers(1).build()?;
/// let inverted = pool.submit(call(invert, picture))?.result(None)?;
/// assert!(inverted.iter().all(|byte| *byte == !3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct BlobBuf(Bytes);

enum Bytes {
    Owned(Vec<u8>),
    Shared(Unsealed),
}

impl BlobBuf {
    /// So many bytes, all zero. Memory is used as they are written.
    ///
    /// # Panics
    /// As `vec![0; len]`, when there is no memory to be had.
    pub fn zeroed(len: usize) -> Self {
        let shared = (len >= SEALED_FROM).then(|| Unsealed::zeroed(len)).and_then(Result::ok);
        BlobBuf(shared.map_or_else(|| Bytes::Owned(vec![0; len]), Bytes::Shared))
    }

    /// The blob of these bytes. When the system refuses to seal them they are copied, and so is the blob when it crosses.
    ///
    /// Parts that were never written take memory from now on.
    pub fn freeze(self) -> Blob {
        match self.0 {
            Bytes::Owned(bytes) => bytes.into(),
            Bytes::Shared(bytes) => bytes.seal().map_or_else(Blob::from, Blob::from),
        }
    }
}

impl From<BlobBuf> for Blob {
    fn from(bytes: BlobBuf) -> Self {
        bytes.freeze()
    }
}

impl Deref for BlobBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl DerefMut for BlobBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl fmt::Debug for BlobBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobBuf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_freezes_at_any_length_and_thaws_into_a_vector() {
        for len in [0, 1, SEALED_FROM - 1, SEALED_FROM, SEALED_FROM + 1, 1 << 20] {
            let mut buf = BlobBuf::zeroed(len);
            assert_eq!(buf[..], vec![0; len]);
            buf.fill(7);
            let blob = buf.freeze();
            assert_eq!(blob.sealed().is_some(), len >= SEALED_FROM);
            assert_eq!((blob.clone(), blob.into_vec()), (vec![7; len].into(), vec![7; len]));
        }
    }

    #[test]
    fn outside_a_crossing_it_is_plain_bytes() {
        let mut buf = BlobBuf::zeroed(1 << 20);
        buf[..3].copy_from_slice(&[1, 2, 3]);
        let blob = buf.freeze();
        let bytes = postcard::to_stdvec(&blob).unwrap();
        assert!(bytes.len() > 1 << 20);
        assert_eq!(postcard::from_bytes::<Blob>(&bytes).unwrap(), blob);
    }
}
