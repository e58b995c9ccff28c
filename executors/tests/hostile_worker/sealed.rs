//! Blobs with files of their own: not sealed, sealed too late, with holes, of every other kind, too few and too many.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::descriptors::{KINDS, descriptor};
use super::frames::{answer_with_tail, varint};
use super::{Attack, Target, attack};

pub(crate) const ATTACKS: &[Attack] = &[
    answers("blobs that are sealed, some of them in part", sealed_in_part),
    answers("a blob that is sealed when it was sent", sealed_late),
    answers("a blob that is written by a mapping from before", written_by_a_mapping),
    answers("a blob that is a hole", a_hole),
    answers("a blob that becomes one", a_hole_later),
    answers("blobs that are too short to be sealed", too_short),
    answers("a blob in a file of any kind", any_kind),
    answers("a blob in huge pages", huge_pages),
    answers("files without blobs, and blobs without files", wrong_numbers),
    answers("a blob that is no value", without_a_value),
    answers("as many blobs as may be, again and again", many),
];

const fn answers(name: &'static str, run: fn(&mut Target<'_>)) -> Attack {
    Attack { answers: true, ..attack(name, run) }
}

/// As long as one must be at least.
const LEN: usize = 64 * 1024;

/// What they must have.
const SEALS: [SealFlag; 3] =
    [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW];

fn all() -> SealFlag {
    SEALS.into_iter().collect()
}

