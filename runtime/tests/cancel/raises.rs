//! R10 and R11: a request that is handed on.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use futures::future::{join, select};
use futures::stream::{FuturesUnordered, StreamExt};
use loopool::{Cancelled, cancellable, protect, timeout};

use crate::support::{Hands, LONG, Log, Wait, assert_cancelled, outcome};

/// A request that was taken, for those who need one.
pub(crate) fn taken() -> Cancelled {
    let hands = Hands::new();
    let task = hands.start(async { cancellable(pending::<()>()).await.unwrap_err() });
    hands.cancel(&task);
    outcome(task).unwrap()
}

#[test]
fn r10_a_raise_goes_to_the_next_scope_and_keeps_its_id() {
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            let outer = cancellable(async {
                let inner = cancellable(pending::<()>()).await.unwrap_err();
                log.note("inner");
                match inner.reraise().await {}
            });
            let cancelled = outer.await.unwrap_err();
            log.note("outer");
            cancelled.request()
        }
    });
    let request = hands.cancel(&task);
    assert_eq!(log.all(), ["inner", "outer"]);
    assert_eq!(Some(outcome(task).unwrap()), request);
}

#[test]
fn r10_a_raise_without_a_scope_around_it_ends_the_task() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let cancelled = cancellable(pending::<()>()).await.unwrap_err();
            wait.here().await;
            match cancelled.reraise().await {}
        }
    });
    hands.cancel(&task);
    assert!(!task.is_finished());
    hands.go(&wait);
    assert_cancelled::<()>(task);
}

#[test]
fn r10_a_raise_may_be_of_any_task_that_is_asked_or_not() {
    let hands = Hands::new();
    let old = taken();
    let task =
        hands.start(async move { cancellable(async { match old.reraise().await {} }).await });
    let result: Result<(), Cancelled> = outcome(task).unwrap();
    assert_eq!(result, Err(old));
}

#[test]
fn r10_a_raise_passes_through_protect_and_through_a_timeout_that_is_not_its_own() {
    let hands = Hands::new();
    let old = taken();
    let task = hands.start(async move {
        let inside = timeout(LONG, protect(async { match old.reraise().await {} }));
        cancellable(inside).await
    });
    let result: Result<Result<(), _>, Cancelled> = outcome(task).unwrap();
    assert_eq!(result.unwrap_err(), old);
}

#[test]
fn r10_a_raise_that_loses_a_select_is_withdrawn() {
    let hands = Hands::new();
    let wait = Wait::new();
    let old = taken();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            // Asked first, and dropped in the same poll.
            let raise = Box::pin(async move {
                old.reraise().await;
            });
            let ready = std::future::ready(());
            drop(select(raise, ready).await);
            cancellable(wait.here()).await
        }
    });
    assert_eq!((wait.polls(), wait.drops(), task.is_finished()), (1, 0, false));
    hands.go(&wait);
    assert_eq!(outcome(task).unwrap(), Ok(()));
}

#[test]
fn r10_a_raise_answers_the_pass_in_which_it_is_taken() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, after) = (clean_up.clone(), after.clone());
        async move {
            let outer = cancellable(async {
                let inner = cancellable(pending::<()>()).await.unwrap_err();
                clean_up.here().await;
                match inner.reraise().await {}
            });
            let cancelled: Result<(), _> = outer.await;
            after.here().await;
            cancelled.unwrap_err().request()
        }
    });
    let first = hands.cancel(&task);
    clean_up.go();
    let second = hands.cancel(&task);
    assert_ne!(first, second);
    assert_eq!((after.polls(), after.drops()), (1, 0));
    hands.go(&after);
    assert_eq!(Some(outcome(task).unwrap()), first);
}

#[test]
fn r10_a_raise_with_neither_task_nor_scope_panics_instead_of_hanging() {
    let old = taken();
    let run = || match futures::executor::block_on(old.reraise()) {};
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
}

#[test]
fn r11_a_raise_ends_a_sibling_in_the_middle_of_its_clean_up() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let both = cancellable(async {
                join(
                    async {
                        cancellable(pending::<()>()).await.unwrap_err();
                        clean_up.here().await;
                        log.note("clean");
                    },
                    async {
                        let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                        match cancelled.reraise().await {}
                    },
                )
                .await
            });
            let result: Result<((), ()), _> = both.await;
            log.note(format!("both {}", result.is_ok()));
        }
    });
    hands.cancel(&task);
    assert_eq!((log.all(), clean_up.drops()), (vec!["both false".into()], 1));
    outcome(task).unwrap();
}

#[test]
fn r11_a_clean_up_that_is_protected_is_finished_before_a_sibling_ends_it() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let both = cancellable(async {
                join(
                    async {
                        cancellable(pending::<()>()).await.unwrap_err();
                        protect(clean_up.here()).await;
                        log.note("clean");
                        pending::<()>().await;
                    },
                    async {
                        let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                        match cancelled.reraise().await {}
                    },
                )
                .await
            });
            let result: Result<((), ()), _> = both.await;
            log.note(format!("both {}", result.is_ok()));
        }
    });
    hands.cancel(&task);
    assert_eq!((log.all().len(), clean_up.drops()), (0, 0));
    hands.go(&clean_up);
    assert_eq!((log.all(), clean_up.drops()), (vec!["clean".into(), "both false".into()], 0));
    outcome(task).unwrap();
}

