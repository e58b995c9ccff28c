//! Who takes a request, and when: R1 to R9, R17 to R19.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::{join, join3};
use loopool::{
    Task, cancellable, cancelling, create_local_task, protect, timeout_at, uncancel, yield_now,
};

use crate::support::{Count, Hands, Log, Wait, assert_cancelled, lock, outcome};

#[test]
fn r1_a_value_that_is_ready_wins_and_the_request_goes_to_the_next_suspension() {
    let hands = Hands::new();
    let (first, second, log) = (Wait::new(), Wait::new(), Log::new());
    let task = hands.start({
        let (first, second, log) = (first.clone(), second.clone(), log.clone());
        async move {
            let value = cancellable(async { first.here().await }).await;
            log.note(format!("first {}", value.is_ok()));
            let value = cancellable(second.here()).await;
            log.note(format!("second {}", value.is_ok()));
        }
    });
    first.go();
    hands.cancel(&task);
    assert_eq!(log.all(), ["first true", "second false"]);
    assert_eq!((first.drops(), second.drops(), second.polls()), (0, 1, 1));
    outcome(task).unwrap();
}

#[test]
fn r2_the_innermost_scope_takes_in_the_same_poll() {
    let hands = Hands::new();
    let (wait, after, log, polls) = (Wait::new(), Wait::new(), Log::new(), Count::default());
    let task = hands.start({
        let (wait, after, log, polls) = (wait.clone(), after.clone(), log.clone(), polls.clone());
        async move {
            let outer = cancellable(async {
                let inner = cancellable(wait.here()).await;
                log.note(format!("inner {}", inner.is_ok()));
                after.here().await;
                "value"
            });
            let value = polls.polls_of(outer).await;
            log.note(format!("outer {value:?}"));
        }
    });
    assert_eq!(polls.get(), 1);
    hands.cancel(&task);
    assert_eq!(log.all(), ["inner false"]);
    assert_eq!((polls.get(), wait.polls(), wait.drops(), after.polls()), (2, 2, 1, 1));
    hands.go(&after);
    assert_eq!(log.all(), ["inner false", "outer Ok(\"value\")"]);
    assert_eq!(polls.get(), 3);
    outcome(task).unwrap();
}

#[test]
fn r2_the_inner_future_is_dropped_before_the_scope_goes_on() {
    struct Noted(Log);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let hands = Hands::new();
    let log = Log::new();
    let task = hands.start({
        let log = log.clone();
        async move {
            let noted = Noted(log.clone());
            let scope = cancellable(async move {
                let _noted = noted;
                std::future::pending::<()>().await;
            });
            let mut scope = Box::pin(scope);
            assert!((&mut scope).await.is_err());
            log.note("after");
        }
    });
    hands.cancel(&task);
    assert_eq!(log.all(), ["dropped", "after"]);
    outcome(task).unwrap();
}

#[test]
fn r3_every_sibling_gets_the_same_request_and_their_ancestor_none() {
    let hands = Hands::new();
    let wait = Wait::new();
    let log = Log::new();
    let task = hands.start({
        let (wait, log) = (wait.clone(), log.clone());
        async move {
            let both = cancellable(async {
                let (a, b, ()) = join3(
                    cancellable(std::future::pending::<()>()),
                    cancellable(std::future::pending::<()>()),
                    wait.here(),
                )
                .await;
                (a.unwrap_err().request(), b.unwrap_err().request())
            });
            let (a, b) = both.await.unwrap();
            assert_eq!(a, b);
            log.note("both");
            a
        }
    });
    let request = hands.cancel(&task);
    assert_eq!((wait.polls(), wait.drops()), (2, 0));
    hands.go(&wait);
    assert_eq!(log.all(), ["both"]);
    assert_eq!(Some(outcome(task).unwrap()), request);
}

/// Polls what is in it twice each time.
struct Twice<F>(Pin<Box<F>>);

impl<F: Future> Future for Twice<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.0.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(value),
            Poll::Pending => self.0.as_mut().poll(cx),
        }
    }
}

