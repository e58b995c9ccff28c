//! A value on its way: encoded, with its blobs beside it.
//!
//! The *head* is the table of the blobs' places and after it the value, encoded. A head that is short
//! travels in the frame or slot; a long one, and every blob, lies *beside*: on the board, or in a file in memory (the
//! arena on the way to a worker, the worker's result file on the way back). There the blobs come first, in the order
//! of their numbers and without overlap, and the head comes last. A [sealed](super::sealed) blob has a file of its own,
//! whose descriptor travels with the message.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::board::{Area, Board, RESULTS};
use super::foreign::Foreign;
use super::sealed::Sealed;
use super::wire::{BlobPlace, Place, Span};
use crate::blob::{self, Blob};
use crate::caught::text_of;

/// Heads up to this size travel in a frame.
pub(crate) const TAIL_LIMIT: usize = 32 * 1024;

/// Where blobs begin: a cache line, so that vector instructions on one need not straddle.
const ALIGN: u64 = 64;

/// Files larger than this are given up after use instead of kept for the next job. (64 MiB of bytes, and what belongs to
/// them, are kept: to fill a new file takes three times as long as an old one.)
pub(crate) const KEEP_AT_MOST: u64 = 72 << 20;

/// The largest message, both ways.
pub(crate) const BODY_LIMIT: u64 = 64 << 30;

/// An encoded value.
#[derive(Default)]
pub(crate) struct Body {
    value: Vec<u8>,
    blobs: Vec<Blob>,
}

impl Body {
    /// Encodes `value`. The error says what went wrong, be it a panic of the value's `Serialize`.
    pub(crate) fn encode(value: &impl Serialize) -> Result<Body, String> {
        let encode = || blob::collect(|| postcard::to_stdvec(value));
        match catch_unwind(AssertUnwindSafe(encode)) {
            Ok((Ok(value), blobs)) => Ok(Body { value, blobs }),
            Ok((Err(error), _)) => Err(error.to_string()),
            Err(payload) => Err(format!("its Serialize panicked: {}", text_of(payload))),
        }
    }

    /// Decides where everything goes: a head of more than `near` bytes goes beside, and at most `most_sealed` files
    /// come with it.
    pub(crate) fn plan(&self, near: usize, most_sealed: usize) -> Plan {
        let mut end = 0;
        let mut places = Vec::with_capacity(self.blobs.len());
        let mut sealed = Vec::new();
        for blob in &self.blobs {
            if let Some(number) =
                blob.sealed().and_then(|file| number(file, &mut sealed, most_sealed))
            {
                places.push(BlobPlace::Sealed(number));
                continue;
            }
            let span = Span { offset: end, len: blob.len() as u64 };
            end = (span.offset + span.len).next_multiple_of(ALIGN);
            places.push(BlobPlace::Beside(span));
        }
        // Encoding numbers into a growing vector cannot fail.
        let table = postcard::to_stdvec(&places).unwrap_or_default();
        let head_len = table.len() + self.value.len();
        let place = if head_len <= near {
            Place::Tail
        } else {
            let span = Span { offset: end, len: head_len as u64 };
            end += span.len;
            Place::Beside(span)
        };
        Plan { places, table, place, len: end, sealed }
    }

