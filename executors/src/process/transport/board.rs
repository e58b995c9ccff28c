//! [`Board`]: the memory that the program and one worker share: the ring, its slots, and room for what does not
//! fit into a slot.
//!
//! ```text
//! | ring | slot 0: job | answer | slot 1 … | arguments | results |
//! ```
//! It is one file in memory, made by the program and sealed so that nobody can make it shorter: touching it never
//! faults. The worker may write all of it at any time. So the program makes no reference to it, only pointers; it reads
//! what it needs once, into memory of its own, and checks it there. Nothing that it writes is ever read back.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::ring::{Ring, SLOTS};

/// What a job or an answer may take in its slot, in bytes. What is longer lies beside.
pub(crate) const MESSAGE_LIMIT: usize = HALF_SLOT - PREFIX;

const HALF_SLOT: usize = 512;
/// The length that comes before a message.
const PREFIX: usize = 2;
const PAGE: usize = 4096;
const RING: usize = size_of::<Ring>().next_multiple_of(PAGE);

/// A stretch of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    start: usize,
    pub(crate) len: usize,
}

/// Where large arguments go.
pub(crate) const ARGUMENTS: Area =
    Area { start: RING + SLOTS as usize * 2 * HALF_SLOT, len: 4 << 20 };
/// Where large results go.
pub(crate) const RESULTS: Area = Area { start: ARGUMENTS.start + ARGUMENTS.len, len: 4 << 20 };

/// The length of the file.
const LEN: usize = RESULTS.start + RESULTS.len;

const _: () = assert!(ARGUMENTS.start.is_multiple_of(PAGE) && SLOTS.is_power_of_two());

/// Where a slot's job lies.
pub(crate) fn job_of(number: u32) -> Area {
    Area { start: RING + (number % SLOTS) as usize * 2 * HALF_SLOT, len: HALF_SLOT }
}

/// Where a slot's answer lies.
pub(crate) fn answer_of(number: u32) -> Area {
    let job = job_of(number);
    Area { start: job.start + HALF_SLOT, len: HALF_SLOT }
}

impl Area {
    /// Where the area begins in the file.
    pub(crate) fn offset(self) -> u64 {
        self.start as u64
    }

    /// The part that begins here and has this length; none when it does not lie within.
    pub(crate) fn part(self, offset: u64, len: u64) -> Option<Area> {
        let end = offset.checked_add(len)?;
        let within = end <= self.len as u64;
        // They fit, being smaller than a length that does.
        within.then(|| Area { start: self.start + offset as usize, len: len as usize })
    }
}

/// A mapping of the whole file.
pub(crate) struct Board {
    memory: NonNull<u8>,
}