#[test]
fn r4_a_scope_that_is_polled_twice_in_a_pass_knows_that_it_was_answered() {
    let hands = Hands::new();
    let (wait, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (wait, log) = (wait.clone(), log.clone());
        async move {
            let outer = cancellable(async {
                let first = cancellable(std::future::pending::<()>()).await;
                log.note(format!("first {}", first.is_ok()));
                // Its clean-up, on the second poll as well as on the first.
                let second = cancellable(wait.here()).await;
                log.note(format!("second {}", second.is_ok()));
            });
            let outer = Twice(Box::pin(outer)).await;
            log.note(format!("outer {}", outer.is_ok()));
        }
    });
    hands.cancel(&task);
    assert_eq!(log.all(), ["first false"]);
    hands.go(&wait);
    assert_eq!(log.all(), ["first false", "second true", "outer true"]);
    outcome(task).unwrap();
}

#[test]
fn r4_scopes_opened_on_the_second_poll_of_a_pass_are_clean_up_too() {
    let hands = Hands::new();
    let log = Log::new();
    let wait = Wait::new();
    let task = hands.start({
        let (log, wait) = (log.clone(), wait.clone());
        async move {
            // Opens its second scope one poll after it took.
            let inside = async {
                let first = cancellable(std::future::pending::<()>()).await;
                log.note(format!("first {}", first.is_ok()));
                let mut polls = 0;
                poll_fn(|_| {
                    polls += 1;
                    if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                let second = cancellable(wait.here()).await;
                log.note(format!("second {}", second.is_ok()));
            };
            cancellable(Twice(Box::pin(cancellable(inside)))).await.unwrap().unwrap();
        }
    });
    hands.cancel(&task);
    assert_eq!((log.all(), wait.polls()), (vec!["first false".into()], 1));
    hands.go(&wait);
    assert_eq!(log.all(), ["first false", "second true"]);
    outcome(task).unwrap();
}

#[test]
fn r5_a_clean_up_is_not_given_the_request_that_it_answers() {
    let hands = Hands::new();
    let (wait, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (wait, log) = (wait.clone(), log.clone());
        async move {
            let taken = cancellable(std::future::pending::<()>()).await.unwrap_err();
            let clean_up = cancellable(cancellable(wait.here())).await;
            log.note(format!("outer {}", clean_up.is_ok()));
            let newer = clean_up.unwrap().unwrap_err();
            assert_ne!(taken, newer);
        }
    });
    let first = hands.cancel(&task);
    assert_eq!((log.all().len(), wait.polls()), (0, 1));
    let second = hands.cancel(&task);
    assert!(first.is_some() && second.is_some() && first != second);
    assert_eq!((log.all(), wait.drops()), (vec!["outer true".into()], 1));
    outcome(task).unwrap();
}

#[test]
fn r5_a_task_awaited_in_a_clean_up_is_not_given_the_request_either() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            cancellable(std::future::pending::<()>()).await.unwrap_err();
            create_local_task(async move { wait.here().await }).await.unwrap();
        }
    });
    hands.cancel(&task);
    assert_eq!((wait.polls(), wait.drops()), (1, 0));
    hands.go(&wait);
    outcome(task).unwrap();
}

#[test]
fn r5_a_scope_opened_in_a_pass_that_nobody_answered_takes() {
    let hands = Hands::new();
    let (first, second) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (first, second) = (first.clone(), second.clone());
        async move {
            first.here().await;
            cancellable(second.here()).await
        }
    });
    first.go();
    let request = hands.cancel(&task);
    let taken = outcome(task).unwrap().unwrap_err();
    assert_eq!((Some(taken.request()), second.drops()), (request, 1));
}

#[test]
fn r5_a_timeout_in_a_clean_up_stays_closed_after_it_has_fired() {
    let hands = Hands::new();
    let task = hands.start(async {
        let request = cancellable(std::future::pending::<()>()).await.unwrap_err().request();
        let limited = timeout_at(Instant::now(), async {
            let child = create_local_task(std::future::pending::<()>());
            child.await.unwrap_err().passed_on().unwrap().request()
        });
        (request, Twice(Box::pin(limited)).await.unwrap())
    });
    hands.cancel(&task);
    let (outer, inner) = outcome(task).unwrap();
    assert_ne!(outer, inner, "the clean-up was given the request that it answers");
}

#[test]
fn r6_without_a_scope_the_future_is_dropped_once() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move { wait.here().await }
    });
    assert!(hands.cancel(&task).is_some());
    assert_eq!((wait.polls(), wait.drops()), (2, 1));
    assert_eq!(task.cancel(), None);
    assert_cancelled(task);
}

