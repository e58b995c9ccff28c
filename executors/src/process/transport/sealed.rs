//! Files in memory that reach another process as they are: [`Unsealed`] while they are filled, [`Sealed`] when nobody
//! can change them any more.
//!
//! # Rules
//! 1. A file is sealed when its seals say that it can be neither written nor made shorter or longer. The kernel gives
//!    those only when nobody can write it any more, and never takes them back. So only then there may be a reference
//!    to memory that another process has made.
//! 2. A sealed file has no holes: whoever maps it uses no memory that its maker never had.
//! 3. At most [`Permit`]s' number of them are open in a process; what comes beyond that is copied.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::body::BODY_LIMIT;
use super::foreign::Foreign;
use super::mapping::{Mapping, map};
use crate::blob::{Blob, SEALED_FROM};

/// The most of them that go with one message. (The kernel takes 253 descriptors.)
pub(crate) const MOST_SEALED: usize = 64;

/// The most of them that are open in a process, however many descriptors it may have.
const MOST_OPEN: usize = 1024;

/// So much is filled at a time: a signal costs that at most.
const FILL: usize = 4 << 20;

/// What nobody can do any more.
const SEALS: SealFlag =
    SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);

/// One of the descriptors that this process has for such files: a quarter of its limit when it was first asked.
struct Permit;

