//! The fork server: what a start of the program becomes when it is not to run `main`.
//!
//! It has one thread for life, so it may fork at any time, which the program itself may not. It does
//! what the program asks over its control socket and ends when that ends.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use nix::sys::socket::sockopt::{PeerCredentials, SockType as SockTypeOf};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt};

use super::thread_id::ThreadId;
use super::worker::Belongings;
use super::{again, alone, child, worker};
use crate::process::image;
use crate::process::transport::socket::{self, FRAME_LIMIT};
use crate::process::transport::wire::{FromServer, MAGIC, PROTOCOL, ToServer, WorkerSettings};

/// What a worker's first argument begins with; 32 hexadecimal digits follow.
pub(crate) const NAME: &str = "loopool-worker ";
/// In place of it where the constructor is to do nothing.
pub(crate) const NAME_FOR_MAIN: &str = "loopool-worker-in-main ";
const NONCE_DIGITS: usize = 32;

/// What this process is, as one of [`Role`]. Set before anything else in a fork server, whose only thread
/// sets it and whose workers are copies of it, and once more before a process of its own runs its function;
/// so relaxed accesses pair with nothing.
static ROLE: AtomicU8 = AtomicU8::new(Role::Program as u8);

/// What a start of the program has become.
#[derive(Clone, Copy)]
enum Role {
    /// The program, or something that was forked off it.
    Program,
    /// A fork server, a worker or a daemon process: none of them has children.
    Daemonic,
    /// A process that is no daemon.
    Free,
}

/// Whether this process is a worker (or the fork server) of a pool, or a daemon process.
pub(crate) fn is_daemonic() -> bool {
    ROLE.load(Relaxed) == Role::Daemonic as u8
}

/// Whether this process was taken over before `main`.
pub(crate) fn is_taken_over() -> bool {
    ROLE.load(Relaxed) != Role::Program as u8
}

/// This process may have children from now on.
pub(crate) fn set_free() {
    ROLE.store(Role::Free as u8, Relaxed);
}

/// Whether a first argument is one that a fork server, or a worker, is started with.
pub(crate) fn is_worker_name(argument: &[u8]) -> bool {
    start_of(argument).is_some()
}

/// Whether it is one that the constructor is to leave to [`worker_main`](crate::worker_main).
pub(crate) fn is_for_main(argument: &[u8]) -> bool {
    argument.starts_with(NAME_FOR_MAIN.as_bytes())
}

/// What a start is meant for.
enum Start<'a> {
    /// A fork server, whose greeting has this in it.
    Server { nonce: &'a str },
    /// A worker of one, with these descriptors.
    Again([RawFd; again::FDS]),
}

fn start_of(argument: &[u8]) -> Option<Start<'_>> {
    let names = [NAME, NAME_FOR_MAIN];
    let rest = names.iter().find_map(|name| argument.strip_prefix(name.as_bytes()))?;
    if let Some(fds) = again::fds_of(rest) {
        return Some(Start::Again(fds));
    }
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let valid = rest.len() == NONCE_DIGITS && rest.iter().all(hex);
    let nonce = std::str::from_utf8(rest).ok().filter(|_| valid)?;
    Some(Start::Server { nonce })
}

/// Becomes the fork server, or the worker, if this start was meant for one, and then never returns.
///
/// It returns, and the program runs as usual, when it is privileged or when what it was given is not our
/// kind of socket: names can be forged by anyone.
pub(crate) fn take_over(argument: &[u8]) {
    if image::is_privileged() {
        return;
    }
    match start_of(argument) {
        Some(Start::Server { nonce }) => become_server(nonce, is_for_main(argument)),
        Some(Start::Again(fds)) => become_worker(fds),
        None => {}
    }
}

fn become_worker(fds: [RawFd; again::FDS]) {
    let Some(inherited) = again::inherited(fds) else { return };
    ROLE.store(Role::Daemonic as u8, Relaxed);
    match inherited {
        Ok((belongings, settings, seat)) => worker::live(belongings, &settings, seat),
        Err(error) => {
            let _ = writeln!(io::stderr(), "loopool worker: {error}");
            child::end(child::FAILED)
        }
    }
}

pub(super) fn is_our_kind_of_socket(socket: BorrowedFd<'_>) -> bool {
    getsockname::<UnixAddr>(socket.as_raw_fd()).is_ok()
        && getsockopt(&socket, SockTypeOf).is_ok_and(|kind| kind == SockType::SeqPacket)
}