#[test]
fn r6_a_request_that_was_answered_is_used_up() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            cancellable(std::future::pending::<()>()).await.unwrap_err();
            // No scope: a second pass would end the task.
            wait.here().await;
            wait.here().await;
        }
    });
    hands.cancel(&task);
    hands.go(&wait);
    hands.go(&wait);
    assert_eq!((wait.polls(), wait.drops()), (4, 0));
    outcome(task).unwrap();
}

#[test]
fn r7_a_request_that_is_put_off_waits_without_a_poll() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, after) = (clean_up.clone(), after.clone());
        async move {
            protect(async {
                clean_up.here().await;
                clean_up.here().await;
            })
            .await;
            after.here().await;
        }
    });
    hands.cancel(&task);
    assert_eq!(clean_up.polls(), 2);
    hands.go(&clean_up);
    assert_eq!((clean_up.polls(), task.is_finished()), (4, false));
    hands.go(&clean_up);
    assert_eq!((clean_up.polls(), clean_up.drops()), (5, 0));
    assert_eq!((after.polls(), after.drops()), (1, 1));
    assert_cancelled(task);
}

#[test]
fn r7_a_scope_around_a_protected_future_takes_when_that_is_done() {
    let hands = Hands::new();
    let (clean_up, log) = (Wait::new(), Log::new());
    let task = hands.start({
        let (clean_up, log) = (clean_up.clone(), log.clone());
        async move {
            let inside = async {
                protect(clean_up.here()).await;
                log.note("clean");
                std::future::pending::<()>().await;
            };
            cancellable(inside).await.unwrap_err().request()
        }
    });
    let request = hands.cancel(&task);
    assert_eq!((log.all().len(), clean_up.drops()), (0, 0));
    hands.go(&clean_up);
    assert_eq!((log.all(), clean_up.drops()), (vec!["clean".into()], 0));
    assert_eq!(Some(outcome(task).unwrap()), request);
}

#[test]
fn r7_a_protected_future_that_is_done_and_kept_puts_nothing_off() {
    let hands = Hands::new();
    let (held, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (held, after) = (held.clone(), after.clone());
        async move {
            let mut kept = Box::pin(protect(held.here()));
            (&mut kept).await;
            after.here().await;
            drop(kept);
        }
    });
    hands.cancel(&task);
    hands.go(&held);
    assert_eq!((after.polls(), after.drops()), (1, 1));
    assert_cancelled(task);
}

#[test]
fn r7_a_protected_future_that_loses_a_select_in_the_pass_lets_the_request_go_on() {
    let hands = Hands::new();
    let (held, other, after) = (Wait::new(), Wait::new(), Wait::new());
    let task = hands.start({
        let (held, other, after) = (held.clone(), other.clone(), after.clone());
        async move {
            let left = Box::pin(cancellable(protect(held.here())));
            drop(futures::future::select(left, other.here()).await);
            after.here().await;
        }
    });
    other.go();
    hands.cancel(&task);
    assert_eq!((held.drops(), after.polls(), after.drops()), (1, 1, 1));
    assert_cancelled(task);
}

/// A task and its own handle.
pub(crate) type Own<T> = Arc<Mutex<Option<Task<T>>>>;

#[test]
fn r8_a_request_during_a_poll_waits_for_the_next_one() {
    let hands = Hands::new();
    let own = Own::<()>::default();
    let (wait, log) = (Wait::new(), Log::new());
    let task = hands.spawn({
        let (own, wait, log) = (own.clone(), wait.clone(), log.clone());
        async move {
            cancellable(async {
                assert!(lock(&own).as_ref().unwrap().cancel().is_some());
                log.note("asked");
                wait.here().await;
            })
            .await
            .unwrap_err();
            log.note("taken");
        }
    });
    *lock(&own) = Some(task);
    hands.rest();
    assert_eq!(log.all(), ["asked", "taken"]);
    assert_eq!((wait.polls(), wait.drops()), (2, 1));
    outcome(lock(&own).take().unwrap()).unwrap();
}