/// How many permits there are. Relaxed everywhere: it counts, and carries nothing.
static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    fn take() -> Option<Permit> {
        static MOST: OnceLock<usize> = OnceLock::new();
        let most = *MOST.get_or_init(|| {
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            usize::try_from(limit / 4).map_or(MOST_OPEN, |limit| limit.min(MOST_OPEN))
        });
        let one_more = |open| (open < most).then_some(open + 1);
        let taken = OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        // Not made, and dropped, when there is none.
        taken.is_ok().then(|| Permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file in memory that is being filled.
pub(crate) struct Unsealed {
    memory: Writable,
    file: File,
    permit: Permit,
}

/// A mapping that is read and written by whoever owns it, and by nobody else.
struct Writable {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is plain memory, whose address belongs to this value alone.
unsafe impl Send for Writable {}
// SAFETY: as above; it is written through `&mut` only.
unsafe impl Sync for Writable {}

impl Drop for Writable {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl Unsealed {
    /// One of so many zeros, more than none.
    ///
    /// # Errors
    /// When the system has no such files, no room, or too many of them are open here.
    pub(crate) fn zeroed(len: usize) -> io::Result<Self> {
        let permit = Permit::take().ok_or(Errno::EMFILE)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create("loopool-blob", flags)?);
        file.set_len(len as u64)?;
        let start = map(&file, 0, len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?;
        Ok(Unsealed { memory: Writable { start, len }, file, permit })
    }

    /// Seals it. When the system refuses (a child that was forked meanwhile can still write it) the bytes are handed
    /// back, copied.
    pub(crate) fn seal(self) -> Result<Sealed, Vec<u8>> {
        let Ok(mapping) = self.fill().and_then(|()| Mapping::of_sealed(&self.file)) else {
            return Err(self.to_vec());
        };
        let Unsealed { memory, file, permit } = self;
        drop(memory);
        // From here on nobody can write it: the mapping that could is gone, and the descriptor has not left this process.
        match fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS | SealFlag::F_SEAL_SEAL)) {
            Ok(_) => Ok(Sealed { mapping, file, _permit: permit }),
            Err(_) => Err(mapping.to_vec()),
        }
    }

    /// Rule 2.
    fn fill(&self) -> io::Result<()> {
        if has_no_holes(&self.file.metadata()?) {
            return Ok(());
        }
        for start in (0..self.memory.len).step_by(FILL) {
            let len = FILL.min(self.memory.len - start);
            let (start, len) = (start as libc::off_t, len as libc::off_t);
            while let Err(error) = fallocate(&self.file, FallocateFlags::empty(), start, len) {
                if error != Errno::EINTR {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl Deref for Unsealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped at `start` until `drop`, in a file as long as that whose descriptor nobody else
        // has; they are written through `deref_mut` only.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.memory.len) }
    }
}

impl DerefMut for Unsealed {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.memory.len) }
    }
}

/// A sealed file, mapped.
pub(crate) struct Sealed {
    mapping: Mapping,
    file: File,
    _permit: Permit,
}

impl Deref for Sealed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes what another process says are sealed files. Believes nothing: the error says what else one is.
pub(crate) fn receive(fds: impl IntoIterator<Item = Foreign>) -> Result<Vec<Blob>, String> {
    let files: Vec<File> = fds.into_iter().map(check).collect::<Result<_, _>>()?;
    let lens = files.iter().map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
    if lens.fold(0, u64::saturating_add) > BODY_LIMIT {
        return Err("blobs that are too long together".to_owned());
    }
    let blob = |file| open(file).map_err(|error| format!("a blob that can't be mapped: {error}"));
    files.into_iter().map(blob).collect()
}

/// Rules 1 and 2. In this order: what the first ones find can't change after that.
fn check(fd: Foreign) -> Result<File, String> {
    let file = fd.in_memory().ok_or("a blob that is no file in memory")?;
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    // Pages of another size run out under whoever reads them.
    let in_memory = fstatfs(&file).is_ok_and(|system| system.filesystem_type() == TMPFS_MAGIC);
    if !is_regular || !in_memory {
        return Err("a blob that is no file in memory".to_owned());
    }
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or_default();
    if !SealFlag::from_bits_truncate(seals).contains(SEALS) {
        return Err("a blob that is not sealed".to_owned());
    }
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.len() < SEALED_FROM as u64 {
        return Err("a blob that is too short to be sealed".to_owned());
    }
    if !has_no_holes(&metadata) {
        return Err("a blob that is larger than what it wrote".to_owned());
    }
    Ok(file)
}

fn has_no_holes(metadata: &std::fs::Metadata) -> bool {
    metadata.blocks().saturating_mul(512) >= metadata.len()
}

/// Maps a file that was checked; without a permit its bytes are copied.
fn open(file: File) -> io::Result<Blob> {
    let mapping = Mapping::of_sealed(&file)?;
    if let Some(permit) = Permit::take() {
        return Ok(Sealed { mapping, file, _permit: permit }.into());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(mapping.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.extend_from_slice(&mapping);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const LEN: usize = 3 * SEALED_FROM + 5;

    fn filled() -> Unsealed {
        let mut unsealed = Unsealed::zeroed(LEN).unwrap();
        unsealed.iter_mut().zip(0..).for_each(|(byte, at): (_, usize)| *byte = at as u8);
        unsealed
    }

    fn refusal(fd: impl Into<Foreign>) -> String {
        receive([fd.into()]).map(drop).unwrap_err()
    }

    fn memory(len: usize, seals: SealFlag) -> File {
        let file = memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let file = File::from(file);
        file.write_all_at(&vec![1; len], 0).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        file
    }

    #[test]
    fn what_is_sealed_nobody_can_change() {
        let unsealed = filled();
        let bytes = unsealed.to_vec();
        let sealed = unsealed.seal().ok().unwrap();
        assert_eq!(sealed[..], bytes);
        assert!(sealed.file.write_all_at(&[1], 0).is_err());
        assert!(sealed.file.set_len(1).is_err() && sealed.file.set_len(1 << 30).is_err());
        let flags = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        assert!(map(&sealed.file, 0, LEN, flags.0, flags.1).is_err());
        let received = receive([sealed.as_fd().try_clone_to_owned().unwrap().into()]).unwrap();
        drop(sealed);
        assert_eq!(received[0][..], bytes);
    }

    #[test]
    fn what_somebody_else_can_still_write_is_copied() {
        let unsealed = filled();
        let bytes = unsealed.to_vec();
        // As a child has it that was forked meanwhile.
        let start = map(&unsealed.file, 0, LEN, libc::PROT_WRITE, libc::MAP_SHARED).unwrap();
        let _theirs = Writable { start, len: LEN };
        assert!(unsealed.seal().is_err_and(|copy| copy == bytes));
    }

    #[test]
    fn a_sealed_file_has_no_holes() {
        let sealed = Unsealed::zeroed(10 << 20).unwrap().seal().ok().unwrap();
        assert!(has_no_holes(&sealed.file.metadata().unwrap()));
        assert!(sealed.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn only_sealed_files_in_memory_that_are_whole_are_received() {
        assert_eq!(receive([memory(LEN, SEALS).into()]).unwrap()[0][..], [1; LEN]);
        let all = [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW];
        for seal in all {
            assert!(refusal(memory(LEN, SEALS.difference(seal))).contains("not sealed"));
        }
        assert!(refusal(memory(SEALED_FROM - 1, SEALS)).contains("too short"));
        let hole = memory(LEN, SealFlag::empty());
        hole.set_len(1 << 41).unwrap();
        fcntl(&hole, FcntlArg::F_ADD_SEALS(SEALS)).unwrap();
        assert!(refusal(hole).contains("larger than"));
        assert!(refusal(nix::unistd::pipe().unwrap().0).contains("no file in memory"));
        for path in ["/dev/zero", "/proc/self/status", "/"] {
            assert!(refusal(File::open(path).unwrap()).contains("no file in memory"), "{path}");
        }
    }

    #[test]
    fn pages_of_another_size_are_not_received() {
        let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_HUGETLB;
        // It needs no pages for this. Where the kernel has no such files at all there is nothing to be refused.
        if let Ok(file) = memfd_create("test", flags) {
            assert!(refusal(file).contains("no file in memory"));
        }
    }
}
