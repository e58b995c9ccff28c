//! What a runtime counts.

use std::thread;
use std::time::Duration;

use loopool::{Runtime, yield_now};

/// One in so many polls is timed; at random distances, of less than twice as many.
const SAMPLE: u64 = 16;

#[test]
fn about_one_poll_in_sixteen_is_timed() {
    let runtime = Runtime::builder().loops(1).build().unwrap();
    let handle = runtime.handle();
    runtime.run_until_complete(async {
        for _ in 0..100 * SAMPLE {
            yield_now().await;
        }
    });
    let of_loop = &handle.threadsafe().metrics().loops[0];
    assert!(of_loop.polls > 100 * SAMPLE);
    let total = of_loop.poll_times.total();
    assert!(total >= of_loop.polls / (2 * SAMPLE), "{of_loop:?}");
    assert!(total <= 2 * of_loop.polls / SAMPLE, "{of_loop:?}");
    assert_eq!(of_loop.poll_times.buckets().map(|(_, count)| count).sum::<u64>(), total);
}

#[test]
fn of_tasks_that_take_turns_each_is_timed() {
    let runtime = Runtime::builder().loops(1).build().unwrap();
    runtime.run_until_complete(async {
        // With this one, sixteen.
        for _ in 0..14 {
            drop(loopool::create_task(async {
                loop {
                    yield_now().await;
                }
            }));
        }
        loopool::create_task(async {
            for _ in 0..20 * SAMPLE {
                thread::sleep(Duration::from_micros(200));
                yield_now().await;
            }
        })
        .await
        .unwrap();
    });
    let times = &runtime.metrics().loops[0].poll_times;
    assert!(times.quantile(1.0).unwrap() > Duration::from_micros(200), "{times:?}");
}

#[test]
fn callbacks_are_not_among_the_polls_that_are_timed() {
    let runtime = Runtime::builder().loops(1).build().unwrap();
    let handle = runtime.handle();
    for _ in 0..100 * SAMPLE {
        handle.call_soon(|| {});
    }
    runtime.run_until_complete(yield_now());
    let of_loop = &runtime.metrics().loops[0];
    assert!(of_loop.polls < 10);
    assert!(of_loop.poll_times.total() <= of_loop.polls);
}

#[test]
fn a_long_poll_lies_in_a_bucket_for_long_polls() {
    let runtime = Runtime::builder().loops(1).build().unwrap();
    runtime.run_until_complete(async {
        for _ in 0..2 * SAMPLE {
            thread::sleep(Duration::from_millis(5));
            yield_now().await;
        }
    });
    let times = &runtime.metrics().loops[0].poll_times;
    let longest = times.quantile(1.0).unwrap();
    assert!(longest > Duration::from_millis(5), "{times:?}");
    assert!(times.buckets().any(|(bound, count)| count > 0 && bound == longest));
}

#[test]
fn each_loop_times_its_own_polls() {
    let runtime = Runtime::builder().loops(2).build().unwrap();
    runtime.run_until_complete(async {
        let yields = |_| async {
            for _ in 0..100 * SAMPLE {
                yield_now().await;
            }
        };
        for task in loopool::spawn_on_each(yields) {
            task.await.unwrap();
        }
    });
    for of_loop in &runtime.metrics().loops {
        // Callbacks, of which there are none here, would be timed in the place of polls.
        assert!(of_loop.poll_times.total() >= 50, "{of_loop:?}");
    }
}
