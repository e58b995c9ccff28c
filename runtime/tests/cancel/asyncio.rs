//! What asyncio's own tests ask for, restated: `test_tasks.py`, `test_waitfor.py`, `test_timeouts.py`,
//! `test_taskgroups.py`. Each says where we do the same and where not.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use futures::future::join;
use loopool::{
    EventLoop, cancellable, cancelling, create_local_task, shield, timeout, timeout_at, uncancel,
    yield_now,
};

use crate::rules::Own;
use crate::support::{Count, Deadline, Hands, LONG, Log, Wait, assert_cancelled, lock, outcome};

/// TASK-11: the awaited future and its awaiter are cancelled in the same turn. The same: the awaiter ends
/// cancelled, once, without an error.
#[test]
fn cancel_both_task_and_inner_future() {
    let hands = Hands::new();
    let child = Rc::new(RefCell::new(hands.start(pending::<()>())));
    let task = hands.start({
        let child = child.clone();
        async move {
            let result =
                poll_fn(move |cx| Pin::new(&mut *child.borrow_mut()).poll(cx)).await.unwrap_err();
            assert!(result.is_cancelled());
            pending::<()>().await;
        }
    });
    assert!(child.borrow().cancel().is_some());
    assert!(task.cancel().is_some());
    hands.rest();
    assert_cancelled(task);
}

/// TASK-12: caught, and something else awaited. The same: it goes on and is not cancelled.
#[test]
fn cancel_task_ignoring() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            cancellable(pending::<()>()).await.unwrap_err();
            wait.here().await;
            42
        }
    });
    assert!(hands.cancel(&task).is_some());
    assert!(!task.is_finished());
    hands.go(&wait);
    assert_eq!(outcome(task).unwrap(), 42);
}

/// TASK-13: cancels itself and returns without awaiting. Different on purpose: the value wins, where
/// asyncio drops it and ends cancelled.
#[test]
fn cancel_at_end() {
    let hands = Hands::new();
    let own = Own::<i32>::default();
    let task = hands.spawn({
        let own = own.clone();
        async move {
            assert!(lock(&own).as_ref().unwrap().cancel().is_some());
            12
        }
    });
    *lock(&own) = Some(task);
    hands.rest();
    assert_eq!(outcome(lock(&own).take().unwrap()).unwrap(), 12);
}

/// TASK-15: cancelled before its first step. The same: the body never runs.
#[test]
fn cancel_before_starting_task() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.spawn({
        let log = log.clone();
        async move { log.note("ran") }
    });
    task.cancel();
    hands.rest();
    assert!(log.all().is_empty());
    assert_cancelled(task);
}

/// TASK-17: a timeout made by hand of `cancel` and `uncancel`. The same: after the conversion the code
/// outside goes on uncancelled and the count is zero.
#[test]
fn uncancel_structured_blocks() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let timed_out = cancellable(pending::<()>()).await.is_err() && uncancel() == 0;
            wait.here().await;
            (timed_out, cancelling())
        }
    });
    hands.cancel(&task);
    assert!(!task.is_finished());
    hands.go(&wait);
    assert_eq!(outcome(task).unwrap(), (true, 0));
}

/// TASK-18: a task awaits itself. The same: an error instead of a hang.
#[test]
fn task_awaits_on_itself() {
    let hands = Hands::new();
    let own = Own::<bool>::default();
    let task = hands.spawn({
        let own = own.clone();
        async move {
            let mut me = lock(&own).take().unwrap();
            let refused = (&mut me).await.is_err();
            *lock(&own) = Some(me);
            refused
        }
    });
    *lock(&own) = Some(task);
    hands.rest();
    assert!(outcome(lock(&own).take().unwrap()).unwrap());
}

