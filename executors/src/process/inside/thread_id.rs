//! Where the C library keeps the id of the calling thread.
//!
//! A process that is made by a bare `clone` has a copy of that, and it is the id of the thread that was copied. The
//! library signals threads by it: with musl, `abort` would hit the fork server, and with glibc a `pthread_kill` of
//! the thread that runs the jobs. So whoever copies itself puts the copy's own id there.

use std::ptr::NonNull;

/// So many words from its beginning musl's description of a thread is searched, which is larger.
#[cfg(target_env = "musl")]
const SEARCHED: usize = 32;

/// The place, found before the process is copied.
#[derive(Clone, Copy)]
pub(crate) struct ThreadId(NonNull<libc::pid_t>);

impl ThreadId {
    /// Of the calling thread; none where it is not found, without a doubt.
    pub(crate) fn find() -> Option<Self> {
        let id = by_the_kernel();
        Self::told_to_the_kernel(id).or_else(|| Self::in_description(id))
    }

    /// glibc's: the kernel is to clear it when the thread ends. It tells, unless it was built without that.
    fn told_to_the_kernel(id: libc::pid_t) -> Option<Self> {
        let mut place: *mut libc::pid_t = std::ptr::null_mut();
        // SAFETY: the kernel writes an address to a variable.
        let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) };
        let place = NonNull::new(place).filter(|_| told == 0)?;
        // SAFETY: an `int` of the C library's, which only this thread and its end change.
        (unsafe { place.read() } == id).then_some(ThreadId(place))
    }

    /// musl's: near the beginning of what it knows of the thread there is one word that is the id.
    #[cfg(target_env = "musl")]
    fn in_description(id: libc::pid_t) -> Option<Self> {
        // SAFETY: the description of the calling thread, of which these words are a part.
        let words = unsafe {
            let start = NonNull::new(libc::pthread_self().cast::<libc::pid_t>())?;
            std::array::from_fn::<_, SEARCHED, _>(|word| start.add(word))
        };
        // SAFETY: as above.
        let mut ids = words.into_iter().filter(|word| unsafe { word.read() } == id);
        ids.next().filter(|_| ids.next().is_none()).map(ThreadId)
    }

    #[cfg(not(target_env = "musl"))]
    fn in_description(_: libc::pid_t) -> Option<Self> {
        None
    }

    /// In a copy of the process, by its only thread, a copy of the one that has found the place.
    pub(crate) fn renew(self) {
        // SAFETY: see `find`; the kernel has copied the memory to the same address.
        unsafe { self.0.write(by_the_kernel()) };
    }
}

/// The id that the calling thread really has: musl's own function reads what it keeps.
fn by_the_kernel() -> libc::pid_t {
    // SAFETY: a system call without arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as libc::pid_t }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own() {
        let find = || ThreadId::find().map(|place| place.0.addr());
        let mine = find();
        assert!(mine.is_some(), "neither glibc's nor musl's?");
        assert_ne!(std::thread::spawn(find).join().unwrap(), mine);
    }
}
