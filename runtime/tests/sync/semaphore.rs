//! The semaphore, and with it what locks and channels are made of.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loopool::sync::{Semaphore, SemaphorePermit};
use loopool::{cancellable, create_task, yield_now};

use super::support::{Woken, budget_is_kept, run};

type Waiting<'a> = Option<Pin<Box<dyn Future<Output = SemaphorePermit<'a>> + 'a>>>;

/// So many who want so much each, polled once.
fn wait<'a>(semaphore: &'a Semaphore, wanted: &[usize]) -> (Vec<Waiting<'a>>, Vec<Woken>) {
    let mut waiting = Vec::new();
    let mut woken = Vec::new();
    for wanted in wanted {
        let mut future: Waiting<'a> = Some(Box::pin(semaphore.acquire_many(*wanted)));
        let one = Woken::new();
        assert!(one.poll_pinned(future.as_mut().unwrap().as_mut()).is_pending());
        waiting.push(future);
        woken.push(one);
    }
    (waiting, woken)
}

fn counts(woken: &[Woken]) -> Vec<usize> {
    woken.iter().map(Woken::count).collect()
}

fn assert_quiet(semaphore: &Semaphore, available: usize) {
    let quiet = format!(
        "Semaphore {{ permits: Permits {{ available: {available}, promised: 0, waiting: false, \
         fair: false, closed: false }} }}"
    );
    assert_eq!(format!("{semaphore:?}"), quiet);
}

#[test]
fn permits_go_and_come_back() {
    let semaphore = Semaphore::new(3);
    let two = semaphore.try_acquire_many(2).unwrap();
    assert_eq!(semaphore.available_permits(), 1);
    assert!(semaphore.try_acquire_many(2).is_none());
    let one = semaphore.try_acquire().unwrap();
    assert!(semaphore.try_acquire().is_none());
    assert!(semaphore.try_acquire_many(0).is_some());
    drop(two);
    one.forget();
    assert_eq!(semaphore.available_permits(), 2);
    semaphore.add_permits(1);
    assert_quiet(&semaphore, 3);
}

#[test]
fn those_who_wait_are_woken_in_their_order_and_no_more_than_there_are_permits() {
    let semaphore = Semaphore::new(0);
    let (mut waiting, woken) = wait(&semaphore, &[1; 4]);
    semaphore.add_permits(1);
    assert_eq!(counts(&woken), [1, 0, 0, 0]);
    // It is on the way: to come back to it is not to wake another one.
    drop(semaphore.try_acquire().unwrap());
    assert_eq!(counts(&woken), [1, 0, 0, 0]);
    semaphore.add_permits(2);
    assert_eq!(counts(&woken), [1, 1, 1, 0]);
    let permits: Vec<_> =
        (0..3).map(|n| woken[n].poll_pinned(waiting[n].take().unwrap().as_mut())).collect();
    assert!(permits.iter().all(|permit| permit.is_ready()));
    drop(permits);
    assert_eq!(counts(&woken), [1, 1, 1, 1]);
    assert!(woken[3].poll_pinned(waiting[3].take().unwrap().as_mut()).is_ready());
    assert_quiet(&semaphore, 3);
}

/// Of four, the first two leave; one permit goes to the third.
#[test]
fn who_left_is_not_let_in() {
    let semaphore = Semaphore::new(0);
    let (mut waiting, woken) = wait(&semaphore, &[1; 4]);
    waiting[0] = None;
    waiting[1] = None;
    assert_eq!((woken[0].wakers(), woken[1].wakers()), (0, 0));
    semaphore.add_permits(1);
    assert_eq!(counts(&woken), [0, 0, 1, 0]);
    let permit = woken[2].poll_pinned(waiting[2].as_mut().unwrap().as_mut());
    assert!(permit.is_ready());
    assert!(woken[3].poll_pinned(waiting[3].as_mut().unwrap().as_mut()).is_pending());
    drop((permit, waiting));
    assert_quiet(&semaphore, 1);
}

/// Whoever leaves after it was woken hands that on, until somebody stays: exactly one gets in.
#[test]
fn a_promise_is_handed_on() {
    let semaphore = Semaphore::new(0);
    let (mut waiting, woken) = wait(&semaphore, &[1; 4]);
    semaphore.add_permits(1);
    waiting[0] = None;
    assert_eq!(counts(&woken), [1, 1, 0, 0]);
    waiting[1] = None;
    assert_eq!(counts(&woken), [1, 1, 1, 0]);
    assert!(woken[2].poll_pinned(waiting[2].take().unwrap().as_mut()).is_ready());
    // The permit came back at once.
    assert_eq!(counts(&woken), [1, 1, 1, 1]);
    waiting[3] = None;
    assert_quiet(&semaphore, 1);
}

