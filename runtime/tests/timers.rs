//! Sleeps: their first poll, and what becomes of them without the runtime that they were polled on.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use loopool::{Runtime, Sleep, sleep, sleep_until};

const LONG: Duration = Duration::from_secs(3600);

fn runtime(loops: usize) -> Runtime {
    Runtime::builder().loops(loops).build().unwrap()
}

fn timers() -> u64 {
    loopool::metrics().loops.iter().map(|metrics| metrics.timers).sum()
}

/// Whether one poll ends it.
async fn ends_at_once(sleep: &mut Sleep) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *sleep).poll(cx).is_ready())).await
}

/// Polled once, so that its timer is set.
async fn set(mut sleep: Sleep) -> Sleep {
    assert!(!ends_at_once(&mut sleep).await);
    sleep
}

#[test]
fn what_is_past_ends_at_the_first_poll_and_sets_no_timer() {
    runtime(1).run(async {
        let long = set(sleep(LONG)).await;
        for mut past in [sleep(Duration::ZERO), sleep_until(Instant::now())] {
            assert!(ends_at_once(&mut past).await);
        }
        if let Some(yesterday) = Instant::now().checked_sub(Duration::from_secs(24 * 3600)) {
            assert!(ends_at_once(&mut sleep_until(yesterday)).await);
        }
        // Past since an earlier turn.
        let mut short = sleep(Duration::from_millis(2));
        sleep(Duration::from_millis(5)).await;
        assert!(ends_at_once(&mut short).await);
        assert_eq!(timers(), 1);
        drop(long);
        assert_eq!(timers(), 0);
    });
}

#[test]
fn what_became_past_while_the_thread_was_busy_ends_all_the_same() {
    runtime(1).run(async {
        let made = Instant::now();
        let short = sleep(Duration::from_millis(2));
        while made.elapsed() < Duration::from_millis(3) {
            std::hint::spin_loop();
        }
        short.await;
    });
}

#[test]
fn a_deadline_that_has_come_ends_at_the_first_poll_however_long_ago_the_clock_was_read() {
    runtime(1).run(async {
        let _long = set(sleep(LONG)).await;
        let made = Instant::now();
        while made.elapsed() < Duration::from_millis(3) {
            std::hint::spin_loop();
        }
        assert!(ends_at_once(&mut sleep_until(Instant::now())).await);
    });
}

#[test]
fn a_sleep_outlives_its_runtime() {
    for loops in [1, 2] {
        let [dropped, sent, moved] = runtime(loops).run(async {
            [
                set(sleep(LONG)).await,
                set(sleep(LONG)).await,
                set(sleep(Duration::from_millis(20))).await,
            ]
        });
        drop(dropped);
        std::thread::spawn(move || drop(sent)).join().unwrap();
        let deadline = moved.deadline();
        runtime(loops).run(moved);
        assert!(Instant::now() >= deadline);
    }
}