#[test]
fn r8_several_requests_before_delivery_are_one_delivery_and_several_counts() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let request = cancellable(std::future::pending::<()>()).await.unwrap_err().request();
            let count = cancelling();
            wait.here().await;
            (request, count)
        }
    });
    let first = task.cancel();
    let second = task.cancel();
    hands.rest();
    assert_eq!(first, second);
    assert_eq!((wait.polls(), wait.drops(), task.cancelling()), (1, 0, 2));
    hands.go(&wait);
    let (request, count) = outcome(task).unwrap();
    assert_eq!((Some(request), count), (first, 2));
}

#[test]
fn r9_before_the_first_poll_not_a_line_runs() {
    let hands = Hands::new();
    let (ran, dropped) = (Count::default(), Count::default());
    struct OnDrop(Count);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.add();
        }
    }
    let task = hands.spawn({
        let (ran, guard) = (ran.clone(), OnDrop(dropped.clone()));
        async move {
            let _guard = guard;
            ran.add();
        }
    });
    assert!(task.cancel().is_some());
    hands.rest();
    assert_eq!((ran.get(), dropped.get()), (0, 1));
    assert_cancelled(task);
}

#[test]
fn r17_a_scope_obeys_the_task_that_polls_it_now() {
    let hands = Hands::new();
    let wait = Wait::new();
    let scope = Arc::new(Mutex::new(Box::pin(cancellable(wait.here()))));
    let poll = |scope: &Arc<Mutex<Pin<Box<_>>>>| {
        let scope: Arc<Mutex<Pin<Box<loopool::Cancellable<crate::support::Waiting>>>>> =
            scope.clone();
        poll_fn(move |cx| lock(&scope).as_mut().poll(cx))
    };
    let here = Wait::new();
    let first = hands.start({
        let (scope, here) = (poll(&scope), here.clone());
        async move {
            // Polls it once.
            let mut scope = Box::pin(scope);
            poll_fn(|cx| {
                assert!(scope.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(scope);
            here.here().await;
        }
    });
    let second = hands.start(poll(&scope));
    hands.cancel(&first);
    assert_eq!((wait.drops(), here.drops()), (0, 1));
    assert_cancelled(first);
    let request = hands.cancel(&second);
    assert_eq!(Some(outcome(second).unwrap().unwrap_err().request()), request);
    assert_eq!(wait.drops(), 1);
}

#[test]
fn r18_requests_are_counted_and_can_be_taken_back() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move { wait.here().await }
    });
    assert_eq!((task.cancelling(), task.uncancel()), (0, 0));
    task.cancel();
    task.cancel();
    assert_eq!(task.cancelling(), 2);
    assert_eq!((task.uncancel(), task.uncancel()), (1, 0));
    assert_eq!(task.cancelling(), 0);
    // Withdrawn before it was delivered.
    hands.rest();
    assert_eq!((wait.drops(), task.is_finished()), (0, false));
    hands.go(&wait);
    outcome(task).unwrap();
}

#[test]
fn r18_a_task_counts_its_own() {
    let hands = Hands::new();
    let task = hands.start(async {
        assert_eq!(cancelling(), 0);
        cancellable(std::future::pending::<()>()).await.unwrap_err();
        let before = cancelling();
        (before, uncancel(), cancelling())
    });
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), (1, 0, 0));
}

#[test]
fn r18_a_request_that_is_held_is_withdrawn_too() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, after) = (clean_up.clone(), after.clone());
        async move {
            protect(clean_up.here()).await;
            after.here().await;
        }
    });
    hands.cancel(&task);
    assert_eq!(task.uncancel(), 0);
    hands.go(&clean_up);
    assert_eq!((after.polls(), after.drops()), (1, 0));
    hands.go(&after);
    outcome(task).unwrap();
}

#[test]
fn r18_a_request_that_is_held_is_withdrawn_by_the_task_itself() {
    let hands = Hands::new();
    let (clean_up, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, after) = (clean_up.clone(), after.clone());
        async move {
            protect(async {
                while cancelling() == 0 {
                    yield_now().await;
                }
                assert_eq!(uncancel(), 0);
                clean_up.here().await;
            })
            .await;
            after.here().await;
        }
    });
    hands.cancel(&task);
    hands.go(&clean_up);
    assert_eq!((after.polls(), after.drops()), (1, 0));
    hands.go(&after);
    outcome(task).unwrap();
}

