//! [`Mapping`]: memory that is read in place and that another process has written.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// The program's arena, or the board's arguments, as a worker sees it: mapped once, readable, never written while a
/// blob of it is alive (the program puts nothing there any more when a worker tells it that one is). Or a
/// [sealed file](super::sealed), on either side.
pub(crate) struct Mapping {
    start: *const u8,
    len: usize,
}

// SAFETY: it is memory that is only read, and whose address belongs to this value alone.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared reading needs no order.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on, a multiple of the page size.
    pub(crate) fn of(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::OutOfMemory)?;
        if len == 0 || file.metadata()?.len() < end {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the arena is too short"));
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let start = map(file, offset, len, libc::PROT_READ, libc::MAP_SHARED)?;
        Ok(Mapping { start: start.as_ptr(), len })
    }

    /// Maps a sealed file, or one that is about to be sealed, from its start to its end.
    pub(crate) fn of_sealed(file: &File) -> io::Result<Self> {
        let len =
            usize::try_from(file.metadata()?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // Private, which is the same where nobody writes: before Linux 6.7 a shared one counts as one that might.
        let start = map(file, 0, len, libc::PROT_READ, libc::MAP_PRIVATE)?;
        Ok(Mapping { start: start.as_ptr(), len })
    }
}

/// A new mapping of `len` bytes, more than none, of `file` from `offset` on.
pub(crate) fn map(
    file: &File,
    offset: u64,
    len: usize,
    protection: i32,
    flags: i32,
) -> io::Result<NonNull<u8>> {
    let offset = offset.try_into().map_err(|_| io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping at an address of the kernel's choice; nothing is replaced.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len, protection, flags, file.as_raw_fd(), offset)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory.into())
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped at `start` until `drop`. The file is at least as long (it was
        // checked, and its only writer, the program, never shortens it), and the program writes a part of it
        // only for a job to come and only where no blob refers to, which `worker.rs` proves by being the
        // mapping's only owner when the last job is over. Test: `a_blob_kept_across_jobs_never_changes`.
        // A sealed file was seen to be sealed (`sealed::receive`), or is read here only once it is
        // (`Unsealed::seal`). Test: `only_sealed_files_in_memory_that_are_whole_are_received`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference is left.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
    }
}