    /// What goes into the frame after its header.
    pub(crate) fn tail<'a>(&'a self, plan: &'a Plan) -> [&'a [u8]; 2] {
        match plan.place {
            Place::Tail => [&plan.table, &self.value],
            Place::Beside(_) => [&[], &[]],
        }
    }

    /// Lets go of the blobs, which were copied already, or are in the plan.
    pub(crate) fn drop_blobs(&mut self) {
        self.blobs.clear();
    }

    /// Writes what goes beside, into a file.
    pub(crate) fn store(&self, plan: &Plan, file: &File) -> io::Result<()> {
        self.pour(plan, |bytes, offset| file.write_all_at(bytes, offset))
    }

    /// Writes what goes beside, on the board, where `plan.len` bytes are free from `start` on.
    pub(crate) fn place(&self, plan: &Plan, board: &Board, area: Area, start: u64) {
        let placed = self.pour(plan, |bytes, offset| {
            let part = area.part(start + offset, bytes.len() as u64);
            board.write(part.ok_or(io::ErrorKind::OutOfMemory)?, &[bytes]);
            Ok(())
        });
        debug_assert!(placed.is_ok(), "there was room");
    }

    /// Gives `write` each piece that goes beside, and where.
    fn pour(
        &self,
        plan: &Plan,
        mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        for (blob, place) in self.blobs.iter().zip(&plan.places) {
            if let BlobPlace::Beside(span) = place {
                write(blob, span.offset)?;
            }
        }
        if let Place::Beside(span) = plan.place {
            write(&plan.table, span.offset)?;
            write(&self.value, span.offset + plan.table.len() as u64)?;
        }
        Ok(())
    }

    /// About how much memory it takes.
    pub(crate) fn len(&self) -> usize {
        self.value.len() + self.blobs.iter().map(|blob| blob.len()).sum::<usize>()
    }
}

/// Where the parts of a [`Body`] go.
pub(crate) struct Plan {
    places: Vec<BlobPlace>,
    table: Vec<u8>,
    /// What comes with the message, in the order of the numbers.
    sealed: Vec<Arc<Sealed>>,
    /// Where the head goes.
    pub(crate) place: Place,
    /// How much goes beside.
    pub(crate) len: u64,
}

impl Plan {
    /// Whether there are descriptors to be sent.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// The descriptors that come with the message.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sealed.iter().map(|file| file.as_fd())
    }
}

/// The number of `file` among those that are sent, of which there may be `most`.
fn number(file: &Arc<Sealed>, sent: &mut Vec<Arc<Sealed>>, most: usize) -> Option<u32> {
    let number = sent.iter().position(|other| Arc::ptr_eq(other, file)).or_else(|| {
        (sent.len() < most).then(|| {
            sent.push(file.clone());
            sent.len() - 1
        })
    });
    number.map(|number| number as u32)
}

/// Splits a head into the blobs' places and the encoded value.
pub(crate) fn open(head: &[u8]) -> Result<(Vec<BlobPlace>, &[u8]), String> {
    postcard::take_from_bytes(head).map_err(|error| format!("its table of blobs: {error}"))
}

/// Decodes a value whose blobs are `blobs`.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8], blobs: Vec<Blob>) -> Result<T, String> {
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
pub(crate) fn new_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// Whether a result file is kept for the next job. Both sides ask, and see the same file.
pub(crate) fn is_worth_keeping(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.len() <= KEEP_AT_MOST)
}

/// Where the parts of a result are read from that lie beside.
pub(crate) trait Source {
    /// Refuses places that overlap, or that hold more than the worker can have written, before memory is set aside
    /// for them.
    fn check(&self, spans: &[Span]) -> Result<(), String>;

    /// Copies a stretch that was checked.
    fn read(&self, span: Span) -> Result<Vec<u8>, String>;
}

/// Reads a head that lies beside.
pub(crate) fn head(source: &dyn Source, span: Span) -> Result<Vec<u8>, String> {
    source.check(&[span])?;
    source.read(span)
}

/// Reads the blobs of a result. `sealed` came with it.
pub(crate) fn blobs(
    source: Option<&dyn Source>,
    places: &[BlobPlace],
    sealed: &[Blob],
) -> Result<Vec<Blob>, String> {
    check_numbers(places, sealed.len())?;
    let span = |place: &BlobPlace| match place {
        BlobPlace::Beside(span) => Some(*span),
        BlobPlace::Sealed(_) => None,
    };
    let spans: Vec<Span> = places.iter().filter_map(span).collect();
    if !spans.is_empty() {
        source.ok_or(NO_FILE)?.check(&spans)?;
    }
    // Shorter ones cross in the message: many that are empty would make much of little.
    if spans.iter().any(|span| span.len <= blob::NEAR_LIMIT as u64) {
        return Err("a blob that is too short to lie beside".to_owned());
    }
    let blob = |place: &BlobPlace| match place {
        BlobPlace::Beside(span) => source.ok_or(NO_FILE)?.read(*span).map(Blob::from),
        BlobPlace::Sealed(number) => Ok(sealed.get(*number as usize).ok_or(MISSING)?.clone()),
    };
    places.iter().map(blob).collect()
}

