//! Timers that leave the loop in whose wheel they are.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use loopool::{create_task, sleep_until, spawn_on, timeout};

use crate::support::{Crowd, Random, Tally};

/// Set on one loop, polled or dropped on another one or by a stranger, with the time up meanwhile.
pub(crate) fn timers_on_the_move(random: &mut Random) {
    const TIMERS: usize = 12;
    let runtime = random.runtime();
    let loops = runtime.handle().loops();
    let (ended, mut crowd) = (Tally::default(), Crowd::default());
    runtime.run_until_complete(async {
        let mut journeys = Vec::new();
        for _ in 0..TIMERS {
            let deadline = Instant::now() + Duration::from_micros(random.below(600) as u64);
            let set = move || async move {
                let mut nap = Box::pin(sleep_until(deadline));
                poll_fn(|cx| {
                    let _ = nap.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
                Some(nap)
            };
            let (from, to) = (random.below(loops), random.below(loops));
            let (ended, mut inside) = (ended.clone(), random.split());
            journeys.push(create_task(async move {
                let nap = spawn_on(from, set).unwrap().await.unwrap().unwrap();
                inside.pause();
                match inside.below(4) {
                    0 => {
                        let rest = spawn_on(to, move || nap).unwrap();
                        rest.await.unwrap();
                        assert!(Instant::now() >= deadline);
                    }
                    1 => spawn_on(to, move || drop_it(nap)).unwrap().await.unwrap(),
                    2 => {
                        let early = Duration::from_micros(inside.below(600) as u64);
                        let _ = timeout(early, nap).await;
                    }
                    _ => {
                        ended.add(1);
                        return Some(nap);
                    }
                }
                ended.add(1);
                None
            }));
        }
        for journey in journeys {
            let nap = journey.await.unwrap();
            let mut random = random.split();
            crowd.add(move || {
                random.pause();
                drop(nap);
            });
        }
        crowd.gone().await;
    });
    assert_eq!(ended.get(), TIMERS);
}

async fn drop_it<T>(it: T) {
    drop(it);
}