/// COMB-12: cancelling who waits leaves those alone that are waited for, if they are shielded.
#[test]
fn wait_does_not_cancel_children() {
    let hands = Hands::new();
    let (first, second) = (Wait::new(), Wait::new());
    let child = |wait: &Wait| {
        let wait = wait.clone();
        hands.start(async move { wait.here().await })
    };
    let (mut one, mut two) = (child(&first), child(&second));
    let task = hands.start(async move {
        let waiting = cancellable(join(shield(&mut one), shield(&mut two)));
        assert!(waiting.await.is_err());
        (one, two)
    });
    hands.cancel(&task);
    let (one, two) = outcome(task).unwrap();
    assert_eq!((first.drops(), second.drops()), (0, 0));
    first.go();
    hands.go(&second);
    outcome(one).unwrap();
    outcome(two).unwrap();
}

/// COMB-15: the awaiter of a shield is cancelled. The same: the task goes on and completes.
#[test]
fn shield_cancel_outer() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let mut inner = hands.start(async move {
        inside.here().await;
        "inner"
    });
    let task = hands.start(async move { (cancellable(shield(&mut inner)).await.is_err(), inner) });
    hands.cancel(&task);
    let (cancelled, inner) = outcome(task).unwrap();
    assert!(cancelled && !inner.is_finished());
    hands.go(&wait);
    assert_eq!(outcome(inner).unwrap(), "inner");
}

/// A waker that is counted by who has it.
struct Bell;

impl Wake for Bell {
    fn wake(self: Arc<Self>) {}
}

/// Waits with a waker of its own.
async fn wait_with<F: Future>(bell: Arc<Bell>, future: F) -> F::Output {
    let waker = Waker::from(bell);
    let mut future = pin!(future);
    poll_fn(|_| future.as_mut().poll(&mut Context::from_waker(&waker))).await
}

/// COMB-15: nothing of the awaiter is left at the task. The same if the shield had the handle. Different where the handle
/// was lent: it remembers whom to wake until the task is done, or until somebody else waits or lets go of it.
#[test]
fn shield_cancel_outer_leaves_no_waker() {
    let hands = Hands::new();
    let start = |wait: &Wait| {
        let wait = wait.clone();
        hands.start(async move { wait.here().await })
    };
    let (wait, bell) = (Wait::new(), Arc::new(Bell));
    let (inner, its) = (start(&wait), bell.clone());
    let task =
        hands.start(async move { cancellable(wait_with(its, shield(inner))).await.is_err() });
    assert!(Arc::strong_count(&bell) > 1, "it waits");
    hands.cancel(&task);
    assert!(outcome(task).unwrap());
    assert_eq!((Arc::strong_count(&bell), wait.drops()), (1, 0));
    hands.go(&wait);
    assert_eq!((wait.polls(), wait.drops()), (2, 0), "it goes on to its end");

    for done in [false, true] {
        let (wait, bell) = (Wait::new(), Arc::new(Bell));
        let (mut inner, its) = (start(&wait), bell.clone());
        let task = hands.start(async move {
            (cancellable(wait_with(its, shield(&mut inner))).await.is_err(), inner)
        });
        hands.cancel(&task);
        let (cancelled, inner) = outcome(task).unwrap();
        assert!(cancelled && !inner.is_finished());
        if done {
            hands.go(&wait);
            outcome(inner).unwrap();
        } else {
            drop(inner);
        }
        assert_eq!((Arc::strong_count(&bell), wait.drops()), (1, 0));
    }
}

/// COMB-16: the shielded task is cancelled. The same: its awaiter is told.
#[test]
fn shield_cancel_inner() {
    let hands = Hands::new();
    let inner = hands.start(pending::<()>());
    inner.cancel();
    let task = hands.start(async move {
        let error = shield(inner).await.unwrap_err();
        (error.is_cancelled(), error.passed_on())
    });
    assert_eq!(outcome(task).unwrap(), (true, None));
}

