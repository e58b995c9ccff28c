//! What cancellation does not do, on purpose or because no information would let it.

use std::future::pending;
use std::time::Instant;

use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{join, ready};
use futures::stream::{FuturesUnordered, iter};
use loopool::{cancellable, protect, timeout_at, yield_now};

use crate::combinators::Stumbling;
use crate::support::{Count, Hands, Log, Wait, assert_cancelled, outcome};

#[test]
fn limit_1_what_is_received_inside_a_scope_that_waits_again_is_dropped_with_it() {
    let hands = Hands::new();
    let (sender, mut receiver) = mpsc::unbounded();
    let (inside, wait) = (Wait::new(), Wait::new());
    let task = hands.start({
        let inside = inside.clone();
        async move {
            let scope = cancellable(async {
                let message: i32 = receiver.next().await.unwrap();
                inside.here().await;
                message
            });
            (scope.await.is_err(), receiver.next().await)
        }
    });
    sender.unbounded_send(1).unwrap();
    hands.rest();
    hands.cancel(&task);
    drop(sender);
    hands.rest();
    assert_eq!(outcome(task).unwrap(), (true, None), "message 1 was lost");

    // With the scope around the receiving alone nothing is.
    let (sender, mut receiver) = mpsc::unbounded();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let message: Option<i32> = cancellable(receiver.next()).await.unwrap();
            (message, cancellable(wait.here()).await.is_err())
        }
    });
    sender.unbounded_send(2).unwrap();
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), (Some(2), true));
}

#[test]
fn limit_2_the_loser_of_a_select_is_dropped_in_the_midst_of_its_clean_up() {
    let hands = Hands::new();
    let (clean_up, other) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, other) = (clean_up.clone(), other.clone());
        async move {
            let cleaning = Box::pin(async {
                cancellable(pending::<()>()).await.unwrap_err();
                clean_up.here().await;
            });
            let other = Box::pin(other.here());
            drop(futures::future::select(cleaning, other).await);
        }
    });
    hands.cancel(&task);
    assert_eq!((clean_up.polls(), clean_up.drops()), (1, 0));
    hands.go(&other);
    assert_eq!(clean_up.drops(), 1);
    outcome(task).unwrap();
}

/// A handler that drains a set which was begun before: how many members are asked to end.
fn members_that_are_asked(protected: bool) -> usize {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let mut set: FuturesUnordered<_> =
                (0..4).map(|_| cancellable(pending::<()>())).collect();
            // Begun: each was polled.
            assert!(futures::poll!(set.next()).is_pending());
            cancellable(wait.here()).await.unwrap_err();
            if protected {
                let draining = protect(async {
                    for _ in 0..4 {
                        yield_now().await;
                    }
                    futures::poll!(set.next()).is_pending()
                });
                return if draining.await { 0 } else { 4 };
            }
            set.map(|result| usize::from(result.is_err())).collect::<Vec<_>>().await.iter().sum()
        }
    });
    hands.cancel(&task);
    outcome(task).unwrap()
}

#[test]
fn limit_3_open_scopes_that_are_awaited_later_in_the_pass_are_siblings() {
    assert_eq!(members_that_are_asked(false), 4);
    assert_eq!(members_that_are_asked(true), 0);
}

/// A answers; B in the same poll completes one scope and opens another. Whether that one is asked.
fn second_scope_is_asked(answerer_first: bool) -> bool {
    let hands = Hands::new();
    let (wait, second, log) = (Wait::new(), Wait::new(), Log::new());
    let task = hands.start({
        let (wait, second, log) = (wait.clone(), second.clone(), log.clone());
        async move {
            let answerer = async {
                cancellable(pending::<()>()).await.unwrap_err();
            };
            let other = async {
                cancellable(wait.here()).await.unwrap();
                if cancellable(second.here()).await.is_err() {
                    log.note("asked");
                }
            };
            if answerer_first {
                join(answerer, other).await;
            } else {
                join(other, answerer).await;
            }
        }
    });
    wait.go();
    hands.cancel(&task);
    hands.go(&second);
    outcome(task).unwrap();
    !log.all().is_empty()
}

#[test]
fn limit_4_whether_a_scope_opened_beside_an_answer_is_asked_depends_on_the_order() {
    assert!(!second_scope_is_asked(true));
    assert!(second_scope_is_asked(false));
}

#[test]
fn limit_5_who_was_protected_when_another_answered_is_not_asked_later() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, after) = (clean_up.clone(), after.clone());
        async move {
            let answerer = cancellable(pending::<()>());
            let other = async {
                protect(clean_up.here()).await;
                cancellable(after.here()).await.is_ok()
            };
            let (answer, other) = join(answerer, other).await;
            (answer.is_err(), other)
        }
    });
    hands.cancel(&task);
    hands.go(&clean_up);
    assert_eq!((after.polls(), after.drops()), (1, 0));
    hands.go(&after);
    assert_eq!(outcome(task).unwrap(), (true, true));
}

#[test]
fn limit_6_what_a_buffer_starts_after_the_request_is_not_asked() {
    let hands = Hands::new();
    let late = [Wait::new(), Wait::new()];
    let task = hands.start({
        let late = late.clone();
        async move {
            let jobs = iter(0..5usize).map(|index| {
                let late = late[index % 2].clone();
                async move {
                    let asked = if index < 3 {
                        cancellable(pending::<()>()).await.is_err()
                    } else {
                        cancellable(late.here()).await.is_err()
                    };
                    (index, asked)
                }
            });
            jobs.buffer_unordered(3).collect::<Vec<_>>().await
        }
    });
    hands.cancel(&task);
    assert!(late.iter().all(|late| late.polls() > 0) && !task.is_finished());
    late.iter().for_each(|late| hands.go(late));
    let mut results = outcome(task).unwrap();
    results.sort_unstable();
    assert_eq!(results, [(0, true), (1, true), (2, true), (3, false), (4, false)]);
}

#[test]
fn limit_7_a_request_returned_as_a_value_crosses_a_timeout_as_a_value() {
    let hands = Hands::new();
    let task = hands.start(async {
        timeout_at(Instant::now(), async {
            cancellable(pending::<()>()).await?;
            Ok::<_, loopool::Cancelled>(())
        })
        .await
    });
    assert!(matches!(outcome(task).unwrap(), Ok(Err(_))));
}

#[test]
fn without_a_suspension_there_is_nothing_to_interrupt() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            wait.here().await;
            ready(()).await;
            "value"
        }
    });
    wait.go();
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), "value");
    let task = hands.start(pending::<()>());
    hands.cancel(&task);
    assert_cancelled(task);
}

#[test]
fn limit_9_a_scope_around_a_set_that_stops_without_a_word_takes_the_request() {
    let hands = Hands::new();
    let (polls, asked) = (Count::default(), Count::default());
    let seen = asked.clone();
    let child = async move {
        let _ = cancellable(pending::<()>()).await;
        seen.add();
    };
    let set = Stumbling::new(child, &polls, 2..usize::MAX, false);
    let task = hands.start(async move { cancellable(set).await.is_err() });
    hands.cancel(&task);
    assert!(outcome(task).unwrap());
    assert_eq!(asked.get(), 0);
}
