//! R12: timeouts, alone, nested, and beside other requests.

use std::future::{pending, ready};
use std::time::Instant;

use loopool::{cancellable, cancelling, protect, timeout, timeout_at};

use crate::support::{Deadline, Hands, LONG, Log, Wait, assert_cancelled, outcome};

#[test]
fn r12_the_inner_future_is_polled_once_when_the_time_is_up() {
    Deadline::test(|hands, deadline| {
        let (wait, time) = (Wait::new(), deadline.time());
        let inside = wait.here();
        let task = hands.start(async move { timeout_at(time, inside).await.is_err() });
        assert_eq!((wait.polls(), wait.drops()), (1, 0));
        deadline.come(hands);
        assert_eq!((wait.polls(), wait.drops()), (2, 1));
        assert!(outcome(task).unwrap());
    });
}

#[test]
fn r12_a_time_that_is_past_is_seen_before_the_first_poll() {
    let hands = Hands::new();
    let wait = Wait::new();
    let inside = wait.here();
    let task = hands.start(async move { timeout_at(Instant::now(), inside).await.is_err() });
    assert_eq!((wait.polls(), wait.drops()), (1, 1));
    assert!(outcome(task).unwrap());
}

#[test]
fn r12_a_value_wins_however_late() {
    Deadline::test(|hands, deadline| {
        let (wait, time) = (Wait::new(), deadline.time());
        let inside = wait.clone();
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                inside.here().await;
                7
            });
            value.await
        });
        let go = wait.clone();
        deadline.come_with(hands, move || go.go());
        assert_eq!((wait.polls(), wait.drops()), (2, 0));
        assert_eq!(outcome(task).unwrap(), Ok(7));
    });
}

#[test]
fn r12_what_answers_may_take_its_time_and_give_a_value() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                cancellable(pending::<()>()).await.unwrap_err();
                inside.here().await;
                inside.here().await;
                cancelling()
            });
            (value.await, cancelling())
        });
        deadline.come(hands);
        assert!(!task.is_finished());
        // Injected once: the clean-up is not interrupted.
        hands.go(&clean_up);
        assert_eq!((clean_up.polls(), clean_up.drops()), (3, 0));
        hands.go(&clean_up);
        assert_eq!(outcome(task).unwrap(), (Ok(1), 0));
    });
}

#[test]
fn r12_its_own_request_raised_is_its_error_after_the_clean_up() {
    Deadline::test(|hands, deadline| {
        let (clean_up, log, time) = (Wait::new(), Log::new(), deadline.time());
        let (inside, inside_log) = (clean_up.clone(), log.clone());
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                inside.here().await;
                inside_log.note("clean");
                match cancelled.reraise().await {}
            });
            let value: Result<(), _> = value.await;
            value.is_err()
        });
        deadline.come(hands);
        assert!(!task.is_finished() && log.all().is_empty());
        hands.go(&clean_up);
        assert_eq!(log.all(), ["clean"]);
        assert!(outcome(task).unwrap());
    });
}

#[test]
fn r12_a_protected_future_is_waited_for() {
    Deadline::test(|hands, deadline| {
        let (clean_up, after, time) = (Wait::new(), Wait::new(), deadline.time());
        let (inside, inside_after) = (clean_up.clone(), after.clone());
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                protect(inside.here()).await;
                inside_after.here().await;
            });
            value.await.is_err()
        });
        deadline.come(hands);
        assert_eq!((clean_up.polls(), clean_up.drops()), (2, 0));
        hands.go(&clean_up);
        assert_eq!((clean_up.polls(), after.polls(), after.drops()), (3, 1, 1));
        assert!(outcome(task).unwrap());
    });
}

#[test]
fn r12_a_request_from_outside_and_the_end_of_the_time_are_one_interruption() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = std::rc::Rc::new(hands.start(async move {
            let value = timeout_at(time, async move {
                let request = cancellable(pending::<()>()).await.unwrap_err().request();
                // Two: with one, an interruption that comes a poll late could not be told.
                inside.here().await;
                inside.here().await;
                request
            });
            value.await
        }));
        let (asking, asked) = (task.clone(), std::rc::Rc::new(std::cell::Cell::new(None)));
        let ask = asked.clone();
        deadline.come_with(hands, move || ask.set(asking.cancel()));
        hands.go(&clean_up);
        hands.go(&clean_up);
        assert_eq!((clean_up.polls(), clean_up.drops()), (4, 0));
        let task = std::rc::Rc::into_inner(task).unwrap();
        // The one from outside went first.
        assert_eq!(outcome(task).unwrap().ok(), asked.get());
    });
}

