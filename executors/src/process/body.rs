//! A value on its way: encoded, with its blobs beside it.
//!
//! The *head* is the table of the blobs' places and after it the value, encoded. A head that is short
//! travels in the frame; a long one, and every blob, lies in a file in memory: the arena on the way to
//! a worker, the worker's result file on the way back. In the file the blobs come first, in the order
//! of their numbers and without overlap, and the head comes last.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::{Place, Span};
use crate::blob::{self, Blob};
use crate::caught::text_of;

/// Heads up to this size travel in the frame.
const TAIL_LIMIT: usize = 32 * 1024;

/// Where blobs begin: a cache line, so that vector instructions on one need not straddle.
const ALIGN: u64 = 64;

/// Files larger than this are given up after use instead of kept for the next job.
pub(super) const KEEP_AT_MOST: u64 = 64 << 20;

/// The largest message, both ways.
const BODY_LIMIT: u64 = 64 << 30;

/// An encoded value.
#[derive(Default)]
pub(super) struct Body {
    value: Vec<u8>,
    blobs: Vec<Blob>,
}

impl Body {
    /// Encodes `value`. The error says what went wrong, be it a panic of the value's `Serialize`.
    pub(super) fn encode(value: &impl Serialize) -> Result<Body, String> {
        let encode = || blob::collect(|| postcard::to_stdvec(value));
        match catch_unwind(AssertUnwindSafe(encode)) {
            Ok((Ok(value), blobs)) => Ok(Body { value, blobs }),
            Ok((Err(error), _)) => Err(error.to_string()),
            Err(payload) => Err(format!("its Serialize panicked: {}", text_of(payload))),
        }
    }

    /// Decides where everything goes.
    pub(super) fn plan(&self) -> Plan {
        let mut end = 0;
        let mut spans = Vec::with_capacity(self.blobs.len());
        for blob in &self.blobs {
            let span = Span { offset: end, len: blob.len() as u64 };
            end = (span.offset + span.len).next_multiple_of(ALIGN);
            spans.push(span);
        }
        // Encoding numbers into a growing vector cannot fail.
        let table = postcard::to_stdvec(&spans).unwrap_or_default();
        let head_len = table.len() + self.value.len();
        let place = if head_len <= TAIL_LIMIT {
            Place::Tail
        } else {
            let span = Span { offset: end, len: head_len as u64 };
            end += span.len;
            Place::File(span)
        };
        Plan { spans, table, place, file_len: end }
    }

    /// What goes into the frame after its header.
    pub(super) fn tail<'a>(&'a self, plan: &'a Plan) -> [&'a [u8]; 2] {
        match plan.place {
            Place::Tail => [&plan.table, &self.value],
            Place::File(_) => [&[], &[]],
        }
    }

    /// Lets go of the blobs, which are in the file already.
    pub(super) fn drop_blobs(&mut self) {
        self.blobs.clear();
    }

    /// Writes what goes into the file.
    pub(super) fn store(&self, plan: &Plan, file: &File) -> io::Result<()> {
        for (blob, span) in self.blobs.iter().zip(&plan.spans) {
            file.write_all_at(blob, span.offset)?;
        }
        if let Place::File(span) = plan.place {
            file.write_all_at(&plan.table, span.offset)?;
            file.write_all_at(&self.value, span.offset + plan.table.len() as u64)?;
        }
        Ok(())
    }
}

/// Where the parts of a [`Body`] go.
pub(super) struct Plan {
    spans: Vec<Span>,
    table: Vec<u8>,
    /// Where the head goes.
    pub(super) place: Place,
    /// How much of the file is used; 0 when none is needed.
    pub(super) file_len: u64,
}

/// Splits a head into the blobs' places and the encoded value.
pub(super) fn open(head: &[u8]) -> Result<(Vec<Span>, &[u8]), String> {
    postcard::take_from_bytes(head).map_err(|error| format!("its table of blobs: {error}"))
}

/// Decodes a value whose blobs are `blobs`.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8], blobs: Vec<Blob>) -> Result<T, String> {
    let decode = || blob::supply(blobs, || postcard::take_from_bytes::<T>(value));
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok((value, []))) => Ok(value),
        Ok(Ok((_, rest))) => {
            Err(format!("{} bytes were left over (Serialize and Deserialize differ)", rest.len()))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(payload) => Err(format!("its Deserialize panicked: {}", text_of(payload))),
    }
}

/// A new, empty file in memory.
pub(super) fn new_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// Whether a result file is kept for the next job. Both sides ask, and see the same file.
pub(super) fn is_worth_keeping(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() <= KEEP_AT_MOST)
}

/// The file a worker puts its results into. The program believes nothing about it.
pub(super) struct ResultFile(File);

