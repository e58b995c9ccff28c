//! A worker that begins as the program does: the copy of the fork server starts the executable once more, and what it was
//! given goes with it.
//!
//! 1. The descriptors stay open across the exec; their numbers are in the first argument, behind the usual name. The
//!    settings lie in one of them.
//! 2. The new image is a worker if the first of them is a socket to its parent, who has the same rights: that is the
//!    program, which has made it. Whoever has a name like this and no such socket is a start like any other.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::takeover;
use super::worker::Belongings;
use crate::process::transport::wire::WorkerSettings;

/// What follows the name, and then the numbers.
const AGAIN: &str = "again ";
pub(super) const FDS: usize = 6;

/// The numbers in a first argument, without the name.
pub(super) fn fds_of(argument: &[u8]) -> Option<[RawFd; FDS]> {
    let numbers = std::str::from_utf8(argument.strip_prefix(AGAIN.as_bytes())?).ok()?;
    let number = |text: &str| text.parse::<u16>().ok().map(RawFd::from);
    let fds: Vec<RawFd> = numbers.split(',').map(number).collect::<Option<_>>()?;
    fds.try_into().ok()
}

/// Starts the executable once more, to be this worker. `name` is the one that the constructor, or `main`, waits for.
pub(super) fn start(
    belongings: &Belongings,
    settings: &WorkerSettings,
    seat: u32,
    name: &str,
) -> io::Result<Infallible> {
    let mut file = File::from(memfd_create("loopool-settings", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&postcard::to_stdvec(&(settings, seat)).map_err(io::Error::other)?)?;
    file.rewind()?;
    let Belongings { socket, lifeline, output, board, bell } = belongings;
    let fds = [socket, lifeline, output, board, bell].map(AsFd::as_fd);
    let fds: Vec<BorrowedFd<'_>> = fds.into_iter().chain([file.as_fd()]).collect();
    for fd in &fds {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let name = CString::new(format!("{name}{AGAIN}{}", numbers.join(",")))?;
    // The environment is this process's.
    match nix::unistd::execv(c"/proc/self/exe", &[name]) {
        Ok(never) => match never {},
        Err(errno) => Err(errno.into()),
    }
}

/// What this start was given, if it was given something (rule 2).
pub(super) fn inherited(
    fds: [RawFd; FDS],
) -> Option<io::Result<(Belongings, WorkerSettings, u32)>> {
    // SAFETY: `F_GETFD` only asks; and what is open in a start of this name was left open for it.
    let is_open = |fd: &RawFd| unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 };
    let mut sorted = fds;
    sorted.sort_unstable();
    let are_different = sorted.windows(2).all(|two| two[0] != two[1]);
    if !are_different || fds[0] <= libc::STDERR_FILENO || !fds.iter().all(is_open) {
        return None;
    }
    // SAFETY: it is open, and nobody else closes it here.
    let socket = unsafe { BorrowedFd::borrow_raw(fds[0]) };
    if !takeover::is_our_kind_of_socket(socket) || takeover::check_peer(socket).is_err() {
        return None;
    }
    // SAFETY: open, different from each other, and this start's alone.
    let fds = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Some(take(fds))
}

fn take(fds: [OwnedFd; FDS]) -> io::Result<(Belongings, WorkerSettings, u32)> {
    for fd in &fds {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let [socket, lifeline, output, board, bell, settings] = fds;
    let mut bytes = Vec::new();
    File::from(settings).read_to_end(&mut bytes)?;
    let (settings, seat) = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
    Ok((Belongings { socket, lifeline, output, board, bell }, settings, seat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_numbers_are_what_is_expected() {
        assert_eq!(fds_of(b"again 3,4,5,60,7,800"), Some([3, 4, 5, 60, 7, 800]));
        for other in [
            "",
            "3,4,5,6,7,8",
            "again 3,4,5,6,7",
            "again 3,4,5,6,7,8,9",
            "again 3,4,5,6,7,-8",
            "again 3,4,5,6,7,x",
            "again 3,4,5,6,7,70000",
        ] {
            assert_eq!(fds_of(other.as_bytes()), None, "{other}");
        }
    }

    /// Also if the descriptors are there: this socket is to nobody's parent.
    #[test]
    fn names_can_be_forged_by_anyone() {
        let (socket, _other) = crate::process::transport::socket::pair().unwrap();
        let others = [(); 5].map(|()| File::open("/dev/null").unwrap());
        let [a, b, c, d, e] = others.each_ref().map(AsRawFd::as_raw_fd);
        assert!(inherited([socket.as_raw_fd(), a, b, c, d, e]).is_none());
        assert!(inherited([a, b, c, d, e, socket.as_raw_fd()]).is_none());
        assert!(inherited([0, 1, 2, a, b, c]).is_none());
        assert!(inherited([a, a, b, c, d, e]).is_none());
        assert!(inherited([a, b, c, d, e, 60_000]).is_none());
    }
}
