//! R13: awaiting a task, and what shields it.

use std::future::{pending, poll_fn};
use std::pin::Pin;

use loopool::{cancellable, create_local_task, shield};

use crate::rules::Own;
use crate::support::{Count, Hands, Log, Wait, assert_cancelled, lock, outcome};

#[test]
fn r13_the_awaited_task_is_cancelled_and_waited_for() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let child = create_local_task({
                let log = log.clone();
                async move {
                    let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                    clean_up.here().await;
                    log.note("child");
                    match cancelled.reraise().await {}
                }
            });
            let error = child.await.unwrap_err();
            log.note("parent");
            (error.is_cancelled(), error.passed_on().map(|cancelled| cancelled.request()))
        }
    });
    let request = hands.cancel(&task);
    assert!(log.all().is_empty() && !task.is_finished());
    hands.go(&clean_up);
    assert_eq!(log.all(), ["child", "parent"]);
    assert_eq!(outcome(task).unwrap(), (true, request));
}

#[test]
fn r13_a_child_that_finishes_anyway_delivers_its_value() {
    let hands = Hands::new();
    let task = hands.start(async {
        let child = create_local_task(async {
            cancellable(pending::<()>()).await.unwrap_err();
            "suppressed"
        });
        child.await.unwrap()
    });
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), "suppressed");
}

#[test]
fn r13_every_further_request_is_passed_on() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            let child = create_local_task(async move {
                for _ in 0..3 {
                    cancellable(pending::<()>()).await.unwrap_err();
                    log.note("again");
                }
            });
            child.await.unwrap();
        }
    });
    for times in 1..=3 {
        hands.cancel(&task);
        assert_eq!(log.all().len(), times);
    }
    outcome(task).unwrap();
}

#[test]
fn r13_who_was_cancelled_by_somebody_else_is_not_the_awaiters_cancellation() {
    let hands = Hands::new();
    let child = std::rc::Rc::new(std::cell::RefCell::new(hands.start(pending::<()>())));
    let task = hands.start({
        let child = child.clone();
        std::future::poll_fn(move |cx| {
            std::pin::Pin::new(&mut *child.borrow_mut()).poll(cx).map(|result| {
                let error = result.unwrap_err();
                (error.is_cancelled(), error.passed_on().is_some())
            })
        })
    });
    child.borrow().cancel();
    hands.rest();
    assert_eq!(outcome(task).unwrap(), (true, false));
}

#[test]
fn r13_a_dropped_handle_lets_the_task_go_on() {
    let hands = Hands::new();
    let (wait, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (wait, log) = (wait.clone(), log.clone());
        async move {
            drop(create_local_task(async move {
                wait.here().await;
                log.note("child");
            }));
            pending::<()>().await;
        }
    });
    hands.cancel(&task);
    assert_cancelled(task);
    hands.go(&wait);
    assert_eq!(log.all(), ["child"]);
}

#[test]
fn a_chain_of_tasks_is_cancelled_from_the_inside_out() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            let middle = create_local_task({
                let log = log.clone();
                async move {
                    let inner = create_local_task(pending::<()>());
                    let cancelled = inner.await.unwrap_err().passed_on().unwrap();
                    log.note("middle");
                    match cancelled.reraise().await {}
                }
            });
            let middle: Result<(), _> = middle.await;
            let cancelled = middle.unwrap_err().passed_on().unwrap();
            log.note("outer");
            match cancelled.reraise().await {}
        }
    });
    hands.cancel(&task);
    assert_eq!(log.all(), ["middle", "outer"]);
    assert_cancelled::<()>(task);
}

#[test]
fn a_shielded_task_goes_on_when_its_awaiter_is_cancelled() {
    let hands = Hands::new();
    let (wait, log) = (Wait::new(), Log::new());
    let child = {
        let (wait, log) = (wait.clone(), log.clone());
        hands.start(async move {
            wait.here().await;
            log.note("child");
        })
    };
    let task = hands.start(async move { cancellable(shield(child)).await.is_err() });
    hands.cancel(&task);
    assert!(outcome(task).unwrap());
    assert_eq!((wait.polls(), wait.drops()), (1, 0));
    hands.go(&wait);
    assert_eq!(log.all(), ["child"]);
}

#[test]
fn tasks_that_awaited_each_other_passed_one_request_around_for_ever() {
    let hands = Hands::new();
    let polls = Count::default();
    let (one, other) = (Own::<()>::default(), Own::<()>::default());
    let awaits = |own: &Own<()>| {
        let (own, polls) = (own.clone(), polls.clone());
        async move {
            let other = poll_fn(|cx| Pin::new(lock(&own).as_mut().unwrap()).poll(cx));
            let _ = polls.polls_of(other).await;
        }
    };
    *lock(&one) = Some(hands.spawn(awaits(&other)));
    *lock(&other) = Some(hands.spawn(awaits(&one)));
    hands.rest();
    for _ in 0..2 {
        lock(&one).as_ref().unwrap().cancel();
        hands.rest();
        let before = polls.get();
        hands.rest();
        assert_eq!(polls.get(), before, "they rest");
    }
    assert!(!lock(&one).as_ref().unwrap().is_finished());
}
