//! Memory that worker and program share: written all over, and its file cut short.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::frames::{change, varint};
use super::random::Random;
use super::{Attack, Target, attack};

/// The ring through which jobs come and answers go.
const BOARD: &str = "loopool-board";

/// Where large arguments lie.
const ARENA: &str = "loopool-arena";

pub(crate) const ATTACKS: &[Attack] = &[
    on(BOARD, "noise all over the ring", |target| scribble(target, BOARD, noise)),
    on(BOARD, "zeros all over the ring", |target| scribble(target, BOARD, |_, _| 0)),
    on(BOARD, "ones all over the ring", |target| scribble(target, BOARD, |_, _| u64::MAX)),
    on(BOARD, "numbers that overflow in the ring", |target| scribble(target, BOARD, overflows)),
    on(BOARD, "numbers in the ring that are one too high", |target| scribble(target, BOARD, next)),
    on(BOARD, "answers in the slot that are none", |target| answer_in_the_slot(target, 1)),
    on(BOARD, "answers to jobs that nobody has given", |target| {
        let more = target.random.odd_number() as u32;
        answer_in_the_slot(target, more);
    }),
    on(BOARD, "a claim that is taken back", |target| {
        if let Some(board) = &target.board {
            board.unclaim();
        }
    }),
    on(BOARD, "single bits of the ring", |target| flip_for_a_while(target, BOARD)),
    on(BOARD, "a ring that is cut short", |target| cut_short(target, BOARD)),
    on(BOARD, "holes in the ring", |target| punch_holes(target, BOARD)),
    on(ARENA, "noise all over the arena", |target| scribble(target, ARENA, noise)),
    on(ARENA, "single bits of the arena", |target| flip_for_a_while(target, ARENA)),
    on(ARENA, "an arena that is cut short", |target| cut_short(target, ARENA)),
    on(ARENA, "holes in the arena", |target| punch_holes(target, ARENA)),
];

/// What is written there may be an answer.
const fn on(mapping: &'static str, name: &'static str, run: fn(&mut Target<'_>)) -> Attack {
    Attack { answers: true, mapping: Some(mapping), ..attack(name, run) }
}

/// A mapping of the worker.
struct Found {
    start: usize,
    len: usize,
    /// Its name below `/proc/self/map_files`.
    file: String,
}

fn find(name: &str) -> Vec<Found> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let lines = maps.lines().filter(|line| line.contains(name));
    let found = lines.filter_map(|line| {
        let file = line.split_whitespace().next()?;
        let (start, end) = file.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let len = usize::from_str_radix(end, 16).ok()? - start;
        Some(Found { start, len, file: file.to_owned() })
    });
    found.collect()
}

impl Found {
    /// Its words, if they can be made writable.
    fn words(&self) -> &[AtomicU64] {
        let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(self.start);
        // SAFETY: the mapping is there as long as this process, which does not return from the attack.
        // Whoever else writes it is in another process.
        unsafe {
            if libc::mprotect(start, self.len, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return &[];
            }
            std::slice::from_raw_parts(start.cast(), self.len / size_of::<AtomicU64>())
        }
    }
}

fn noise(_: u64, random: &mut Random) -> u64 {
    random.next()
}

fn overflows(_: u64, random: &mut Random) -> u64 {
    random.odd_number() << (random.below(2) * 32)
}

fn next(word: u64, random: &mut Random) -> u64 {
    word.wrapping_add(1 << (random.below(2) * 32))
}

/// Gives every word another value, and again, while the program may look at it.
fn scribble(target: &mut Target<'_>, name: &str, value: fn(u64, &mut Random) -> u64) {
    let start = Instant::now();
    let found = find(name);
    // The head of a ring is where its numbers are: also it alone.
    let words = target.random.of(&[16, 64, 512, usize::MAX]);
    loop {
        for found in &found {
            for word in found.words().iter().take(words) {
                word.store(value(word.load(Relaxed), target.random), Relaxed);
            }
        }
        if start.elapsed() > Duration::from_millis(10) {
            return;
        }
    }
}

/// Something that may once have been an answer, with a length that may be its own.
fn answer_in_the_slot(target: &mut Target<'_>, more: u32) {
    let Some(board) = &target.board else { return };
    let span = [varint(target.random.odd_number()), varint(target.random.odd_number())].concat();
    let start = varint(target.random.odd_number());
    let mut answer = match target.random.below(4) {
        0 => vec![0, 0, 0, 1, 0, 0, 9, 9],
        // A value in no file, or anywhere on the board.
        1 => [&[0, 0, 1][..], &span, &[1, 0]].concat(),
        2 => [&[0, 0, 1][..], &span, &[0], &start, &[1]].concat(),
        _ => vec![1],
    };
    if target.random.below(2) == 0 {
        change(&mut answer, target.random);
    }
    let odd = target.random.odd_number() as u16;
    let len = target.random.of(&[answer.len() as u16, odd]);
    board.answer(&answer, len);
    board.count(more);
    std::thread::sleep(Duration::from_millis(5));
}

fn flip_for_a_while(target: &mut Target<'_>, name: &str) {
    let start = Instant::now();
    let found = find(name);
    while start.elapsed() < Duration::from_millis(20) {
        for found in &found {
            let words = found.words();
            if words.is_empty() {
                continue;
            }
            // Near the beginning as often as anywhere.
            let limit = if target.random.below(2) == 0 { words.len().min(64) } else { words.len() };
            let at = target.random.below(limit);
            words[at].fetch_xor(1 << target.random.below(64), Relaxed);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The program would die of touching memory beyond the end of a file that it has mapped.
fn cut_short(target: &mut Target<'_>, name: &str) {
    let open = |path: String| std::fs::OpenOptions::new().write(true).open(path).ok();
    let descriptors = (3..64).map(|fd| format!("/proc/self/fd/{fd}")).filter(|path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains(name))
    });
    let mappings = find(name).into_iter().map(|it| format!("/proc/self/map_files/{}", it.file));
    let len = target.random.of(&[0, 1, 4096]);
    for file in descriptors.chain(mappings).filter_map(open) {
        let _ = file.set_len(len);
    }
    std::thread::sleep(Duration::from_millis(10));
    // A worker that dies of it is as good.
    for found in find(name) {
        let first = std::ptr::with_exposed_provenance::<AtomicU8>(found.start);
        // SAFETY: as above; where there is no file any more this is a signal, which may end us.
        unsafe { (*first).load(Relaxed) };
    }
}

/// Takes away pages that the program has written, again and again. They are zeros for it afterwards.
fn punch_holes(target: &mut Target<'_>, name: &str) {
    let start = Instant::now();
    let found = find(name);
    while start.elapsed() < Duration::from_millis(10) {
        for found in &found {
            // It takes a mapping that may be written.
            let pages = size_of_val(found.words()) / PAGE;
            let at = found.start + target.random.below(pages) * PAGE;
            let at = std::ptr::with_exposed_provenance_mut::<libc::c_void>(at);
            // SAFETY: a page of the mapping, of which there are only atomic words.
            unsafe { libc::madvise(at, PAGE, libc::MADV_REMOVE) };
        }
    }
}

const PAGE: usize = 4096;