/// What is said of a result that lies in no file.
pub(crate) const NO_FILE: &str = "a result without its file";

/// What is said of a sealed blob that did not come.
const MISSING: &str = "a blob without its file";

/// Refuses numbers of sealed files that are not there, and files that no blob is in.
fn check_numbers(places: &[BlobPlace], sealed: usize) -> Result<(), String> {
    let mut next = 0;
    for place in places {
        if let BlobPlace::Sealed(number) = place {
            match (*number as usize).cmp(&next) {
                Ordering::Less => {}
                Ordering::Equal => next += 1,
                Ordering::Greater => return Err("numbers of blobs that make no sense".to_owned()),
            }
        }
    }
    match next.cmp(&sealed) {
        Ordering::Less => Err("files that no blob is in".to_owned()),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(MISSING.to_owned()),
    }
}

/// Refuses stretches that overlap, or end beyond `end`. Gives the sum of their lengths.
fn check_order(spans: &[Span], end: u64) -> Result<u64, String> {
    let mut last = 0;
    let mut total = 0;
    for span in spans {
        let its_end = span.end().filter(|its_end| span.offset >= last && *its_end <= end);
        last = its_end.ok_or("a result outside of where results lie")?;
        total += span.len;
    }
    Ok(total)
}

/// The part of the board's results that begins here.
pub(crate) struct BoardResults<'a> {
    pub(crate) board: &'a Board,
    pub(crate) start: u64,
}

impl Source for BoardResults<'_> {
    fn check(&self, spans: &[Span]) -> Result<(), String> {
        let room = (RESULTS.len as u64).checked_sub(self.start);
        check_order(spans, room.ok_or("a result outside of where results lie")?).map(drop)
    }

    fn read(&self, span: Span) -> Result<Vec<u8>, String> {
        let offset = self.start.checked_add(span.offset);
        let area = offset.and_then(|offset| RESULTS.part(offset, span.len));
        let area = area.ok_or("a result outside of where results lie")?;
        let mut bytes = Vec::new();
        self.board.read(area, &mut bytes);
        Ok(bytes)
    }
}

/// The file a worker puts its results into. The program believes nothing about it.
pub(crate) struct ResultFile(File);

impl ResultFile {
    /// Takes a worker's word for it that `fd` is a result file, as far as it can be checked: a
    /// regular file in memory, so that reading can't block.
    pub(crate) fn of(fd: Foreign) -> Result<Self, String> {
        let file = fd.in_memory();
        let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
        let file = file.filter(is_regular).ok_or("a result file that is no file in memory")?;
        Ok(ResultFile(file))
    }

    /// Whether it is kept for the next job.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        is_worth_keeping(&self.0)
    }
}