/// COMB-16, while the awaiter waits: it is woken, once, and told.
#[test]
fn shield_cancel_inner_wakes_who_waits() {
    let hands = Hands::new();
    let inner = Rc::new(RefCell::new(hands.start(pending::<()>())));
    let polls = Count::default();
    let task = hands.start({
        let inner = inner.clone();
        // The handle is lent to the shield for the time of a poll, so that it can be reached in between.
        let wait = poll_fn(move |cx| Pin::new(&mut shield(&mut *inner.borrow_mut())).poll(cx));
        let polls = polls.clone();
        async move {
            let error = polls.polls_of(wait).await.unwrap_err();
            (error.is_cancelled(), error.passed_on(), polls.get())
        }
    });
    assert_eq!((polls.get(), task.is_finished()), (1, false));
    assert!(inner.borrow().cancel().is_some());
    hands.rest();
    assert_eq!(outcome(task).unwrap(), (true, None, 2));
    assert_eq!(polls.get(), 2);
}

/// COMB-21: what is inside swallows the timeout's request and returns. The same: its value is returned.
#[test]
fn wait_for_cancellation_race_condition() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let task = hands.start(timeout_at(time, async {
            let child = create_local_task(async {
                cancellable(pending::<()>()).await.unwrap_err();
                "done"
            });
            child.await.unwrap()
        }));
        deadline.come(hands);
        assert_eq!(outcome(task).unwrap(), Ok("done"));
    });
}

/// COMB-22: what is inside takes its time to clean up. The same: the error comes after that.
#[test]
fn wait_for_waits_for_task_cancellation() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = hands.start(timeout_at(time, async move {
            let child = create_local_task(async move {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                inside.here().await;
                match cancelled.reraise().await {}
            });
            let child: Result<(), _> = child.await;
            match child.unwrap_err().passed_on().unwrap().reraise().await {}
        }));
        deadline.come(hands);
        assert!(!task.is_finished());
        hands.go(&clean_up);
        let outcome: Result<(), _> = outcome(task).unwrap();
        assert!(outcome.is_err());
    });
}

/// COMB-26: a timeout over a shield. The same: the task goes on and can be awaited later.
#[test]
fn shielded_timeout() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let mut inner = hands.start(async move {
        inside.here().await;
        1
    });
    let task = hands.start(async move {
        assert!(timeout_at(Instant::now(), shield(&mut inner)).await.is_err());
        inner.await.unwrap()
    });
    assert!(!task.is_finished());
    hands.go(&wait);
    assert_eq!(outcome(task).unwrap(), 1);
}

/// COMB-27: a thread gives up waiting for a coroutine and cancels it. The same: the task is cancelled, and nothing
/// of it is left while the loop goes on.
#[test]
fn run_coroutine_threadsafe_with_timeout() {
    struct OnDrop(std::sync::mpsc::Sender<()>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    /// Only a hang lasts so long.
    const PATIENCE: Duration = Duration::from_secs(30);
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.threadsafe_handle();
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    let (begin, begun) = std::sync::mpsc::channel();
    let log = Log::new();
    let inside = log.clone();
    let thread = std::thread::spawn(move || {
        let guard = OnDrop(dropped);
        let mut job = handle.run_coroutine_threadsafe(async move {
            let _guard = guard;
            begin.send(()).unwrap();
            let cancelled = cancellable(pending::<()>()).await.unwrap_err();
            inside.note("cancelled");
            match cancelled.reraise().await {}
        });
        begun.recv_timeout(PATIENCE).unwrap();
        assert!(job.result(Some(Duration::ZERO)).is_err());
        let cancelled = job.cancel();
        (cancelled, job.result(Some(PATIENCE)).map(|(): ()| ()))
    });
    event_loop
        .run_until_complete(async {
            let begin = Instant::now();
            while is_dropped.try_recv().is_err() {
                assert!(begin.elapsed() < PATIENCE, "the task goes on");
                yield_now().await;
            }
            assert_eq!(log.all(), ["cancelled"]);
            assert_eq!(loopool::metrics().tasks, 1, "only this one is left");
        })
        .unwrap();
    let (cancelled, outcome) = thread.join().unwrap();
    assert!(cancelled && outcome.unwrap_err().is_cancelled());
}

/// TG-11: an error from inside and a request from outside coincide. The same: the error can be handled,
/// and the next await is cancelled.
#[test]
fn error_and_cancel_coincide() {
    let hands = Hands::new();
    let (wait, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (wait, after) = (wait.clone(), after.clone());
        async move {
            let result = cancellable(async {
                wait.here().await;
                Err::<(), _>("failed")
            });
            assert_eq!(result.await, Ok(Err("failed")));
            after.here().await;
        }
    });
    wait.go();
    hands.cancel(&task);
    assert_eq!((after.polls(), after.drops()), (1, 1));
    assert_cancelled(task);
}