#[test]
fn r11_a_raise_in_a_set_waits_for_what_is_protected_and_then_ends_the_rest() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let mut set: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>> =
                FuturesUnordered::new();
            set.push(Box::pin(async {
                cancellable(pending::<()>()).await.unwrap_err();
                protect(clean_up.here()).await;
                log.note("clean");
            }));
            set.push(Box::pin(async {
                let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                match cancelled.reraise().await {}
            }));
            while set.next().await.is_some() {}
        }
    });
    hands.cancel(&task);
    assert_eq!((log.all().len(), clean_up.drops()), (0, 0));
    hands.go(&clean_up);
    assert_eq!((log.all(), clean_up.drops()), (vec!["clean".into()], 0));
    assert!(outcome(task).unwrap_err().is_cancelled());
}

#[test]
fn r11_who_returns_the_request_as_a_value_ends_nobody() {
    let hands = Hands::new();
    let clean_up = Wait::new();
    let task = hands.start({
        let clean_up = clean_up.clone();
        async move {
            join(
                async {
                    cancellable(pending::<()>()).await.unwrap_err();
                    clean_up.here().await;
                },
                cancellable(pending::<()>()),
            )
            .await
        }
    });
    let request = hands.cancel(&task);
    hands.go(&clean_up);
    let ((), other) = outcome(task).unwrap();
    assert_eq!(Some(other.unwrap_err().request()), request);
}

/// The raise is made again in a poll in which nothing wakes what is in the set.
#[test]
fn a_raise_ended_what_was_protected_in_a_set_that_did_not_poll_it() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let set: FuturesUnordered<_> = [async {
                cancellable(pending::<()>()).await.unwrap_err();
                protect(clean_up.here()).await;
                log.note("clean");
            }]
            .into_iter()
            .collect();
            join(set.collect::<Vec<_>>(), async {
                match cancellable(pending::<()>()).await.unwrap_err().reraise().await {}
            })
            .await;
        }
    });
    hands.cancel(&task);
    assert_eq!((log.all().len(), clean_up.drops(), task.is_finished()), (0, 0, false));
    hands.go(&clean_up);
    assert_eq!((log.all(), clean_up.drops()), (vec!["clean".into()], 0));
    assert!(outcome(task).unwrap_err().is_cancelled());
}

/// As above, and it was protected after the pass, when nobody asked any more; the raise goes to a scope.
#[test]
fn a_raise_to_a_scope_ended_what_was_protected_in_a_set() {
    let hands = Hands::new();
    let (begin, clean_up, tick, log) = (Wait::new(), Wait::new(), Wait::new(), Log::new());
    let task = hands.start({
        let (begin, clean_up) = (begin.clone(), clean_up.clone());
        let (tick, log) = (tick.clone(), log.clone());
        async move {
            let inside = async {
                let set: FuturesUnordered<_> = [async {
                    cancellable(pending::<()>()).await.unwrap_err();
                    begin.here().await;
                    protect(clean_up.here()).await;
                    log.note("clean");
                }]
                .into_iter()
                .collect();
                join(set.collect::<Vec<_>>(), async {
                    let cancelled = cancellable(pending::<()>()).await.unwrap_err();
                    tick.here().await;
                    match cancelled.reraise().await {}
                })
                .await;
            };
            cancellable(inside).await.is_err()
        }
    });
    hands.cancel(&task);
    hands.go(&begin);
    hands.go(&tick);
    assert_eq!((log.all().len(), clean_up.drops(), task.is_finished()), (0, 0, false));
    hands.go(&clean_up);
    assert_eq!((log.all(), clean_up.drops()), (vec!["clean".into()], 0));
    assert!(outcome(task).unwrap());
}

/// It waits for nobody but itself.
#[test]
fn a_raise_does_not_wait_for_what_protects_it_in_a_set() {
    let hands = Hands::new();
    let tick = Wait::new();
    let task = hands.start({
        let tick = tick.clone();
        async move {
            let set: FuturesUnordered<_> = [protect(async {
                let cancelled = loopool::timeout_at(std::time::Instant::now(), async {
                    match cancellable(pending::<()>()).await.unwrap_err().reraise().await {}
                });
                assert!(cancelled.await.is_err());
                tick.here().await;
                while loopool::cancelling() == 0 {
                    loopool::yield_now().await;
                }
            })]
            .into_iter()
            .collect();
            set.collect::<Vec<_>>().await;
            cancellable(pending::<()>()).await.unwrap_err().reraise().await;
        }
    });
    hands.go(&tick);
    hands.cancel(&task);
    assert!(outcome(task).unwrap_err().is_cancelled());
}