impl Source for ResultFile {
    /// Holes do not count: the worker must have had the memory that it makes the program use.
    fn check(&self, spans: &[Span]) -> Result<(), String> {
        let metadata = self.0.metadata().map_err(|error| error.to_string())?;
        let total = check_order(spans, metadata.len())?;
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
    use crate::BlobBuf;
    use crate::process::transport::sealed::{self, MOST_SEALED};

    fn there_and_back(value: &(Vec<u8>, Vec<Blob>)) -> (Vec<u8>, Vec<Blob>) {
        let body = Body::encode(value).unwrap();
        let plan = body.plan(TAIL_LIMIT, MOST_SEALED);
        let file = new_file("test").unwrap();
        body.store(&plan, &file).unwrap();
        let file = ResultFile::of(file.into()).unwrap();
        let head = match plan.place {
            Place::Tail => body.tail(&plan).concat(),
            Place::Beside(span) => super::head(&file, span).unwrap(),
        };
        let (places, bytes) = open(&head).unwrap();
        let sealed = plan.sealed().map(|fd| fd.try_clone_to_owned().unwrap().into());
        let sealed = sealed::receive(sealed).unwrap();
        decode(bytes, blobs(Some(&file), &places, &sealed).unwrap()).unwrap()
    }

    #[test]
    fn values_of_all_shapes_cross() {
        for head in [0, 10, TAIL_LIMIT, 100_000] {
            for blobs in [vec![], vec![5000], vec![10, 4097, 1 << 20]] {
                let plain = blobs.iter().map(|len| Blob::from(vec![*len as u8; *len]));
                let value = (vec![3; head], plain.clone().collect());
                assert_eq!(there_and_back(&value), value);
                let mixed = blobs.iter().zip(plain).flat_map(|(len, plain)| {
                    let mut buf = BlobBuf::zeroed(len * 20);
                    buf.fill(*len as u8);
                    let sealed = buf.freeze();
                    [sealed.clone(), plain, sealed]
                });
                let value = (vec![3; head], mixed.collect());
                assert_eq!(there_and_back(&value), value);
            }
        }
    }

    #[test]
    fn lies_about_places_are_refused() {
        let file = new_file("test").unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        file.set_len(1 << 40).unwrap();
        let file = ResultFile::of(file.into()).unwrap();
        let span = |offset, len| BlobPlace::Beside(Span { offset, len });
        let blobs = |file: &ResultFile, places: &[BlobPlace]| blobs(Some(file), places, &[]);
        assert!(blobs(&file, &[span(0, 4097), span(4097, 4095)]).is_err(), "too short");
        assert_eq!(blobs(&file, &[span(0, 4097)]).unwrap().len(), 1);
        for lie in [
            vec![span(0, 1 << 39)],
            vec![span(0, 1 << 41)],
            vec![span(u64::MAX, 2)],
            vec![span(0, 4096), span(0, 4096)],
            vec![span(0, 8192), span(8192, 8192)],
        ] {
            assert!(blobs(&file, &lie).is_err(), "{lie:?}");
        }
    }

    #[test]
    fn sealed_files_and_their_numbers_must_fit() {
        let sealed: Vec<Blob> = (0..2).map(|_| BlobBuf::zeroed(1 << 20).freeze()).collect();
        let blobs = |numbers: &[u32], files: usize| {
            let places: Vec<_> = numbers.iter().copied().map(BlobPlace::Sealed).collect();
            blobs(None, &places, &sealed[..files]).map(|blobs| blobs.len())
        };
        assert_eq!(
            (blobs(&[], 0), blobs(&[0, 1], 2), blobs(&[0, 0, 1, 0], 2)),
            (Ok(0), Ok(2), Ok(4))
        );
        for (numbers, files) in [(&[0][..], 0), (&[], 1), (&[0, 1], 1), (&[0, 0], 2), (&[1, 0], 2)]
        {
            assert!(blobs(numbers, files).is_err(), "{numbers:?} of {files}");
        }
    }

    #[test]
    fn as_many_files_come_with_a_message_as_may_and_the_others_are_copied() {
        let value: Vec<Blob> = (0..4).map(|_| BlobBuf::zeroed(1 << 20).freeze()).collect();
        let body = Body::encode(&value).unwrap();
        for (most, len) in [(0, 4 << 20), (3, 1 << 20), (4, 0), (MOST_SEALED, 0)] {
            let plan = body.plan(TAIL_LIMIT, most);
            assert_eq!((plan.sealed().count(), plan.len), (most.min(4), len));
        }
    }

    #[test]
    fn only_files_in_memory_pass_as_result_files() {
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(ResultFile::of(pipe.into()).is_err());
        assert!(ResultFile::of(File::open("/dev/zero").unwrap().into()).is_err());
        assert!(ResultFile::of(File::open("/proc/self/status").unwrap().into()).is_err());
    }

    #[test]
    fn a_value_that_leaves_bytes_over_is_an_error() {
        assert!(decode::<u8>(&[1, 2], Vec::new()).unwrap_err().contains("left over"));
    }
}