#[test]
fn who_runs_overtakes_who_is_on_the_way_but_only_so_often() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let (mut waiting, woken) = wait(&semaphore, &[1, 1]);
    drop(held);
    let mut overtaken = 0;
    while let Some(permit) = semaphore.try_acquire() {
        assert!(woken[0].poll_pinned(waiting[0].as_mut().unwrap().as_mut()).is_pending());
        overtaken += 1;
        assert!(overtaken < 10, "it is overtaken for ever");
        drop(permit);
        assert_eq!(woken[0].count(), 1 + overtaken);
    }
    assert_eq!(overtaken, 3);
    assert_eq!(woken[1].count(), 0);
    // Who comes now waits behind.
    let (mut late, late_woken) = wait(&semaphore, &[1]);
    let permit = woken[0].poll_pinned(waiting[0].take().unwrap().as_mut());
    assert!(permit.is_ready());
    drop(permit);
    assert_eq!((woken[1].count(), late_woken[0].count()), (1, 0));
    // Fair no more: there is a permit on its way, and it may be overtaken.
    drop(semaphore.try_acquire().unwrap());
    let permit = woken[1].poll_pinned(waiting[1].take().unwrap().as_mut());
    assert!(permit.is_ready());
    drop(permit);
    assert!(late_woken[0].poll_pinned(late[0].take().unwrap().as_mut()).is_ready());
    assert_quiet(&semaphore, 1);
}

/// A starved one may leave, too: in the list, and on the way.
#[test]
fn who_is_starved_may_leave() {
    for woken_again in [false, true] {
        let semaphore = Semaphore::new(1);
        let mut held = Some(semaphore.try_acquire().unwrap());
        let (mut waiting, woken) = wait(&semaphore, &[1, 1]);
        for _ in 0..3 {
            held = None;
            held = Some(semaphore.try_acquire().unwrap_or_else(|| panic!("{held:?}")));
            assert!(woken[0].poll_pinned(waiting[0].as_mut().unwrap().as_mut()).is_pending());
        }
        if woken_again {
            held = None;
            assert!(semaphore.try_acquire().is_none());
        }
        waiting[0] = None;
        assert_eq!(woken[1].count(), usize::from(woken_again));
        drop(held);
        assert!(semaphore.try_acquire().is_some());
        waiting[1] = None;
        assert_quiet(&semaphore, 1);
    }
}

#[test]
fn who_wants_several_is_not_overtaken() {
    let semaphore = Semaphore::new(3);
    let held = [(); 3].map(|()| semaphore.try_acquire().unwrap());
    let (mut waiting, woken) = wait(&semaphore, &[3, 1]);
    for permit in held {
        assert!(semaphore.try_acquire().is_none());
        assert_eq!(counts(&woken), [0, 0]);
        drop(permit);
    }
    assert_eq!(counts(&woken), [1, 0]);
    assert!(semaphore.try_acquire().is_none());
    let permit = woken[0].poll_pinned(waiting[0].take().unwrap().as_mut());
    assert_eq!(semaphore.available_permits(), 0);
    drop(permit);
    assert_eq!(counts(&woken), [1, 1]);
    // Two are left, and nobody waits for them.
    assert!(semaphore.try_acquire_many(2).is_some());
    assert!(woken[1].poll_pinned(waiting[1].take().unwrap().as_mut()).is_ready());
    assert_quiet(&semaphore, 3);
}

/// Permits that were too few for the first one are enough for the others once it leaves.
#[test]
fn what_was_kept_for_the_first_goes_to_the_others() {
    let semaphore = Semaphore::new(0);
    let (mut waiting, woken) = wait(&semaphore, &[5, 1, 2, 1]);
    semaphore.add_permits(3);
    assert_eq!(counts(&woken), [0, 0, 0, 0]);
    waiting[0] = None;
    assert_eq!(counts(&woken), [0, 1, 1, 0]);
    drop(waiting);
    assert_quiet(&semaphore, 3);
}

#[test]
fn the_last_waker_is_woken() {
    let semaphore = Semaphore::new(0);
    let (first, second) = (Woken::new(), Woken::new());
    let mut acquire = pin!(semaphore.acquire());
    assert!(first.poll_pinned(acquire.as_mut()).is_pending());
    assert!(second.poll_pinned(acquire.as_mut()).is_pending());
    assert_eq!((first.wakers(), second.wakers()), (0, 1));
    semaphore.add_permits(1);
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(second.poll_pinned(acquire.as_mut()).is_ready());
    assert_eq!(second.wakers(), 0);
}

