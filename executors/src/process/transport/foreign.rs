//! [`Foreign`]: a descriptor that another process has sent, and [`JobSocket`], by which such ones come.
//!
//! Whoever closes a file as the last one may have to wait: for a socket that lingers until the other side has taken
//! everything, for whoever serves the file system that it is of. A worker may send what it likes and keep no copy. So
//! unless a file is found to be in memory it is closed where nobody waits for that. The same goes for what lies in a
//! socket, unread, when that is closed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

use super::socket::{self, FRAME_LIMIT};
use crate::starting;

/// So many frames are taken out of a socket that is closed: more than the system keeps in one.
const MOST_FRAMES: usize = 4096;

/// A descriptor of which nothing is known.
#[derive(Debug)]
pub(crate) struct Foreign(Option<OwnedFd>);

impl Foreign {
    /// For whoever has it from a process that runs no jobs.
    pub(super) fn trusted(mut self) -> Option<OwnedFd> {
        self.0.take()
    }

    /// The file, if it is one in memory: then nothing that is done with it waits for anybody.
    pub(crate) fn in_memory(mut self) -> Option<File> {
        // Of any other file this is refused without a look at what it is.
        self.0.take_if(|fd| fcntl(fd, FcntlArg::F_GET_SEALS).is_ok()).map(File::from)
    }
}

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Self {
        Foreign(Some(fd))
    }
}

impl From<File> for Foreign {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let Some(fd) = self.0.take() else { return };
        if does_not_linger(fd.as_fd()) || fcntl(&fd, FcntlArg::F_GET_SEALS).is_ok() {
            return;
        }
        let number = fd.as_raw_fd();
        // It may be there for ever: without one the descriptor would be lost as well.
        if starting::thread("loopool-closer", move || drop(fd)).is_err() {
            tracing::warn!(
                number,
                "there is no thread to close a descriptor that a worker has sent"
            );
        }
    }
}

/// Whether it is a socket, which does not linger from now on.
fn does_not_linger(fd: BorrowedFd<'_>) -> bool {
    setsockopt(&fd, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 }).is_ok()
}

/// The program's end of the socket of a worker, in non-blocking mode.
#[derive(Debug)]
pub(crate) struct JobSocket(OwnedFd);

impl From<OwnedFd> for JobSocket {
    fn from(socket: OwnedFd) -> Self {
        JobSocket(socket)
    }
}

impl AsFd for JobSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for JobSocket {
    fn drop(&mut self) {
        // What comes later is refused.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
        let mut nothing = [0; 1];
        const _: () =
            assert!(FRAME_LIMIT > 1, "what is too long for the buffer is taken all the same");
        for _ in 0..MOST_FRAMES {
            // Each one's descriptors are dropped here.
            if !matches!(socket::receive(self.0.as_fd(), &mut nothing), Ok(Some(_))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A socket whose last close takes years, and its other end.
    fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let there = listener.accept().unwrap().0;
        here.set_nonblocking(true).unwrap();
        while here.write(&[0; 65536]).is_ok() {}
        let years = libc::linger { l_onoff: 1, l_linger: 1 << 24 };
        setsockopt(&here, sockopt::Linger, &years).unwrap();
        (here.into(), there)
    }

    /// Each hangs if it is closed as it is.
    #[test]
    fn nobody_waits_for_a_socket_that_lingers() {
        let (socket, _there) = lingering();
        drop(Foreign::from(socket));
        let (ours, theirs) = socket::pair().unwrap();
        socket::never_block(&ours).unwrap();
        for _ in 0..3 {
            let (socket, there) = lingering();
            socket::send(theirs.as_fd(), &0u8, [&[7; 100], &[]], &[socket.as_fd()]).unwrap();
            std::mem::forget(there);
        }
        drop(JobSocket::from(ours));
        assert!(socket::send(theirs.as_fd(), &0u8, [&[], &[]], &[]).is_err(), "it is closed");
    }

    #[test]
    fn only_what_is_in_memory_is_a_file_in_memory() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        assert!(Foreign::from(read).in_memory().is_none());
        assert!(Foreign::from(File::open("/proc/self/status").unwrap()).in_memory().is_none());
        let name = c"loopool-test";
        let file = nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        assert!(Foreign::from(file.unwrap()).in_memory().is_some());
    }
}
