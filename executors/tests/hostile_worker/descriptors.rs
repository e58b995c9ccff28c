//! Descriptors: of every kind, too many, and files that change while they are read.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{setsockopt, sockopt};

use super::frames::{answer_in_file, nobodys, varint};
use super::{Attack, Target, attack};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack { answers: true, ..attack("a result file of any kind", any_kind) },
    Attack { answers: true, ..attack("places in a result file that lie", lying_places) },
    Attack { answers: true, ..attack("a result file that shrinks as it is read", shrinks) },
    attack("more descriptors than any message has", too_many),
    attack("a socket that is sent through itself", socket_in_itself),
    attack("sockets whose close takes years", lingering),
];

/// One of everything that has a descriptor. They stay open: the process ends soon.
pub(crate) fn descriptor(kind: usize, socket: RawFd) -> Option<RawFd> {
    let file = |path: &str| File::open(path).ok().map(IntoRawFd::into_raw_fd);
    let memory = || memfd_create("attack", MFdFlags::MFD_ALLOW_SEALING).ok();
    // SAFETY: plain system calls; what they open belongs to nobody else.
    let call = |fd: i32| (fd >= 0).then_some(fd);
    // SAFETY: as above.
    unsafe {
        match kind {
            0 => nix::unistd::pipe().ok().map(|(read, write)| {
                std::mem::forget(write);
                read.into_raw_fd()
            }),
            1 => Some(socket),
            2 => file("/dev/zero"),
            3 => file("/dev/null"),
            4 => file("/dev/urandom"),
            5 => file("/"),
            6 => file("/proc/self/mem"),
            7 => file("/proc/self/maps"),
            8 => file("/proc/kmsg"),
            9 => call(libc::epoll_create1(0)),
            10 => call(libc::eventfd(0, 0)),
            11 => call(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)),
            12 => call(libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as i32),
            13 => call(libc::inotify_init1(0)),
            14 => call(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
            15 => open("/dev/zero", OFlag::O_PATH, nix::sys::stat::Mode::empty())
                .ok()
                .map(IntoRawFd::into_raw_fd),
            16 => memory().map(IntoRawFd::into_raw_fd),
            17 => memory().map(|file| {
                let _ = nix::unistd::ftruncate(&file, 1 << 42);
                file.into_raw_fd()
            }),
            18 => memory().map(|file| {
                let _ = nix::unistd::write(&file, &[0; 4096]);
                let all = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
                let _ = fcntl(&file, FcntlArg::F_ADD_SEALS(all));
                file.into_raw_fd()
            }),
            19 => memory().and_then(|file| {
                // Only to be written.
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let flags = OFlag::O_WRONLY;
                open(path.as_str(), flags, nix::sys::stat::Mode::empty())
                    .ok()
                    .map(IntoRawFd::into_raw_fd)
            }),
            20 => file("/etc/hostname"),
            _ => call(libc::open(c"/tmp".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600)),
        }
    }
}

pub(crate) const KINDS: usize = 22;

fn any_kind(target: &mut Target<'_>) {
    let kind = target.random.below(KINDS);
    let Some(fd) = descriptor(kind, target.socket.0) else { return };
    let len = target.random.of(&[0, 1, 16, 4096, 1 << 41]);
    target.socket.send(&answer_in_file(target.slot, 0, len), &[fd]);
    target.say_by_socket();
}

fn lying_places(target: &mut Target<'_>) {
    let file = memfd_create("attack", MFdFlags::empty()).unwrap();
    let file = File::from(file);
    let table = |spans: &[(u64, u64)]| {
        let mut table = varint(spans.len() as u64);
        for (offset, len) in spans {
            // Beside.
            table.push(0);
            table.extend([varint(*offset), varint(*len)].concat());
        }
        table
    };
    let random = &mut *target.random;
    let odd = [random.odd_number(), random.odd_number(), random.odd_number()];
    let head = match random.below(4) {
        0 => table(&[(odd[0], odd[1])]),
        1 => table(&[(0, 4096), (0, 4096)]),
        2 => table(&[(0, 100), (odd[2] % 8192, odd[1])]),
        _ => varint(odd[0]),
    };
    file.write_all_at(&[9; 8192], 0).unwrap();
    file.write_all_at(&head, 8192).unwrap();
    // A hole, larger than any memory.
    file.set_len(1 << 41).unwrap();
    let message = answer_in_file(target.slot, 8192, head.len() as u64);
    target.socket.send(&message, &[file.as_raw_fd()]);
    target.say_by_socket();
    std::mem::forget(file);
}

fn shrinks(target: &mut Target<'_>) {
    let len = 8 << 20;
    let file = File::from(memfd_create("attack", MFdFlags::empty()).unwrap());
    file.write_all_at(&vec![0; len], 0).unwrap();
    let message = answer_in_file(target.slot, 0, len as u64);
    target.socket.send(&message, &[file.as_raw_fd()]);
    target.say_by_socket();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        let _ = file.set_len(target.random.below(len) as u64);
        let _ = file.set_len(len as u64);
        let _ = file.write_all_at(&[0xff; 64], target.random.below(len) as u64);
    }
}

/// The kernel takes 253 at most.
fn too_many(target: &mut Target<'_>) {
    let file = File::open("/dev/null").unwrap();
    for count in [5, 68, 69, 100, 253] {
        let fds = vec![file.as_raw_fd(); count];
        let message = answer_in_file(nobodys(target.random), 0, 1);
        target.socket.send(&message, &fds);
    }
}

/// Only the kernel's collector of garbage gets rid of such ones.
fn socket_in_itself(target: &mut Target<'_>) {
    let copies: Vec<OwnedFd> = (0..4)
        .map(|_| {
            // SAFETY: the copy belongs to nobody else.
            unsafe { OwnedFd::from_raw_fd(libc::dup(target.socket.0)) }
        })
        .collect();
    let fds: Vec<RawFd> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    for _ in 0..20 {
        let message = answer_in_file(nobodys(target.random), 0, 1);
        target.socket.send(&message, &fds);
    }
}

/// Whoever closes the last descriptor of such a one waits for its peer, which never reads. Some are in messages, some are
/// left unread.
fn lingering(target: &mut Target<'_>) {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return };
    for _ in 0..8 {
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Held by the other side of what this worker leaves behind; nobody reads.
        std::mem::forget(listener.accept().unwrap());
        here.set_nonblocking(true).unwrap();
        while here.write(&[0; 65536]).is_ok() {}
        let years = libc::linger { l_onoff: 1, l_linger: 1 << 24 };
        setsockopt(&here, sockopt::Linger, &years).unwrap();
        let message = answer_in_file(nobodys(target.random), 0, 1);
        target.socket.send(&message, &[here.as_raw_fd()]);
    }
}