/// Wakers are foreign code: they are woken without the lock, which this one takes.
#[test]
fn wakers_may_use_the_semaphore() {
    struct Uses(Arc<Semaphore>, AtomicUsize);
    impl std::task::Wake for Uses {
        fn wake(self: Arc<Self>) {
            let mut acquire = pin!(self.0.acquire_many(1000));
            assert!(Woken::new().poll_pinned(acquire.as_mut()).is_pending());
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let semaphore = Arc::new(Semaphore::new(0));
    let uses = Arc::new(Uses(semaphore.clone(), AtomicUsize::new(0)));
    let waker = uses.clone().into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut waiting = [(); 3].map(|()| Some(Box::pin(semaphore.acquire())));
    for acquire in &mut waiting {
        assert!(acquire.as_mut().unwrap().as_mut().poll(&mut cx).is_pending());
    }
    semaphore.add_permits(2);
    assert_eq!(uses.1.load(Ordering::Relaxed), 2);
    waiting[0] = None;
    assert_eq!(uses.1.load(Ordering::Relaxed), 3);
    drop(waiting);
    assert_quiet(&semaphore, 2);
}

#[test]
fn there_is_a_most() {
    let panics = |f: &dyn Fn()| {
        let f = std::panic::AssertUnwindSafe(f);
        assert!(std::panic::catch_unwind(f).is_err());
    };
    panics(&|| _ = Semaphore::new(Semaphore::MAX_PERMITS + 1));
    let semaphore = Semaphore::new(Semaphore::MAX_PERMITS);
    panics(&|| semaphore.add_permits(1));
    panics(&|| semaphore.add_permits(usize::MAX));
    panics(&|| drop(semaphore.try_acquire_many(Semaphore::MAX_PERMITS + 1)));
    let all = semaphore.try_acquire_many(Semaphore::MAX_PERMITS).unwrap();
    let (waiting, woken) = wait(&semaphore, &[Semaphore::MAX_PERMITS]);
    drop(all);
    assert_eq!(counts(&woken), [1]);
    drop(waiting);
    assert_quiet(&semaphore, Semaphore::MAX_PERMITS);
}

#[test]
fn a_task_that_is_cancelled_leaves() {
    run(1, async {
        let semaphore = Arc::new(Semaphore::new(0));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let semaphore = semaphore.clone();
                create_task(async move { semaphore.acquire_owned().await })
            })
            .collect();
        yield_now().await;
        let [first, second] = <[_; 2]>::try_from(tasks).unwrap();
        // In the same round: woken and cancelled. What it has got by then it keeps; else it is handed on.
        semaphore.add_permits(1);
        first.cancel();
        drop(first.await);
        drop(second.await.unwrap());
        assert_quiet(&semaphore, 1);
    });
}

#[test]
fn a_permit_wins_over_a_request() {
    run(1, async {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiting = semaphore.clone();
        let task = create_task(async move { cancellable(waiting.acquire_owned()).await.is_ok() });
        yield_now().await;
        semaphore.add_permits(1);
        task.cancel();
        assert!(task.await.unwrap());
        assert_quiet(&semaphore, 1);
    });
}

/// Never more at the same time than permits, on two loops and in foreign threads, with some who give up.
#[test]
fn two_loops_and_threads() {
    const PERMITS: usize = 3;
    const TASKS: usize = 40;
    const ROUNDS: usize = 200;
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let inside = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let one = {
        let (semaphore, inside, done) = (semaphore.clone(), inside.clone(), done.clone());
        move |number: usize| {
            let (semaphore, inside, done) = (semaphore.clone(), inside.clone(), done.clone());
            async move {
                for round in 0..ROUNDS {
                    let wanted = 1 + (number + round) % PERMITS;
                    if (number * round).is_multiple_of(5) {
                        // Gives up at once, or has it for nothing.
                        let mut acquire = Box::pin(semaphore.acquire_many(wanted));
                        drop(super::support::poll_once(&mut acquire).await);
                        yield_now().await;
                        drop(acquire);
                    }
                    let permit = semaphore.acquire_many(wanted).await;
                    let before = inside.fetch_add(wanted, Ordering::AcqRel);
                    assert!(before + wanted <= PERMITS);
                    if round.is_multiple_of(3) {
                        yield_now().await;
                    }
                    inside.fetch_sub(wanted, Ordering::AcqRel);
                    drop(permit);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    let foreign = std::thread::spawn({
        let future = one(TASKS);
        move || futures::executor::block_on(future)
    });
    run(2, async {
        let tasks: Vec<_> = (0..TASKS).map(|number| create_task(one(number))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    foreign.join().unwrap();
    assert_eq!(done.load(Ordering::Relaxed), (TASKS + 1) * ROUNDS);
    assert_quiet(&semaphore, PERMITS);
}

#[test]
fn the_budget_is_looked_at_first() {
    let semaphore = Arc::new(Semaphore::new(1));
    budget_is_kept(move || {
        let semaphore = semaphore.clone();
        async move { drop(semaphore.acquire().await) }
    });
}

#[test]
fn who_wanted_nothing_waited_for_it() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let (mut first, _woken) = wait(&semaphore, &[1]);
    drop(held);
    // What was promised to the first one is taken by another, and two is more than there is.
    let other = semaphore.try_acquire().unwrap();
    let (mut many, _woken) = wait(&semaphore, &[2]);
    let woken = Woken::new();
    let mut none = Box::pin(semaphore.acquire_many(0));
    assert!(woken.poll(&mut none).is_ready());
    many.clear();
    drop(other);
    first.clear();
    assert_quiet(&semaphore, 1);
}
