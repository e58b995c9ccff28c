//! A pair of sockets between two processes. Both are woken each time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::duplex::{Duplex, Other};
use crate::Error;
use crate::runtimes::Name;

/// Bytes of a message: so many as a small call has.
const FRAME: usize = 32;

/// The asking side.
pub(super) struct SocketPair {
    socket: OwnedFd,
    _other: Other,
}

impl Duplex for SocketPair {
    fn start() -> Result<Self, Error> {
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok(SocketPair { socket, _other: Other::start(Name::SocketPair, theirs)? })
    }

    fn ask(&mut self, number: u64) -> Result<u64, Error> {
        let mut frame = [0; FRAME];
        frame[..8].copy_from_slice(&number.to_le_bytes());
        let socket = self.socket.as_raw_fd();
        send(socket, &frame, MsgFlags::empty())?;
        if recv(socket, &mut frame, MsgFlags::empty())? != FRAME {
            return Err("the other process has ended".into());
        }
        let (number, _) = frame.split_at(8);
        Ok(u64::from_le_bytes(number.try_into()?))
    }
}

/// The answering side: on standard input, until the other one has ended.
///
/// # Errors
/// What the system says.
pub(super) fn answer() -> Result<(), Error> {
    let socket = io::stdin().as_raw_fd();
    let mut frame = [0; FRAME];
    while recv(socket, &mut frame, MsgFlags::empty())? == FRAME {
        send(socket, &frame, MsgFlags::empty())?;
    }
    Ok(())
}
