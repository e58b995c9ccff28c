//! What is left of a worker process: its status, what it used, and what that means.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::evidence::Evidence;
use super::report::CrashReport;

/// Kills a worker and everything in its process group.
///
/// To be called only for a worker that was not reaped: until then its number is not given to another.
pub(super) fn kill(pid: i32, pidfd: BorrowedFd<'_>) {
    // Refused only for a process that has ended.
    let _ = signal(pidfd, libc::SIGKILL);
    if is_unreaped(pidfd) {
        // SAFETY: plain system call. One that names a group that has ended does nothing.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
}

/// Sends a signal to a process, whatever has become of its number.
pub(super) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> std::io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a plain system call, to which no information on the signal is given.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for a process to end, at most so long, and says whether it has.
pub(super) fn wait(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up: waking too early would only mean to wait again.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(1..) => return true,
            Ok(_) if left.is_some_and(|left| left.is_zero()) => return false,
            // Woken too early, or it was too long for the system.
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // The system is short of memory: nothing is known, and asking again would keep it busy.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A descriptor for a child of ours that was not reaped.
pub(super) fn pidfd_of(pid: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: the new descriptor (close-on-exec by definition) is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether the process, dead or alive, is still there to be waited for. It is not when the program
/// ignores SIGCHLD or somebody waits for all children.
pub(super) fn is_unreaped(pidfd: BorrowedFd<'_>) -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: an all-zero `siginfo_t` is a valid one to be written to.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, &mut info, flags) == 0
    }
}

/// Kills and reaps a child of ours that can't be watched for want of a descriptor. It has not run
/// anything yet, so it is gone in no time.
pub(super) fn kill_and_wait(pid: i32) {
    // SAFETY: the child was not reaped, so the number is still its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
    }
}

/// How a process ended and what it used.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Remains {
    /// As `wait` gives it; none when somebody else took it.
    status: Option<i32>,
    peak_memory: u64,
    cpu_time: Duration,
}

/// Reaps a worker that has ended, and kills what it left in its process group. None while somebody traces it (a
/// debugger) and has not taken notice of its end.
pub(super) fn reap(pid: i32, pidfd: &OwnedFd) -> Option<Remains> {
    if is_unreaped(pidfd.as_fd()) {
        // SAFETY: the worker is there, if only as a zombie, so its number and its group's are its own.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
    }
    take(pidfd)
}

/// Reaps a process that has ended; none while it lives, or a debugger still has it.
pub(super) fn take(pidfd: &OwnedFd) -> Option<Remains> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: all-zero structures are valid ones to be written to. The system call, other than the C library's
    // function, gives what the process used, too.
    let (waited, info, usage) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let fd = pidfd.as_raw_fd();
        let (info_to, usage_to) = (&raw mut info, &raw mut usage);
        let waited = libc::syscall(libc::SYS_waitid, libc::P_PIDFD, fd, info_to, flags, usage_to);
        (waited, info, usage)
    };
    if waited != 0 {
        // Somebody else took it.
        return Some(Remains::default());
    }
    // SAFETY: what a wait has filled in, or left as zeros.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return None;
    }
    let status = match info.si_code {
        libc::CLD_EXITED => (value & 0xff) << 8,
        libc::CLD_DUMPED => value | 0x80,
        _ => value,
    };
    Some(Remains {
        status: Some(status),
        peak_memory: usage.ru_maxrss as u64 * 1024,
        cpu_time: time(usage.ru_utime) + time(usage.ru_stime),
    })
}

/// Reaps what has ended of the children of ours in the group that a worker led. Whether there are others in it, which
/// have not ended.
///
/// To be called only as [`Orphans`](super::orphans::Orphans) does.
pub(super) fn reap_group(leader: i32) -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    loop {
        // SAFETY: an all-zero `siginfo_t` is a valid one to be written to, and to be read.
        let (waited, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let waited = libc::waitid(libc::P_PGID, leader as libc::id_t, &mut info, flags);
            (waited, info.si_pid())
        };
        if waited != 0 || pid == 0 {
            return waited == 0;
        }
    }
}

fn time(value: libc::timeval) -> Duration {
    Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000)
}

impl Remains {
    /// Whether it may have aborted: somebody else may have taken its status.
    pub(super) fn may_be_an_abort(&self) -> bool {
        self.status.is_none() || self.signal() == Some(libc::SIGABRT)
    }

    /// The code it exited with, or minus the signal it died of; none when somebody else took that.
    pub(super) fn exit_code(&self) -> Option<i32> {
        let exited = self
            .status
            .filter(|status| libc::WIFEXITED(*status))
            .map(|status| libc::WEXITSTATUS(status));
        exited.or_else(|| self.signal().map(|signal| -signal))
    }

    /// The signal it died of.
    fn signal(&self) -> Option<i32> {
        self.status.filter(|status| libc::WIFSIGNALED(*status)).map(|status| libc::WTERMSIG(status))
    }

    /// Whether it was killed outright.
    pub(super) fn was_killed(&self) -> bool {
        self.signal() == Some(libc::SIGKILL)
    }

    /// Puts together what is known.
    pub(super) fn report(&self, pid: u32, evidence: &Evidence, stderr_tail: String) -> CrashReport {
        let status = self.status.unwrap_or(0);
        let signal = self.signal();
        let exit_code = self.status.filter(|status| libc::WIFEXITED(*status));
        CrashReport {
            cause: evidence.cause(signal, exit_code.is_some(), &stderr_tail),
            signal,
            exit_code: exit_code.map(|status| libc::WEXITSTATUS(status)),
            pid,
            core_dumped: signal.is_some() && libc::WCOREDUMP(status),
            stderr_tail,
            peak_memory: self.peak_memory,
            cpu_time: self.cpu_time,
            uptime: evidence.since.elapsed(),
            attempt: 1,
        }
    }
}
