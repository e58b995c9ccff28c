//! Races, widened on purpose: several threads go through the steps of a protocol with random pauses in
//! between, and everything is counted at the end. A program of its own, so that a sanitizer sees nothing
//! but the runtime.
//!
//! `LOOPOOL_STRESS_SECONDS` says how long it runs in all, `LOOPOOL_STRESS_SEED` with which seed it begins:
//! a failure names that of the round that failed. (What the threads make of a seed still depends on luck.)
//! An argument picks the scenarios whose names contain it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness is our own")]

mod blocking;
mod clocks;
mod endings;
mod requests;
#[cfg_attr(loopool_thread_sanitizer, path = "sanitizer.rs")]
#[cfg_attr(not(loopool_thread_sanitizer), path = "no_sanitizer.rs")]
mod sanitizer;
mod sockets;
mod support;
mod tasks;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::Random;

/// A round that lasts so long hangs.
const HANG: Duration = Duration::from_secs(60);

type Scenario = fn(&mut Random);

const SCENARIOS: [(&str, Scenario); 10] = [
    ("tasks_made_joined_and_detached", tasks::made_joined_and_detached),
    ("wakes_meet_polls", tasks::wakes_meet_polls),
    ("a_request_meets_everything", tasks::a_request_meets_everything),
    ("local_tasks_stay_at_home", tasks::local_tasks_stay_at_home),
    ("requests_are_delivered_once", requests::are_delivered_once),
    ("requests_are_passed_on", requests::are_passed_on),
    ("timers_on_the_move", clocks::timers_on_the_move),
    ("a_stream_that_many_read", sockets::a_stream_that_many_read),
    ("blocked_loops", blocking::blocked_loops),
    ("the_end_meets_everything", endings::the_end_meets_everything),
];

/// The round that goes on.
static NOW: Mutex<(&str, u64)> = Mutex::new(("", 0));
static ROUNDS: AtomicU64 = AtomicU64::new(0);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn main() {
    let seconds = number("LOOPOOL_STRESS_SECONDS").unwrap_or(1);
    let any = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |time| u64::from(time.subsec_nanos()))
    };
    let first = number("LOOPOOL_STRESS_SEED").unwrap_or_else(any);
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let scenarios: Vec<_> = SCENARIOS.into_iter().filter(|(name, _)| wanted(name)).collect();
    die_of_any_panic();
    std::thread::spawn(watch);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while !scenarios.is_empty() && (rounds == 0 || Instant::now() < end) {
        let seed = first.wrapping_add(rounds);
        for &(name, scenario) in &scenarios {
            *NOW.lock().unwrap() = (name, seed);
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            scenario(&mut Random::new(seed));
        }
        rounds += 1;
    }
    for (name, _) in scenarios {
        println!("test {name} ... ok, {rounds} times");
    }
}

/// Wherever it happens: a panic in a task is caught, and one in a thread is found only when it is joined.
fn die_of_any_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        give_up("failed");
    }));
}

fn give_up(how: &str) -> ! {
    let (name, seed) = *NOW.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    eprintln!("{name} {how}, with LOOPOOL_STRESS_SEED={seed}");
    std::process::abort()
}

fn watch() {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let round = ROUNDS.load(Ordering::Relaxed);
        if round != last {
            (last, since) = (round, Instant::now());
        } else if since.elapsed() > HANG {
            give_up("hangs");
        }
    }
}
