//! Loops that are blocked, and who does their work meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use loopool::{Runtime, block_in_place, create_task};

use crate::support::{Crowd, Random, Tally, until};

/// Everything is run once, by whoever is free: another loop, or a spare worker that is called and retired
/// all the time.
pub(crate) fn blocked_loops(random: &mut Random) {
    const EACH: usize = 12;
    let runtime = Runtime::builder()
        .loops(random.loops())
        .spare_workers(1 + random.below(2))
        .spare_keep_alive(Duration::from_micros(random.below(400) as u64))
        .build()
        .unwrap();
    let (ran, mut crowd) = (Tally::default(), Crowd::default());
    for _ in 0..2 {
        let (mut random, handle, ran) = (random.split(), runtime.threadsafe_handle(), ran.clone());
        crowd.add(move || {
            for _ in 0..EACH {
                let (ran, mut inside) = (ran.clone(), random.split());
                drop(handle.create_task(async move {
                    inside.hops(1).await;
                    match inside.below(6) {
                        0 => block_in_place(|| nap(&mut inside, 300)),
                        1 => nap(&mut inside, 300),
                        _ => inside.pause(),
                    }
                    inside.hops(1).await;
                    ran.add(1);
                }));
                random.pause();
                if random.one_in(8) {
                    nap(&mut random, 500);
                }
            }
        });
    }
    runtime.run_until_complete(async {
        for _ in 0..EACH {
            let (done, flag) = (Arc::new(AtomicBool::new(false)), Tally::default());
            let (set, count) = (done.clone(), ran.clone());
            let mut value = Box::new(0);
            let mut inside = random.split();
            let task = create_task(async move {
                inside.pause();
                *value += 1;
                flag.add(1);
                count.add(1);
                set.store(true, Ordering::Release);
                value
            });
            random.pause();
            match random.below(4) {
                // Only others can do it.
                0 | 1 => block_in_place(|| wait_for(&done)),
                2 => wait_for(&done),
                _ => random.hops(2).await,
            }
            assert_eq!(*task.await.unwrap(), 1);
        }
        crowd.gone().await;
        until(|| ran.get() == 3 * EACH).await;
    });
    let report = runtime.shutdown(Default::default());
    assert!(report.dropped.is_empty(), "{report}");
    assert_eq!(ran.get(), 3 * EACH);
}

fn nap(random: &mut Random, most: usize) {
    std::thread::sleep(Duration::from_micros(random.below(most) as u64));
}

fn wait_for(done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_micros(20));
    }
}
