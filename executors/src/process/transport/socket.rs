//! Frames over a pair of `SOCK_SEQPACKET` sockets: each arrives whole, alone, and with its
//! descriptors, or not at all.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::Serialize;

use super::foreign::Foreign;
use super::sealed::MOST_SEALED;

/// The longest frame, header and tail together.
pub(crate) const FRAME_LIMIT: usize = 64 * 1024;

/// The most descriptors that any frame of ours carries.
pub(crate) const MOST_FDS: usize = 4 + MOST_SEALED;

/// The most that any frame can carry (`SCM_MAX_FD`). There is room for all of them, since the kernel would close the
/// others here and now; see [`Foreign`].
const MOST_THERE_CAN_BE: usize = 253;

const _: () = assert!(MOST_FDS <= MOST_THERE_CAN_BE);

/// Room for the control messages of one frame, aligned as the kernel wants them.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [MaybeUninit<u8>; CONTROL],
}

// SAFETY: `CMSG_SPACE` only computes.
const CONTROL: usize =
    unsafe { libc::CMSG_SPACE((MOST_THERE_CAN_BE * size_of::<RawFd>()) as u32) } as usize;

/// The two ends of a new connection. Neither is inherited by other programs.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends `frame` and after it, in the same message, `tail`.
///
/// A socket in non-blocking mode that is full gives [`io::ErrorKind::WouldBlock`], and nothing was
/// sent.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    frame: &impl Serialize,
    tail: [&[u8]; 2],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let header = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let parts = [IoSlice::new(&header), IoSlice::new(tail[0]), IoSlice::new(tail[1])];
    if parts.iter().map(|part| part.len()).sum::<usize>() > FRAME_LIMIT || fds.len() > MOST_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control { bytes: [MaybeUninit::uninit(); CONTROL] };
    // SAFETY: an all-zero `msghdr` is a valid empty one. `IoSlice` has the layout of `iovec`, and
    // `parts` and `control` outlive the call. The control buffer is aligned and, by the check above,
    // long enough for one header and `MOST_FDS` descriptors.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        if !fds.is_empty() {
            let bytes = size_of_val(fds) as u32;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
        retry(|| libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL))?
    };
    debug_assert!(sent > 0, "a frame is never empty");
    Ok(())
}

/// A frame that arrived.
pub(crate) struct Received {
    /// Its length in the buffer.
    pub(crate) len: usize,
    /// The descriptors that came with it.
    pub(crate) fds: Vec<Foreign>,
    /// False when it was longer than the buffer or brought more descriptors than a frame may.
    pub(crate) whole: bool,
    /// It brought more descriptors than this process could take.
    pub(crate) lost_some: bool,
}

impl Received {
    /// The descriptors. The error says why they could not be taken.
    pub(crate) fn foreign_fds(self) -> Result<Vec<Foreign>, String> {
        if self.lost_some {
            return Err("this program has no descriptors left for it".to_owned());
        }
        Ok(self.fds)
    }

    /// The descriptors, if they come from a process that runs no jobs.
    pub(crate) fn trusted_fds(&mut self) -> Vec<OwnedFd> {
        self.fds.drain(..).filter_map(Foreign::trusted).collect()
    }
}

/// Takes the next frame; none at the end of the connection.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = Control { bytes: [MaybeUninit::uninit(); CONTROL] };
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut fds = Vec::new();
    // SAFETY: an all-zero `msghdr` is a valid empty one; buffer, vector and control space outlive the
    // call and have the lengths given. The kernel's control messages are walked with its own macros,
    // and every descriptor in them is new and belongs to nobody else, also when more were cut off.
    let (len, flags) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut iov;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        let mut receive =
            || retry(|| libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC));
        let len = match receive() {
            // The other side has gone without having read everything. That is told once, and first; what it has said
            // before is still there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => receive()?,
            received => received?,
        };
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    let fd = OwnedFd::from_raw_fd(data.add(index).read_unaligned());
                    fds.push(Foreign::from(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        (len, message.msg_flags)
    };
    if len == 0 {
        return Ok(None);
    }
    let whole = flags & libc::MSG_TRUNC == 0 && fds.len() <= MOST_FDS;
    Ok(Some(Received { len, fds, whole, lost_some: flags & libc::MSG_CTRUNC != 0 }))
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(len) => return Ok(len),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Makes calls on `fd` return instead of wait.
pub(crate) fn never_block(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_frame_arrives_whole_with_its_tail_and_descriptors() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), &7u8, [&[1, 2], &[3]], &[a.as_fd(), b.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let received = receive(b.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..received.len], [7, 1, 2, 3]);
        assert!(received.whole);
        assert_eq!(received.fds.len(), 2);
    }

    #[test]
    fn a_frame_too_long_for_the_buffer_is_told_apart() {
        let (a, b) = pair().unwrap();
        send(a.as_fd(), &7u8, [&[0; 100], &[]], &[]).unwrap();
        assert!(!receive(b.as_fd(), &mut [0; 16]).unwrap().unwrap().whole);
    }

    #[test]
    fn what_was_said_by_who_has_not_listened_was_lost() {
        let (a, b) = pair().unwrap();
        send(b.as_fd(), &1u8, [&[], &[]], &[]).unwrap();
        send(a.as_fd(), &7u8, [&[], &[]], &[]).unwrap();
        drop(a);
        let mut buffer = [0; 16];
        let said = receive(b.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!(buffer[..said.len], [7]);
        assert!(receive(b.as_fd(), &mut buffer).unwrap().is_none());
    }

    #[test]
    fn the_end_of_a_connection_is_no_frame() {
        let (a, b) = pair().unwrap();
        drop(a);
        assert!(receive(b.as_fd(), &mut [0; 16]).unwrap().is_none());
    }
}