/// TG-13: only what is inside fails. The same: the next await is not cancelled.
#[test]
fn cancellation_does_not_leak_out() {
    let hands = Hands::new();
    let after = Wait::new();
    let task = hands.start({
        let after = after.clone();
        async move {
            assert!(timeout_at(Instant::now(), pending::<()>()).await.is_err());
            after.here().await;
            cancelling()
        }
    });
    assert!(!task.is_finished());
    hands.go(&after);
    assert_eq!(outcome(task).unwrap(), 0);
}

/// TG-14: two timeouts that end at once. Here each says so, the inner one first; in asyncio only the
/// outer one does.
#[test]
fn nested_timeouts_with_the_same_deadline() {
    Deadline::test(|hands, deadline| {
        let (time, log) = (deadline.time(), Log::new());
        let inside = log.clone();
        let task = hands.start(timeout_at(time, async move {
            assert!(timeout_at(time, pending::<()>()).await.is_err());
            inside.note("inner");
            pending::<()>().await;
        }));
        deadline.come(hands);
        assert_eq!(log.all(), ["inner"]);
        assert!(outcome(task).unwrap().is_err());
    });
}

/// TG-15: the thread is busy beyond both deadlines. The same: first the inner one, then the outer one
/// interrupts what is awaited next.
#[test]
fn nested_timeouts_loop_busy() {
    Deadline::test(|hands, deadline| {
        let (time, wait, after) = (deadline.time(), Wait::new(), Wait::new());
        let (inside, inside_after) = (wait.clone(), after.clone());
        let task = hands.start(timeout_at(time + Duration::from_nanos(10), async move {
            assert!(timeout_at(time, inside.here()).await.is_err());
            inside_after.here().await;
        }));
        deadline.wait();
        hands.rest();
        assert_eq!((wait.polls(), wait.drops()), (2, 1));
        assert_eq!((after.polls(), after.drops()), (1, 1));
        assert!(outcome(task).unwrap().is_err());
    });
}

/// TG-16: cancelled from elsewhere inside a timeout. The same: it stays a cancellation.
#[test]
fn foreign_cancel_does_not_time_out() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            let result = timeout(LONG, async {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                match cancelled.reraise().await {}
            });
            let result: Result<(), _> = result.await;
            log.note(format!("{result:?}"));
        }
    });
    hands.cancel(&task);
    assert!(log.all().is_empty());
    assert_cancelled(task);
}

/// TG-18: a timeout in the clean-up after a cancellation. The same: it times out as ever.
#[test]
fn timeout_after_cancellation() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let task = hands.start(async move {
            cancellable(pending::<()>()).await.unwrap_err();
            (timeout_at(time, pending::<()>()).await.is_err(), cancelling())
        });
        hands.cancel(&task);
        assert!(!task.is_finished());
        deadline.come(hands);
        assert_eq!(outcome(task).unwrap(), (true, 1));
    });
}

/// TG-19: the time is up at once and the body yields once. The same: it times out.
#[test]
fn timeout_zero_sleep_zero() {
    let hands = Hands::new();
    let task = hands.start(timeout(Duration::ZERO, yield_now()));
    assert!(outcome(task).unwrap().is_err());
}

/// `test_wait_for_timeout_less_then_0_or_0_future_done`: the same.
#[test]
fn no_time_is_enough_for_what_is_ready() {
    let hands = Hands::new();
    let task = hands.start(timeout(Duration::ZERO, ready("ready")));
    assert_eq!(outcome(task).unwrap(), Ok("ready"));
}