/// In the very pass, and nothing is waited for after that inside `protect`.
#[test]
fn r18_a_request_that_was_taken_back_in_its_pass_was_delivered() {
    let hands = Hands::new();
    let after = Wait::new();
    let task = hands.start({
        let after = after.clone();
        async move {
            protect(async {
                while cancelling() == 0 {
                    yield_now().await;
                }
                assert_eq!(uncancel(), 0);
            })
            .await;
            cancellable(after.here()).await.is_ok()
        }
    });
    hands.cancel(&task);
    assert_eq!((after.polls(), after.drops()), (1, 0));
    hands.go(&after);
    assert!(outcome(task).unwrap());
}

/// The one who answers takes it back; its siblings get it all the same.
#[test]
fn r18_a_request_that_was_answered_is_not_withdrawn() {
    let hands = Hands::new();
    let task = hands.start(futures::future::join_all((0..40).map(|_| async {
        let asked = cancellable(std::future::pending::<()>()).await.is_err();
        uncancel();
        yield_now().await;
        asked
    })));
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), [true; 40]);
}

/// Hidden scopes had been called for it.
#[test]
fn r18_a_request_that_was_put_off_and_taken_back_was_delivered_to_a_set() {
    use futures::StreamExt;
    use futures::stream::FuturesUnordered;
    let hands = Hands::new();
    let (clean_up, inside) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (clean_up, inside) = (clean_up.clone(), inside.clone());
        async move {
            let mut set: FuturesUnordered<_> =
                [async { cancellable(inside.here()).await.is_ok() }].into_iter().collect();
            assert!(futures::poll!(set.next()).is_pending());
            protect(clean_up.here()).await;
            set.next().await
        }
    });
    hands.cancel(&task);
    assert_eq!(task.uncancel(), 0);
    hands.go(&clean_up);
    hands.go(&inside);
    assert_eq!(outcome(task).unwrap(), Some(true));
}

#[test]
fn r19_what_waits_for_its_turn_only_is_pending_too() {
    use futures::{AsyncReadExt, AsyncWriteExt};
    use loopool::net::{TcpListener, TcpStream};
    loopool::run(async {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (mut here, there) = join(async { TcpStream::connect(address).await.unwrap() }, async {
            listener.accept().await.unwrap().0
        })
        .await;
        here.write_all(&[7; 4000]).await.unwrap();
        let read = Count::default();
        let own = Own::<(bool, usize)>::default();
        let task = create_local_task({
            let (read, own, mut there) = (read.clone(), own.clone(), there);
            async move {
                // All bytes are there before the request is.
                let mut byte = [0; 1];
                there.read_exact(&mut byte).await.unwrap();
                yield_now().await;
                lock(&own).as_ref().unwrap().cancel();
                let scope = cancellable(async {
                    for _ in 1..4000 {
                        there.read_exact(&mut byte).await.unwrap();
                        read.add();
                    }
                });
                let taken = scope.await.is_err();
                let mut rest = vec![0; 3999 - read.get()];
                protect(there.read_exact(&mut rest)).await.unwrap();
                (taken, read.get() + rest.len())
            }
        });
        *lock(&own) = Some(task);
        let task = own.clone();
        let done = poll_fn(move |cx| Pin::new(lock(&task).as_mut().unwrap()).poll(cx)).await;
        let (taken, total) = done.unwrap();
        assert!(taken, "the budget of one poll is less than all these reads");
        assert!(read.get() > 0, "the request waits for the next poll");
        assert_eq!(total, 3999, "no byte is lost");
    });
}

#[test]
fn r19_an_await_that_was_polled_without_budget_is_open() {
    let hands = Hands::new();
    let many: Vec<_> = (0..200).map(|_| hands.start(async {})).collect();
    let child = hands.start(pending::<()>());
    let own = Own::<bool>::default();
    let task = hands.spawn({
        let own = own.clone();
        async move {
            let mut many = many.into_iter();
            poll_fn(|cx| {
                let has_budget = |mut task: Task<()>| Pin::new(&mut task).poll(cx).is_ready();
                assert!(!many.by_ref().all(has_budget), "the budget is less than so many awaits");
                Poll::Ready(lock(&own).as_ref().unwrap().cancel())
            })
            .await;
            let (taken, child) = join(cancellable(pending::<()>()), child).await;
            taken.is_err() && child.unwrap_err().passed_on().is_some()
        }
    });
    *lock(&own) = Some(task);
    hands.rest();
    assert!(outcome(lock(&own).take().unwrap()).unwrap());
}
