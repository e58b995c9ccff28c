//! Floods: more than anybody can take, until nobody listens, or for a while.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::frames::{answer_in_file, answer_with_tail, nobodys};
use super::{Attack, Target, attack};

pub(crate) const ATTACKS: &[Attack] = &[
    attack("a flood of answers", answers),
    attack("a flood of last words", last_words),
    attack("a flood of large messages", large),
    attack("a flood of descriptors", descriptors),
    attack("a child that goes on after the worker's death", child),
];

const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// Sends until nobody listens any more, or for long enough.
fn flood(target: &mut Target<'_>, message: &[u8], fds: &[i32]) {
    let start = Instant::now();
    while start.elapsed() < LONG_ENOUGH && target.socket.send(message, fds) {}
}

fn answers(target: &mut Target<'_>) {
    let message = answer_with_tail(nobodys(target.random), &[0, 0]);
    flood(target, &message, &[]);
}

/// They are allowed, any number of them.
fn last_words(target: &mut Target<'_>) {
    let text = target.random.below(2) == 0;
    let message = if text { &[4, 3, b'a', b'b', b'c', 0][..] } else { &[3] };
    flood(target, message, &[]);
}

fn large(target: &mut Target<'_>) {
    let message = answer_with_tail(nobodys(target.random), &[0; 60_000]);
    flood(target, &message, &[]);
}

fn descriptors(target: &mut Target<'_>) {
    let file = File::open("/dev/null").unwrap();
    let message = answer_in_file(nobodys(target.random), 0, 1);
    flood(target, &message, &[file.as_raw_fd(); 4]);
}

/// It has left the worker's group, so nobody kills it; it ends by itself.
fn child(target: &mut Target<'_>) {
    // SAFETY: a worker has one thread, and the child does nothing but system calls and arithmetic.
    unsafe {
        if libc::fork() != 0 {
            return;
        }
        libc::setsid();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) && target.socket.send(&[3], &[]) {}
}