#[test]
fn r12_a_timeout_that_fires_in_a_clean_up_may_cut_it_short() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                cancellable(pending::<()>()).await.unwrap_err();
                inside.here().await;
            });
            value.await.is_err()
        });
        hands.cancel(&task);
        assert_eq!((clean_up.polls(), clean_up.drops()), (1, 0));
        deadline.come(hands);
        assert_eq!((clean_up.polls(), clean_up.drops()), (2, 1));
        assert!(outcome(task).unwrap());
    });
}

#[test]
fn r12_without_an_answer_the_request_from_outside_goes_to_the_next_suspension() {
    Deadline::test(|hands, deadline| {
        let (after, time) = (Wait::new(), deadline.time());
        let inside = after.clone();
        let task = std::rc::Rc::new(hands.start(async move {
            assert!(timeout_at(time, pending::<()>()).await.is_err());
            cancellable(inside.here()).await.is_err()
        }));
        let asking = task.clone();
        deadline.come_with(hands, move || _ = asking.cancel());
        assert_eq!((after.polls(), after.drops()), (1, 1));
        assert!(outcome(std::rc::Rc::into_inner(task).unwrap()).unwrap());
    });
}

#[test]
fn r12_a_timeout_that_becomes_an_error_does_not_swallow_a_request_from_outside() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let (inside, inside_after) = (clean_up.clone(), after.clone());
    let task = hands.start(async move {
        let value = timeout_at(Instant::now(), async move {
            let cancelled = cancellable(pending::<()>()).await.unwrap_err();
            inside.here().await;
            match cancelled.reraise().await {}
        });
        let value: Result<(), _> = value.await;
        assert!(value.is_err());
        inside_after.here().await;
    });
    clean_up.go();
    hands.cancel(&task);
    assert_eq!((after.polls(), after.drops()), (1, 1));
    assert_cancelled(task);
}

#[test]
fn nested_timeouts_do_not_take_each_others_requests() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let task = hands.start(async move {
            let value = timeout_at(time, async move {
                let inner = timeout(LONG, async {
                    let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                    match cancelled.reraise().await {}
                });
                let inner: Result<(), _> = inner.await;
                unreachable!("the inner one has time left: {inner:?}")
            });
            let value: Result<(), _> = value.await;
            value.is_err()
        });
        deadline.come(hands);
        assert!(outcome(task).unwrap());
    });
}

#[test]
fn outside_tasks_a_timeout_polls_what_is_ready() {
    let hands = Hands::new();
    let task = hands.start(async { timeout(LONG, ready(3)).await });
    assert_eq!(outcome(task).unwrap(), Ok(3));
}

#[test]
fn r12_a_request_from_outside_that_is_raised_again_is_no_timeout() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = std::rc::Rc::new(hands.start(async move {
            let value = timeout_at(time, async move {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                inside.here().await;
                match cancelled.reraise().await {}
            });
            let value: Result<(), _> = value.await;
            value.is_err()
        }));
        let asking = task.clone();
        deadline.come_with(hands, move || _ = asking.cancel());
        hands.go(&clean_up);
        assert_cancelled(std::rc::Rc::into_inner(task).unwrap());
    });
}

#[test]
fn r12_its_own_request_does_not_get_out_beside_another_one_that_is_raised_with_it() {
    let hands = Hands::new();
    let wait = Wait::new();
    let second = Wait::new();
    let task = hands.start({
        let (wait, second) = (wait.clone(), second.clone());
        async move {
            let raises_after = |wait: Wait| async move {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                wait.here().await;
                match cancelled.reraise().await {}
            };
            // The first is given the timeout's request at once, the second one that from outside.
            let inside = timeout_at(
                Instant::now(),
                futures::future::join(raises_after(wait), raises_after(second)),
            );
            let result: Result<Result<((), ()), _>, _> = cancellable(inside).await;
            result.unwrap_err().request()
        }
    });
    let request = hands.cancel(&task);
    wait.go();
    hands.go(&second);
    assert_eq!(Some(outcome(task).unwrap()), request);
}