/// `test_uncancel_basic`: the same; and it does not go below zero.
#[test]
fn uncancel_basic() {
    let hands = Hands::new();
    let task = hands.start(async {
        cancellable(pending::<()>()).await.unwrap_err();
        pending::<()>().await;
    });
    hands.cancel(&task);
    hands.cancel(&task);
    assert_cancelled(task);
    let task = hands.start(pending::<()>());
    task.cancel();
    task.cancel();
    assert_eq!(
        (task.cancelling(), task.uncancel(), task.uncancel(), task.uncancel()),
        (2, 1, 0, 0)
    );
}

/// `test_uncancel_resets_must_cancel`: the same: a request taken back before delivery is none.
#[test]
fn uncancel_before_delivery() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let task = hands.start(async move {
        inside.here().await;
        7
    });
    wait.go();
    task.cancel();
    assert_eq!(task.uncancel(), 0);
    hands.rest();
    assert_eq!(outcome(task).unwrap(), 7);
}

/// `test_cancel_wait_for`: the same: cancelling who waits in a timeout cancels the awaited task.
#[test]
fn cancel_wait_for() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let task = hands.start(timeout(LONG, async move {
        let child = create_local_task(async move { inside.here().await });
        let cancelled = child.await.unwrap_err().passed_on().unwrap();
        match cancelled.reraise().await {}
    }));
    hands.cancel(&task);
    assert_eq!(wait.drops(), 1);
    let error = outcome(task).map(|_: Result<(), _>| ()).unwrap_err();
    assert!(error.is_cancelled());
}

/// `test_wait_for_self_cancellation`: different on purpose: the value of what finishes in the same poll
/// is not lost.
#[test]
fn wait_for_self_cancellation() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let task = hands.start(timeout(LONG, async move {
        inside.here().await;
        "value"
    }));
    wait.go();
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), Ok("value"));
}

/// `test_outer_task_is_not_cancelled`: the same.
#[test]
fn after_a_timeout_the_task_counts_no_request() {
    let hands = Hands::new();
    let task = hands.start(async {
        assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        cancelling()
    });
    assert_eq!((task.cancelling(), outcome(task).unwrap()), (0, 0));
}

/// `test_foreign_exception_passed`: the same: an error from inside is a value.
#[test]
fn an_error_from_inside_passes_through_a_timeout() {
    let hands = Hands::new();
    let task = hands.start(timeout(LONG, ready(Err::<(), _>("own"))));
    assert_eq!(outcome(task).unwrap(), Ok(Err("own")));
}

/// `test_cancel_task_catching`, twice: the same: each request can be caught.
#[test]
fn a_second_request_interrupts_the_clean_up_of_the_first() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            for which in ["first", "second"] {
                cancellable(pending::<()>()).await.unwrap_err();
                log.note(which);
            }
        }
    });
    hands.cancel(&task);
    hands.cancel(&task);
    assert_eq!(log.all(), ["first", "second"]);
    outcome(task).unwrap();
}

/// `test_cancel_awaited_task`'s mirror: a cancelled child is an error to its awaiter, who goes on.
#[test]
fn a_cancelled_child_does_not_cancel_its_awaiter() {
    let hands = Hands::new();
    let child = hands.start(pending::<()>());
    child.cancel();
    let wait = Wait::new();
    let inside = wait.clone();
    let task = hands.start(async move {
        let cancelled = child.await.unwrap_err().is_cancelled();
        inside.here().await;
        cancelled
    });
    hands.go(&wait);
    assert!(outcome(task).unwrap());
}

/// `test_cancel_done`: the same: nothing to cancel.
#[test]
fn a_task_that_is_done_is_not_cancelled() {
    let hands = Hands::new();
    let task = hands.start(async { 1 });
    assert_eq!((task.cancel(), task.cancelling()), (None, 0));
    assert_eq!(outcome(task).unwrap(), 1);
}

/// `test_shield_result`: the same.
#[test]
fn shield_gives_the_result() {
    let hands = Hands::new();
    let child = hands.start(async { 42 });
    let task = hands.start(async move { shield(child).await.unwrap() });
    assert_eq!(outcome(task).unwrap(), 42);
}
