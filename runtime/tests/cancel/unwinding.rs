//! R15 and R16: panics, other executors, and what is hidden from a task.

use std::future::{pending, poll_fn};
use std::panic::AssertUnwindSafe;
use std::task::Poll;

use futures::FutureExt;
use loopool::{Cancelled, cancellable, cancelling, isolate, protect, timeout};

use crate::raises::taken;
use crate::support::{Hands, LONG, Wait, outcome};

struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("on purpose, in a destructor");
        }
    }
}

async fn panics_when_dropped() {
    let _guard = PanicOnDrop;
    pending::<()>().await;
}

#[test]
fn r16_a_panic_in_the_destructor_of_what_is_taken_from_is_the_tasks_outcome() {
    let hands = Hands::new();
    let task = hands.start(async { cancellable(panics_when_dropped()).await.is_err() });
    hands.cancel(&task);
    let error = outcome(task).unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
}

#[test]
fn r16_the_scope_is_in_its_final_state_when_that_panic_is_caught() {
    let hands = Hands::new();
    let task = hands.start(async {
        let mut scope = Box::pin(cancellable(panics_when_dropped()));
        let caught = AssertUnwindSafe(scope.as_mut()).catch_unwind().await.is_err();
        // Nothing is left in it to be dropped.
        drop(scope);
        (caught, cancelling())
    });
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), (true, 1));
}

#[test]
fn r16_without_a_scope_the_destructor_of_the_future_says_panicked() {
    let hands = Hands::new();
    let task = hands.start(panics_when_dropped());
    hands.cancel(&task);
    assert!(outcome(task).unwrap_err().is_panic());
}

#[test]
fn r16_a_panic_in_a_clean_up_is_the_tasks_outcome() {
    let hands = Hands::new();
    let task = hands.start(async {
        cancellable(pending::<()>()).await.unwrap_err();
        panic!("on purpose, in a clean-up");
    });
    hands.cancel(&task);
    assert!(outcome(task).unwrap_err().is_panic());
}

/// Panics when it is polled a second time, below whatever is around it.
async fn panics_in_a_pass() {
    let mut polls = 0;
    poll_fn(|_| {
        polls += 1;
        assert!(polls < 2, "on purpose, in a pass");
        Poll::<()>::Pending
    })
    .await
}

#[test]
fn r15_a_panic_that_is_caught_leaves_the_flags_as_they_were() {
    let hands = Hands::new();
    let (first, second) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (first, second) = (first.clone(), second.clone());
        async move {
            // Protected, in a scope and in a timeout: all of them change the record.
            let inside = cancellable(timeout(LONG, protect(panics_in_a_pass())));
            assert!(AssertUnwindSafe(inside).catch_unwind().await.is_err());
            // The pass is not over, and nobody has answered.
            let one = cancellable(first.here()).await.is_err();
            let two = cancellable(second.here()).await.is_err();
            (one, two, cancelling())
        }
    });
    hands.cancel(&task);
    assert_eq!((first.drops(), second.polls(), second.drops()), (1, 1, 0));
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), (true, true, 2));
}

#[test]
fn r15_a_panic_in_a_protected_future_leaves_what_comes_after_open() {
    let hands = Hands::new();
    let task = hands.start(async {
        assert!(AssertUnwindSafe(protect(panics_in_a_pass())).catch_unwind().await.is_err());
        cancellable(pending::<()>()).await.is_err()
    });
    hands.cancel(&task);
    assert!(outcome(task).unwrap());
}

#[test]
fn r15_in_another_executor_scopes_are_transparent() {
    let value = futures::executor::block_on(async {
        assert_eq!(cancelling(), 0);
        cancellable(protect(cancellable(async { 4 }))).await
    });
    assert_eq!(value, Ok(Ok(4)));
}

#[test]
fn r15_in_another_executor_a_scope_takes_what_is_raised_in_it() {
    let old = taken();
    let value: Result<(), Cancelled> =
        futures::executor::block_on(cancellable(async move { match old.reraise().await {} }));
    assert_eq!(value, Err(old));
}

#[test]
fn r15_what_is_isolated_sees_no_request() {
    let hands = Hands::new();
    let (hidden, wait) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (hidden, wait) = (hidden.clone(), wait.clone());
        async move {
            let hidden = isolate(async {
                let inside = cancellable(hidden.here()).await.is_ok();
                (inside, cancelling())
            });
            let (inside, outside) = futures::join!(hidden, cancellable(wait.here()));
            (inside, outside.is_err())
        }
    });
    hands.cancel(&task);
    assert_eq!((hidden.polls(), hidden.drops(), wait.drops()), (2, 0, 1));
    hands.go(&hidden);
    assert_eq!(outcome(task).unwrap(), ((true, 0), true));
}

#[test]
fn r15_a_shared_scope_that_is_isolated_belongs_to_no_task() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.clone();
    let shared = isolate(async move { cancellable(inside.here()).await.is_ok() }).shared();
    let first = hands.start(shared.clone());
    let second = hands.start(shared);
    hands.cancel(&first);
    assert!(outcome(first).unwrap_err().is_cancelled());
    hands.go(&wait);
    assert!(outcome(second).unwrap());
    assert_eq!(wait.drops(), 0);
}