fn become_server(nonce: &str, in_main: bool) {
    // SAFETY: standard input is open, or the questions about it fail.
    let input = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    if !is_our_kind_of_socket(input) {
        return;
    }
    ROLE.store(Role::Daemonic as u8, Relaxed);
    let nonce = nonce.to_owned();
    let ended = catch_unwind(|| greet(input, &nonce, in_main));
    if let Ok(Err(why)) = ended {
        // The program that waits for an answer gets this one; if it has gone, so be it.
        let _ = socket::send(input, &FromServer::Refused { why }, [&[], &[]], &[]);
    }
    child::end(child::FAILED);
}

/// The handshake, and then the service.
fn greet(input: BorrowedFd<'_>, nonce: &str, in_main: bool) -> Result<(), String> {
    check_peer(input)?;
    let mut buffer = vec![0; FRAME_LIMIT];
    let hello = socket::receive(input, &mut buffer).map_err(|error| error.to_string())?;
    let mut hello = hello.ok_or("the program has gone")?;
    let fds = hello.trusted_fds();
    let frame = postcard::from_bytes(&buffer[..hello.len]).map_err(|error| error.to_string())?;
    let ToServer::Hello { magic, protocol, nonce: theirs, build, umask, settings } = frame else {
        return Err("the first message is not a greeting".to_owned());
    };
    if magic != MAGIC || theirs != nonce {
        return Err("the first message is not from this pool".to_owned());
    }
    let mine = image::build();
    let fits = protocol == PROTOCOL && build == mine;
    let ready = FromServer::Ready { protocol: PROTOCOL, build: mine };
    let control = settle_in(input, fds.first(), umask).map_err(|error| error.to_string())?;
    drop(fds);
    child::close_others([control.as_raw_fd()]);
    socket::send(control.as_fd(), &ready, [&[], &[]], &[]).map_err(|error| error.to_string())?;
    if fits {
        serve(control, &settings, in_main, &mut buffer);
        child::end(0);
    }
    child::end(child::FAILED);
}

/// The other end must be our parent, with our own rights.
pub(super) fn check_peer(input: BorrowedFd<'_>) -> Result<(), String> {
    let peer = getsockopt(&input, PeerCredentials).map_err(|error| error.to_string())?;
    let parent = nix::unistd::getppid();
    if peer.pid() != parent.as_raw() || peer.uid() != nix::unistd::geteuid().as_raw() {
        return Err("the socket is not from this process's parent".to_owned());
    }
    Ok(())
}

fn settle_in(
    input: BorrowedFd<'_>,
    directory: Option<&OwnedFd>,
    umask: Option<u32>,
) -> io::Result<OwnedFd> {
    let control = child::move_up(input)?;
    let null = std::fs::File::open("/dev/null")?;
    child::become_standard(null.as_fd(), libc::STDIN_FILENO)?;
    if let Some(directory) = directory {
        nix::unistd::fchdir(directory)?;
    }
    if let Some(umask) = umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask as libc::mode_t));
    }
    child::lead_a_group();
    child::set_name(c"loopool-server");
    child::reset_signals();
    Ok(control)
}

/// Starts workers until the program closes the control socket; or becomes what it is told to.
fn serve(control: OwnedFd, settings: &WorkerSettings, in_main: bool, buffer: &mut [u8]) {
    let name = if in_main { NAME_FOR_MAIN } else { NAME };
    let thread_id = ThreadId::find();
    while let Ok(Some(mut received)) = socket::receive(control.as_fd(), buffer) {
        let fds = received.trusted_fds();
        let (serial, seat) = match postcard::take_from_bytes(&buffer[..received.len]) {
            Ok((ToServer::Spawn { serial, seat }, [])) => (serial, seat),
            Ok((ToServer::Run(order), tail)) => alone::live(control, order, tail, fds),
            _ => return,
        };
        let Some(belongings) = Belongings::of(fds) else { return };
        let (answer, pidfd) = match fork(thread_id) {
            Ok(Forked::Child) if settings.spawns => {
                let Err(error) = again::start(&belongings, settings, seat, name);
                let _ =
                    writeln!(io::stderr(), "loopool worker: it can't be started again: {error}");
                child::end(child::FAILED)
            }
            Ok(Forked::Child) => worker::live(belongings, settings, seat),
            Ok(Forked::Parent { pid, pidfd }) => (FromServer::Spawned { serial, pid }, pidfd),
            Err(errno) => (FromServer::SpawnFailed { serial, errno }, None),
        };
        // Before the answer: who has it may rely on the worker's ends being the worker's alone.
        drop(belongings);
        let pidfd: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
        if socket::send(control.as_fd(), &answer, [&[], &[]], &pidfd).is_err() {
            return;
        }
    }
}

enum Forked {
    Child,
    Parent { pid: i32, pidfd: Option<OwnedFd> },
}

