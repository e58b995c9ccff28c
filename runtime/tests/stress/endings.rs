//! Runtimes that end while others use them.

use std::rc::Rc;
use std::time::Duration;

use futures::executor::block_on;
use loopool::{ShutdownPolicy, ThreadsafeHandle, create_task, sleep, to_thread};

use crate::support::{Crowd, Gate, Guards, Random};

/// Made, used a little or not at all, and ended in some way, while strangers spawn, wake and call: what
/// they gave away is dropped, once, whether it was taken or not, and nobody waits for ever.
pub(crate) fn the_end_meets_everything(random: &mut Random) {
    let runtime = random.runtime();
    let (guards, gate, mut crowd) = (Guards::default(), Gate::default(), Crowd::default());
    for _ in 0..3 {
        let (handle, guards, gate) = (runtime.threadsafe_handle(), guards.clone(), gate.clone());
        let mut random = random.split();
        crowd.add(move || {
            for _ in 0..20 {
                random.pause();
                meddle(&handle, &guards, &gate, &mut random);
            }
        });
    }
    let main = {
        let (guards, gate, mut random) = (guards.clone(), gate.clone(), random.split());
        async move {
            let guard = guards.make();
            drop(create_task(async move {
                gate.pass().await;
                sleep(Duration::from_secs(3600)).await;
                drop(guard);
            }));
            let guard = guards.make();
            drop(to_thread(move || drop(guard)));
            random.hops(20).await;
            if random.one_in(2) {
                sleep(Duration::from_micros(random.below(500) as u64)).await;
            }
        }
    };
    let policy = |grace| ShutdownPolicy::default().grace(grace);
    match random.below(6) {
        0 => drop(runtime),
        1 => _ = runtime.shutdown(policy(Duration::ZERO)),
        2 => runtime.run(main),
        3 => {
            runtime.run_until_complete(main);
            drop(runtime);
        }
        4 => {
            runtime.run_until_complete(main);
            runtime.shutdown(policy(Duration::ZERO));
        }
        _ => {
            runtime.run_until_complete(main);
            runtime.shutdown(policy(Duration::from_secs(10)).finish_queued_jobs(true));
        }
    }
    crowd.join();
    // A loop that was late, or a job, may still be about to end.
    guards.wait_for_all();
    gate.open(random);
}

fn meddle(handle: &ThreadsafeHandle, guards: &Guards, gate: &Gate, random: &mut Random) {
    let (guard, gate, mut inside) = (guards.make(), gate.clone(), random.split());
    match random.below(7) {
        0 => {
            let task = handle.create_task(async move {
                inside.hops(3).await;
                drop(guard);
            });
            if random.one_in(2)
                && let Err(error) = block_on(task)
            {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        1 => drop(handle.create_task(async move {
            gate.pass().await;
            drop(guard);
        })),
        2 => {
            let make = move || {
                let local = Rc::new(guard);
                async move {
                    gate.pass().await;
                    drop(local);
                }
            };
            drop(handle.spawn_on(random.below(handle.loops()), make).unwrap());
        }
        3 => match handle.call_soon_threadsafe(move || drop(guard)) {
            Ok(callback) if random.one_in(3) => callback.cancel(),
            Ok(_) => {}
            Err(_) => assert!(handle.is_closed()),
        },
        4 => {
            let mut job = handle.run_coroutine_threadsafe(async move {
                inside.hops(3).await;
                drop(guard);
            });
            match random.below(3) {
                0 => drop(job),
                1 => _ = job.cancel(),
                _ => {
                    if let Err(error) = job.result(None) {
                        assert!(error.is_cancelled() || error.is_rejected(), "{error}");
                    }
                }
            }
        }
        _ => gate.rattle(),
    }
}