impl ResultFile {
    /// Takes a worker's word for it that `fd` is a result file, as far as it can be checked: a
    /// regular file in memory, so that reading can't block.
    pub(super) fn check(fd: OwnedFd) -> Result<Self, String> {
        let file = File::from(fd);
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let in_memory = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GET_SEALS).is_ok();
        if regular && in_memory {
            Ok(ResultFile(file))
        } else {
            Err("a result file that is no file in memory".to_owned())
        }
    }

    /// Reads a head that lies in the file.
    pub(super) fn head(&self, span: Span) -> Result<Vec<u8>, String> {
        self.check_room(&[span])?;
        self.read(span)
    }

    /// Reads the blobs.
    pub(super) fn blobs(&self, spans: &[Span]) -> Result<Vec<Blob>, String> {
        self.check_room(spans)?;
        spans.iter().map(|span| self.read(*span).map(Blob::from)).collect()
    }

    /// Whether it is kept for the next job.
    pub(super) fn is_worth_keeping(&self) -> bool {
        is_worth_keeping(&self.0)
    }

    /// Refuses places that overlap, lie outside the file or in a hole of it, before memory is set
    /// aside for them: the worker must have had the memory it makes the program use.
    fn check_room(&self, spans: &[Span]) -> Result<(), String> {
        let metadata = self.0.metadata().map_err(|error| error.to_string())?;
        let mut total = 0;
        let mut last = 0;
        for span in spans {
            let end = span.end().filter(|end| span.offset >= last && *end <= metadata.len());
            last = end.ok_or("a result outside its result file")?;
            total += span.len;
        }
        if total > BODY_LIMIT || total > metadata.blocks().saturating_mul(512) {
            return Err("a result that is larger than what it wrote".to_owned());
        }
        Ok(())
    }

    fn read(&self, span: Span) -> Result<Vec<u8>, String> {
        let len = usize::try_from(span.len).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|error| error.to_string())?;
        while bytes.len() < len {
            let at = span.offset + bytes.len() as u64;
            let read =
                read_more(&self.0, &mut bytes, len, at).map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("a result file that became shorter".to_owned());
            }
        }
        Ok(bytes)
    }
}

/// Appends to `bytes`, which has room for `len` in all, what the file has at `offset`. (Filling the
/// room with zeros first would cost as much as reading into it.)
fn read_more(file: &File, bytes: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
    let offset = offset.try_into().map_err(io::Error::other)?;
    let missing = len - bytes.len();
    let room = &mut bytes.spare_capacity_mut()[..missing];
    // SAFETY: the kernel writes at most `room.len()` bytes into the vector's own spare room, and so
    // many of them are initialised then as it says.
    unsafe {
        let read = libc::pread(file.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), offset);
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        bytes.set_len(bytes.len() + read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(value: &(Vec<u8>, Vec<Blob>)) -> (Vec<u8>, Vec<Blob>) {
        let body = Body::encode(value).unwrap();
        let plan = body.plan();
        let file = new_file("test").unwrap();
        body.store(&plan, &file).unwrap();
        let file = ResultFile::check(file.into()).unwrap();
        let head = match plan.place {
            Place::Tail => body.tail(&plan).concat(),
            Place::File(span) => file.head(span).unwrap(),
        };
        let (spans, bytes) = open(&head).unwrap();
        decode(bytes, file.blobs(&spans).unwrap()).unwrap()
    }

    #[test]
    fn values_of_all_shapes_cross() {
        for head in [0, 10, TAIL_LIMIT, 100_000] {
            for blobs in [vec![], vec![5000], vec![10, 4097, 1 << 20]] {
                let blobs = blobs.into_iter().map(|len| Blob::from(vec![len as u8; len])).collect();
                let value = (vec![3; head], blobs);
                assert_eq!(there_and_back(&value), value);
            }
        }
    }

    #[test]
    fn lies_about_places_are_refused() {
        let file = new_file("test").unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        file.set_len(1 << 40).unwrap();
        let file = ResultFile::check(file.into()).unwrap();
        let span = |offset, len| Span { offset, len };
        assert_eq!(file.blobs(&[span(0, 4096), span(4096, 4096)]).unwrap().len(), 2);
        for lie in [
            vec![span(0, 1 << 39)],
            vec![span(0, 1 << 41)],
            vec![span(u64::MAX, 2)],
            vec![span(0, 4096), span(0, 4096)],
            vec![span(0, 8192), span(8192, 8192)],
        ] {
            assert!(file.blobs(&lie).is_err(), "{lie:?}");
        }
    }

    #[test]
    fn only_files_in_memory_pass_as_result_files() {
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(ResultFile::check(pipe).is_err());
        assert!(ResultFile::check(File::open("/dev/zero").unwrap().into()).is_err());
        assert!(ResultFile::check(File::open("/proc/self/status").unwrap().into()).is_err());
    }

    #[test]
    fn a_value_that_leaves_bytes_over_is_an_error() {
        assert!(decode::<u8>(&[1, 2], Vec::new()).unwrap_err().contains("left over"));
    }
}