/// The argument of `clone3`, in its first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Makes a copy of this process that is a child of the program, not of ours: the program can wait for
/// it, and it lives on when we die.
fn fork(thread_id: Option<ThreadId>) -> Result<Forked, i32> {
    let mut pidfd: RawFd = -1;
    let arguments = CloneArgs {
        flags: (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without `CLONE_VM` the copy has its own memory and goes on here, on a copy of this
    // stack. This process has one thread, so no lock of the C library is held. The fallback, for
    // systems that filter `clone3`, has all its pointers null, so their order does not matter.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>());
        if pid >= 0 {
            pid
        } else {
            let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_ulong;
            libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize)
        }
    };
    match pid {
        0 => {
            if let Some(thread_id) = thread_id {
                thread_id.renew();
            }
            Ok(Forked::Child)
        }
        1.. => {
            // SAFETY: if the kernel stored a descriptor it is new and ours.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok(Forked::Parent { pid: pid as i32, pidfd })
        }
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_the_exact_form_is_a_workers_name() {
        let nonce = "0123456789abcdef".repeat(2);
        let [name, for_main] = [NAME, NAME_FOR_MAIN].map(|name| format!("{name}{nonce}"));
        assert!(is_worker_name(name.as_bytes()) && !is_for_main(name.as_bytes()));
        assert!(is_worker_name(for_main.as_bytes()) && is_for_main(for_main.as_bytes()));
        for other in [
            NAME.to_owned(),
            name.to_uppercase(),
            format!("{name}0"),
            name[..name.len() - 1].to_owned(),
            format!("{}g", &name[..name.len() - 1]),
            String::new(),
        ] {
            assert!(!is_worker_name(other.as_bytes()), "{other}");
        }
    }

    /// What a start of this program as a fork server answers to a greeting.
    fn answer_to(command: &mut Command, greeting: &ToServer) -> (FromServer, i32) {
        let (ours, theirs) = socket::pair().unwrap();
        socket::send(ours.as_fd(), greeting, [&[], &[]], &[]).unwrap();
        let mut child = command.stdin(theirs).stdout(Stdio::null()).spawn().unwrap();
        // Its end of the socket is the child's alone, so that this ends with it.
        command.stdin(Stdio::null());
        let mut buffer = vec![0; FRAME_LIMIT];
        let answer = socket::receive(ours.as_fd(), &mut buffer).unwrap().unwrap();
        let answer = postcard::from_bytes(&buffer[..answer.len]).unwrap();
        drop(ours);
        (answer, child.wait().unwrap().code().unwrap())
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "what is skipped is named")]
    fn only_a_greeting_from_this_pool_is_answered() {
        let nonce = "0123456789abcdef".repeat(2);
        let name = format!("{NAME}{nonce}");
        let hello = |magic, protocol, nonce: &str, build: String| ToServer::Hello {
            magic,
            protocol,
            nonce: nonce.to_owned(),
            build,
            umask: None,
            settings: WorkerSettings::default(),
        };
        let start = || {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(&name);
            command
        };
        let mut other = MAGIC;
        other[7] ^= 1;
        let why = "the first message is not from this pool";
        for (greeting, why) in [
            (hello(other, PROTOCOL, &nonce, image::build()), why),
            (hello(MAGIC, PROTOCOL, &nonce.replace('0', "1"), image::build()), why),
            (ToServer::Spawn { serial: 1, seat: 0 }, "the first message is not a greeting"),
        ] {
            let (answer, code) = answer_to(&mut start(), &greeting);
            assert!(matches!(&answer, FromServer::Refused { why: it } if it == why), "{answer:?}");
            assert_eq!(code, child::FAILED);
        }
        // It says what it is, for who asks, and is no use to it.
        for (protocol, build) in [(PROTOCOL + 1, image::build()), (PROTOCOL, "other".to_owned())] {
            let greeting = hello(MAGIC, protocol, &nonce, build);
            let (answer, code) = answer_to(&mut start(), &greeting);
            assert!(matches!(answer, FromServer::Ready { protocol: PROTOCOL, .. }), "{answer:?}");
            assert_eq!(code, child::FAILED);
        }
        // Right in every way, but from somebody who is not the parent.
        let mut shell = Command::new("bash");
        let script = "( exec -a \"$0\" \"$1\" ); exit $?";
        let program = format!("/proc/{}/exe", std::process::id());
        shell.args(["-c", script, &name, &program]);
        if Command::new("bash").arg("--version").output().is_err() {
            return println!("skipped: there is no bash to stand in between");
        }
        let (answer, code) = answer_to(&mut shell, &hello(MAGIC, PROTOCOL, &nonce, image::build()));
        let why = "the socket is not from this process's parent";
        assert!(matches!(&answer, FromServer::Refused { why: it } if it == why), "{answer:?}");
        assert_eq!(code, child::FAILED);
    }
}