// SAFETY: it is memory that both processes reach at any time; whoever uses it keeps to the ring's protocol, or
// copies.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Board {
    /// A new, empty one, and the file for the worker.
    pub(crate) fn new() -> io::Result<(Self, File)> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create("loopool-board", flags)?);
        file.set_len(LEN as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok((Self::of(&file)?, file))
    }

    /// Maps the file that the other side has made.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; nothing is replaced.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Board { memory })
    }

    pub(crate) fn ring(&self) -> &Ring {
        // SAFETY: it lies at the start of the mapping, is aligned as pages are, consists of atomic words only, for which
        // every bit pattern is valid, and lives as long as the mapping.
        unsafe { self.memory.cast::<Ring>().as_ref() }
    }

    /// Copies `parts`, one after the other, to the start of `area`. They must fit.
    pub(crate) fn write(&self, area: Area, parts: &[&[u8]]) {
        let mut at = area.start;
        for part in parts {
            assert!(part.len() <= area.start + area.len - at, "more than the area takes");
            // SAFETY: `at` and the length lie within the area (asserted), which lies within the mapping; the part is
            // memory of our own, so they do not overlap.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    part.as_ptr(),
                    self.memory.as_ptr().add(at),
                    part.len(),
                );
            }
            at += part.len();
        }
    }

    /// Puts a message into a slot's job or answer: its length, two bytes, and then `parts`, which must fit.
    pub(crate) fn put(&self, area: Area, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        // It fits into the area, so into 16 bits.
        self.write(area, &[&(len as u16).to_le_bytes()]);
        self.write(Area { start: area.start + PREFIX, len: area.len - PREFIX }, parts);
    }

    /// Copies a message out of a slot. None when it claims to be longer than a slot.
    pub(crate) fn get(&self, area: Area, message: &mut Vec<u8>) -> Option<()> {
        message.clear();
        self.read(Area { start: area.start, len: PREFIX }, message);
        let len = u16::from_le_bytes([*message.first()?, *message.get(1)?]);
        message.clear();
        self.read(area.part(PREFIX as u64, u64::from(len))?, message);
        Some(())
    }

    /// The first byte of a message in a slot.
    pub(crate) fn peek(&self, area: Area) -> u8 {
        // SAFETY: the area lies within the mapping, and is longer than that.
        unsafe { self.memory.as_ptr().add(area.start + PREFIX).read_volatile() }
    }

    /// Copies `area` to the end of `bytes`.
    pub(crate) fn read(&self, area: Area, bytes: &mut Vec<u8>) {
        bytes.reserve(area.len);
        // SAFETY: the area lies within the mapping, and there is room for it in the vector; both do not overlap. Somebody
        // may write there meanwhile: then the copy is nonsense, but one copy.
        unsafe {
            let end = bytes.as_mut_ptr().add(bytes.len());
            std::ptr::copy_nonoverlapping(self.memory.as_ptr().add(area.start), end, area.len);
            bytes.set_len(bytes.len() + area.len);
        }
    }

    /// A job, as the worker reads it in place.
    ///
    /// # Safety
    /// Only for the worker, and only until the slot is answered: so long the program leaves it alone.
    pub(crate) unsafe fn job(&self, number: u32) -> &[u8] {
        let area = job_of(number);
        // SAFETY: the area lies within the mapping, and nobody writes there meanwhile: the caller's promise.
        let slot =
            unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(area.start), area.len) };
        let len = usize::from(u16::from_le_bytes([slot[0], slot[1]]));
        slot.get(PREFIX..PREFIX + len).unwrap_or_default()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference is left: `ring` and `job` borrow from it.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_slot_is_got_on_the_other_side() {
        let (program, file) = Board::new().unwrap();
        let worker = Board::of(&file).unwrap();
        for number in [0, 1, SLOTS - 1, SLOTS, u32::MAX] {
            program.put(job_of(number), &[b"some", b"", b"thing"]);
            // SAFETY: nobody else is there.
            assert_eq!(unsafe { worker.job(number) }, b"something");
            worker.put(answer_of(number), &[&[7; MESSAGE_LIMIT]]);
            let mut answer = vec![1, 2, 3];
            program.get(answer_of(number), &mut answer).unwrap();
            assert_eq!(answer, [7; MESSAGE_LIMIT]);
        }
    }

    #[test]
    fn a_message_that_claims_to_be_longer_than_its_slot_is_none() {
        let (board, _) = Board::new().unwrap();
        board.write(answer_of(0), &[&[0xff; 2]]);
        assert!(board.get(answer_of(0), &mut Vec::new()).is_none());
    }

    #[test]
    fn nobody_can_make_the_file_shorter_or_longer() {
        let (_board, file) = Board::new().unwrap();
        assert!(file.set_len(10).is_err());
        assert!(file.set_len(LEN as u64 + 1).is_err());
    }

    #[test]
    fn parts_of_an_area_lie_within_it() {
        let all = ARGUMENTS.len as u64;
        assert_eq!(ARGUMENTS.part(0, all), Some(ARGUMENTS));
        assert_eq!(ARGUMENTS.part(all, 0).map(|part| part.len), Some(0));
        for (offset, len) in [(0, all + 1), (all, 1), (u64::MAX, 2), (1, u64::MAX)] {
            assert_eq!(ARGUMENTS.part(offset, len), None);
        }
    }
}
