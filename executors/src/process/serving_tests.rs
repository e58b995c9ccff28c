//! What a loop and the pool's thread leave to each other. The loop is the test's thread, which turns only when it says so.

use std::time::Instant;

use super::*;
use crate::jobs::{ReturnWhen, as_completed, wait};
use crate::process::ProcessPoolExecutor;
use crate::{Executor, call};

/// Only a hang lasts so long.
const HANG: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pool() -> (ProcessPoolExecutor, Arc<Shared>) {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let shared = pool.shared().clone();
    (pool, shared)
}

fn place(shared: &Shared) -> Place {
    shared.helm.lock().place
}

/// Whether the pool's thread is asleep, and nothing that it has to do is left.
fn rests(shared: &Shared) -> bool {
    let rests = shared.turn().as_mut().is_some_and(|manager| manager.thread_rests());
    rests && place(shared) != Place::Parked
}

/// Takes what there is off the manager's epoll, as a loop does, and does nothing about it.
fn steal(shared: &Shared) {
    let mut events = [EpollEvent::empty(); 64];
    while shared.epoll.wait(&mut events, EpollTimeout::ZERO) != Ok(0) {}
}

#[test]
fn the_pools_thread_is_parked_before_a_loop_turns() {
    let (_pool, shared) = pool();
    for _ in 0..200 {
        let serving = shared.clone().serve().unwrap();
        assert!(place(&shared) != Place::InEpoll);
        steal(&shared);
        wait_until("the pool's thread is parked", || place(&shared) == Place::Parked);
        assert!(shared.clone().serve().is_none());
        drop(serving);
        wait_until("it is asleep again", || place(&shared) == Place::InEpoll);
    }
}

#[test]
fn who_waited_for_several_jobs_in_the_loops_own_thread_was_left_alone() {
    let (pool, shared) = pool();
    let jobs = || (0..4).map(|n: u32| pool.submit(call(|n: u32| n, n)).unwrap());
    let wait_for_all = || wait(jobs(), HANG, ReturnWhen::AllCompleted).done.len();
    let each_in_turn = || as_completed(jobs()).timeout(HANG).map(Result::unwrap).count();
    for wait in [&wait_for_all as &dyn Fn() -> usize, &each_in_turn] {
        let _serving = shared.clone().serve().unwrap();
        wait_until("the pool's thread is parked", || place(&shared) == Place::Parked);
        assert_eq!(wait(), 4);
    }
    assert_eq!(shared.helm.lock().sleepers, 0);
}

/// Served, and the pool's thread turns as well, since somebody sleeps.
fn served_while_somebody_sleeps(shared: &Arc<Shared>) -> Serving {
    let serving = shared.clone().serve().unwrap();
    shared.helm.note_sleep(true);
    wait_until("the pool's thread turns, too", || rests(shared));
    serving
}

#[test]
fn the_pools_thread_is_called_while_somebody_sleeps_and_a_loop_takes_every_event() {
    let (_pool, shared) = pool();
    let _serving = served_while_somebody_sleeps(&shared);
    for _ in 0..200 {
        shared.helm.want();
        steal(&shared);
        wait_until("the pool's thread has come", || !shared.helm.lock().is_wanted);
    }
    shared.helm.note_sleep(false);
}

#[test]
fn the_pools_thread_goes_on_where_a_loop_ends_that_has_heard_something() {
    let (_pool, shared) = pool();
    let serving = served_while_somebody_sleeps(&shared);
    // As if it had turned, and had had no time to look whether it may sleep.
    shared.turn().as_mut().unwrap().take_events(&[EpollEvent::new(EpollFlags::EPOLLIN, u64::MAX)]);
    assert!(!rests(&shared));
    drop(serving);
    wait_until("the pool's thread has turned", || rests(&shared));
    shared.helm.note_sleep(false);
}

#[test]
fn the_pools_thread_does_not_park_when_it_has_heard_something() {
    let helm = Helm::new(&Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap()).unwrap();
    helm.change(|state| state.is_served = true);
    assert!(helm.park(true), "somebody else turns, but it comes back at once");
}

#[test]
fn a_loop_lets_go_of_a_pool_that_has_ended() {
    let (pool, shared) = pool();
    let serving = shared.clone().serve().unwrap();
    // While this waits the pool's thread turns, and ends.
    pool.shutdown(true, false);
    assert!(shared.has_events(), "the loop is told");
    assert_eq!(serving.turn(), Turn::Over);
}

#[test]
fn the_pools_thread_is_not_parked_while_loops_of_several_runtimes_give_jobs_to_the_pool() {
    let (_pool, shared) = pool();
    let serve = |runtime| engine::in_the_name_of(runtime, || shared.clone().serve());
    let serving = serve(64).unwrap();
    assert!(serve(64).is_none());
    wait_until("the pool's thread is parked", || place(&shared) == Place::Parked);
    assert!(serve(128).is_none() && serve(64).is_none());
    wait_until("it turns, too", || rests(&shared));
    drop(serving);
    let serving = serve(128).unwrap();
    wait_until("it is parked again", || place(&shared) == Place::Parked);
    drop(serving);
}
