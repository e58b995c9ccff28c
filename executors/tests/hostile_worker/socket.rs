//! [`Socket`]: the worker's job socket, as a job can find it.

use std::io::IoSlice;
use std::os::fd::RawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, SockType, getsockopt, sendmsg, sockopt};

pub(crate) struct Socket(pub(crate) RawFd);

impl Socket {
    /// The first socket for messages besides the standard streams.
    pub(crate) fn find() -> Option<Socket> {
        let is_it = |fd: &RawFd| {
            // SAFETY: only asked, and only now.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) };
            getsockopt(&fd, sockopt::SockType).is_ok_and(|kind| kind == SockType::SeqPacket)
        };
        let is_open = |fd: &RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok();
        (3..64).filter(is_open).find(is_it).map(Socket)
    }

    /// Sends a message, and says whether somebody may still hear.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[RawFd]) -> bool {
        let control = [ControlMessage::ScmRights(fds)];
        let control = if fds.is_empty() { &[] } else { &control[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = sendmsg::<()>(self.0, &[IoSlice::new(bytes)], control, flags, None);
        !matches!(
            sent,
            Err(nix::errno::Errno::EPIPE
                | nix::errno::Errno::ECONNRESET
                | nix::errno::Errno::EBADF)
        )
    }

    pub(crate) fn shut(&self, how: i32) {
        // SAFETY: a plain system call.
        unsafe { libc::shutdown(self.0, how) };
    }

    pub(crate) fn close(&self) {
        // SAFETY: it is the worker's, which this job has taken over and will not give back.
        unsafe { libc::close(self.0) };
    }
}