/// A file in memory with so many bytes. It stays open: the process ends soon.
fn memory(len: usize) -> RawFd {
    let file = File::from(memfd_create("attack", MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.write_all_at(&vec![9; len], 0).unwrap();
    let fd = file.as_raw_fd();
    std::mem::forget(file);
    fd
}

fn with<T>(fd: RawFd, act: impl FnOnce(&File) -> T) -> T {
    use std::os::fd::FromRawFd;
    // SAFETY: it is open, and stays so.
    let file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    act(&file)
}

fn seal(fd: RawFd, seals: SealFlag) {
    let _ = with(fd, |file| fcntl(file, FcntlArg::F_ADD_SEALS(seals)));
}

/// The answer to the own job, with a table of blobs that lie in the files with these numbers.
fn answer(target: &Target<'_>, numbers: &[u64]) -> Vec<u8> {
    const SEALED: u8 = 1;
    let mut tail = varint(numbers.len() as u64);
    numbers.iter().for_each(|number| tail.extend([&[SEALED][..], &varint(*number)].concat()));
    // The value: a number.
    tail.push(7);
    answer_with_tail(target.slot, &tail)
}

fn send(target: &mut Target<'_>, numbers: &[u64], fds: &[RawFd]) {
    target.socket.send(&answer(target, numbers), fds);
    target.say_by_socket();
}

fn sealed_in_part(target: &mut Target<'_>) {
    let fds: Vec<RawFd> = (0..3)
        .map(|_| {
            let fd = memory(LEN);
            let which = target.random.below(8);
            let others = [SealFlag::empty(), SealFlag::F_SEAL_SEAL, SealFlag::F_SEAL_FUTURE_WRITE];
            // Whole ones, too, as often as not.
            let seals = SEALS.into_iter().enumerate().filter(|(at, _)| which & 1 << at != 0);
            let seals: SealFlag = seals.map(|(_, seal)| seal).collect();
            let whole = target.random.below(2) == 0;
            seal(fd, if whole { all() } else { seals } | target.random.of(&others));
            fd
        })
        .collect();
    send(target, &[0, 1, 2], &fds);
}

fn sealed_late(target: &mut Target<'_>) {
    let fd = memory(LEN);
    send(target, &[0], &[fd]);
    let start = Instant::now();
    let wait = Duration::from_micros(target.random.below(200) as u64);
    while start.elapsed() < wait {
        let _ = with(fd, |file| {
            let _ = file.set_len(10);
            let _ = file.set_len(LEN as u64);
            file.write_all_at(&[8; LEN], 0)
        });
    }
    seal(fd, all());
    std::thread::sleep(Duration::from_millis(5));
}

fn written_by_a_mapping(target: &mut Target<'_>) {
    let fd = memory(LEN);
    // SAFETY: a new mapping, of which nobody knows.
    let start = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(std::ptr::null_mut(), LEN, protection, libc::MAP_SHARED, fd, 0)
    };
    // The kernel takes some of them only.
    SEALS.into_iter().for_each(|one| seal(fd, one));
    seal(fd, SealFlag::F_SEAL_FUTURE_WRITE);
    send(target, &[0], &[fd]);
    let began = Instant::now();
    while start != libc::MAP_FAILED && began.elapsed() < Duration::from_millis(5) {
        // SAFETY: as above.
        unsafe { start.cast::<u8>().write_bytes(target.random.next() as u8, LEN) };
    }
}

fn a_hole(target: &mut Target<'_>) {
    let fd = memory(target.random.of(&[0, 4096, LEN]));
    let len = target.random.of(&[LEN as u64, 2 * LEN as u64, 1 << 30, 1 << 41, i64::MAX as u64]);
    let _ = with(fd, |file| file.set_len(len));
    seal(fd, all());
    send(target, &[0], &[fd]);
}

/// The kernel does not let it.
fn a_hole_later(target: &mut Target<'_>) {
    let fd = memory(LEN);
    seal(fd, all());
    send(target, &[0], &[fd]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: a plain system call.
        unsafe { libc::fallocate(fd, punch, 0, LEN as libc::off_t) };
        let _ = with(fd, |file| file.set_len(0));
    }
}

fn too_short(target: &mut Target<'_>) {
    let fd = memory(target.random.of(&[0, 1, 4096, LEN - 1]));
    seal(fd, all());
    send(target, &[0; 1000], &[fd]);
}

fn any_kind(target: &mut Target<'_>) {
    let kind = target.random.below(KINDS);
    let Some(fd) = descriptor(kind, target.socket.0) else { return };
    send(target, &[0], &[fd]);
}

fn huge_pages(target: &mut Target<'_>) {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
    let Ok(file) = memfd_create("attack", flags) else { return };
    // It may have no pages at all: whoever reads it would die.
    let file = File::from(file);
    let _ = file.set_len(2 << 20);
    seal(file.as_raw_fd(), all());
    send(target, &[0], &[file.as_raw_fd()]);
    std::mem::forget(file);
}

fn wrong_numbers(target: &mut Target<'_>) {
    let fds: Vec<RawFd> = (0..target.random.below(4)).map(|_| memory(LEN)).collect();
    fds.iter().for_each(|fd| seal(*fd, all()));
    let odd = target.random.odd_number();
    let numbers: &[u64] = match target.random.below(6) {
        0 => &[],
        1 => &[0],
        2 => &[0, 1, 2, 3, 4],
        3 => &[1, 0],
        4 => &[odd],
        _ => &[0, odd],
    };
    send(target, numbers, &fds);
}

/// The job has panicked, it says, and something comes with that.
fn without_a_value(target: &mut Target<'_>) {
    let fd = memory(LEN);
    seal(fd, all());
    let panicked = [&[5][..], &varint(target.slot), &[1, 1, b'x', 0, 1, 0, 0]].concat();
    target.socket.send(&panicked, &[fd]);
    target.say_by_socket();
}

fn many(target: &mut Target<'_>) {
    let fds: Vec<RawFd> = (0..64).map(|_| memory(LEN)).collect();
    fds.iter().for_each(|fd| seal(*fd, all()));
    let numbers: Vec<u64> = (0..64).collect();
    let message = answer(target, &numbers);
    for _ in 0..target.random.below(40) {
        target.socket.send(&message, &fds);
    }
    target.say_by_socket();
}
