//! Combinators that are not ours: R3, R14, and what they make of R5.

use std::future::{Future, pending};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt;
use futures::future::{join, join_all};
use futures::stream::{FuturesUnordered, iter};
use loopool::{cancellable, create_local_task, protect};

use crate::support::{Count, Deadline, Hands, Wait, assert_cancelled, outcome};

/// Cleans up in two steps when it is cancelled, and says so.
async fn cleans_up(clean_up: Wait, cleaned: Count) -> bool {
    let asked = cancellable(pending::<()>()).await.is_err();
    clean_up.here().await;
    cleaned.add();
    asked
}

/// So many branches under a `join_all`, which above thirty polls only those that were woken.
fn all_of(count: usize) {
    let hands = Hands::new();
    let cleaned = Count::default();
    let waits: Vec<_> = (0..count).map(|_| Wait::new()).collect();
    let branches: Vec<_> =
        waits.iter().map(|wait| cleans_up(wait.clone(), cleaned.clone())).collect();
    let task = hands.start(join_all(branches));
    hands.cancel(&task);
    assert!(waits.iter().all(|wait| wait.polls() == 1 && wait.drops() == 0));
    waits.iter().for_each(Wait::go);
    hands.rest();
    assert_eq!(cleaned.get(), count);
    assert!(outcome(task).unwrap().into_iter().all(|asked| asked));
}

#[test]
fn r14_join_all_of_five() {
    all_of(5);
}

#[test]
fn r14_join_all_of_forty() {
    all_of(40);
}

#[test]
fn r14_a_set_of_futures() {
    let hands = Hands::new();
    let (wait, cleaned) = (Wait::new(), Count::default());
    let set: FuturesUnordered<_> =
        (0..10).map(|_| cleans_up(wait.clone(), cleaned.clone())).collect();
    let task = hands.start(set.collect::<Vec<_>>());
    hands.cancel(&task);
    assert_eq!((wait.polls(), wait.drops()), (10, 0));
    drop(task);
}

#[test]
fn r14_a_set_of_tasks_is_cancelled_and_waited_for() {
    let hands = Hands::new();
    let (waits, cleaned) = ((0..6).map(|_| Wait::new()).collect::<Vec<_>>(), Count::default());
    let task = hands.start({
        let (waits, cleaned) = (waits.clone(), cleaned.clone());
        async move {
            let tasks: FuturesUnordered<_> = waits
                .into_iter()
                .map(|wait| create_local_task(cleans_up(wait, cleaned.clone())))
                .collect();
            tasks.map(|result| result.unwrap()).collect::<Vec<_>>().await
        }
    });
    hands.cancel(&task);
    waits.iter().for_each(Wait::go);
    hands.rest();
    assert_eq!(cleaned.get(), 6);
    assert_eq!(outcome(task).unwrap(), [true; 6]);
}

#[test]
fn r14_a_buffer() {
    let hands = Hands::new();
    let task = hands.start(async {
        let jobs = iter(0..3).map(|_| async { cancellable(pending::<()>()).await.is_err() });
        jobs.buffer_unordered(3).collect::<Vec<_>>().await
    });
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), [true; 3]);
}

#[test]
fn r14_a_timeout_reaches_the_members_of_a_set() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let task = hands.start(async move {
            let set: FuturesUnordered<_> =
                (0..8).map(|_| async { cancellable(pending::<()>()).await.is_err() }).collect();
            loopool::timeout_at(time, set.collect::<Vec<_>>()).await
        });
        deadline.come(hands);
        assert_eq!(outcome(task).unwrap(), Ok(vec![true; 8]));
    });
}

#[test]
fn r14_a_request_that_is_put_off_wakes_the_others_once() {
    let hands = Hands::new();
    let (clean_up, other) = (Wait::new(), Wait::new());
    let polls = Count::default();
    let task = hands.start({
        let (clean_up, other, polls) = (clean_up.clone(), other.clone(), polls.clone());
        async move {
            let held =
                Box::pin(protect(clean_up.here())) as std::pin::Pin<Box<dyn Future<Output = ()>>>;
            let woken = Box::pin(protect(other.here()));
            let set: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = ()>>>> =
                [held, woken].into_iter().collect();
            polls.polls_of(set.collect::<Vec<_>>()).await;
            pending::<()>().await;
        }
    });
    hands.cancel(&task);
    assert_eq!((clean_up.polls(), other.polls()), (2, 2));
    // The first poll, the pass, and those that the set asks for itself after each full round.
    assert!(polls.get() <= 4, "{} polls", polls.get());
    hands.go(&clean_up);
    assert_eq!((clean_up.drops(), other.drops(), task.is_finished()), (0, 0, false));
    hands.go(&other);
    assert_eq!((clean_up.drops(), other.drops()), (0, 0));
    assert_cancelled(task);
}

#[test]
fn a_protected_future_in_a_set_is_not_lost_when_the_set_is_polled_for_nothing() {
    let hands = Hands::new();
    let clean_up = Wait::new();
    let task = hands.start({
        let clean_up = clean_up.clone();
        async move {
            let set: FuturesUnordered<_> = [protect(clean_up.here())].into_iter().collect();
            cancellable(set.collect::<Vec<_>>()).await.is_ok()
        }
    });
    // The set wakes itself after it has polled all of its members: one more pass, without them.
    hands.cancel(&task);
    assert_eq!((clean_up.drops(), task.is_finished()), (0, false));
    hands.go(&clean_up);
    assert!(outcome(task).unwrap());
}

#[test]
fn a_protected_future_that_ends_on_a_second_poll_in_the_pass_lets_the_request_go_on() {
    let hands = Hands::new();
    let other = Wait::new();
    let task = hands.start({
        let other = other.clone();
        async move {
            let ends = Box::pin(protect(async {
                let mut polls = 0;
                std::future::poll_fn(|cx| {
                    polls += 1;
                    // In the pass it wakes itself, and the set polls it again.
                    if polls == 2 {
                        cx.waker().wake_by_ref();
                    }
                    if polls > 2 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
            }));
            let waits = Box::pin(other.here());
            let set: FuturesUnordered<std::pin::Pin<Box<dyn Future<Output = ()>>>> =
                [ends as std::pin::Pin<Box<dyn Future<Output = ()>>>, waits].into_iter().collect();
            set.collect::<Vec<_>>().await;
        }
    });
    hands.cancel(&task);
    assert_eq!(other.drops(), 1);
    assert_cancelled(task);
}

#[test]
fn a_clean_up_that_a_set_polls_twice_in_the_pass_is_given_the_request_once() {
    Deadline::test(|hands, deadline| {
        let (clean_up, time) = (Wait::new(), deadline.time());
        let inside = clean_up.clone();
        let task = std::rc::Rc::new(hands.start(async move {
            let member = loopool::timeout_at(time, async move {
                cancellable(pending::<()>()).await.unwrap_err();
                cancellable(inside.here()).await.is_ok()
            });
            let members =
                [futures::future::Either::Left(member), futures::future::Either::Right(pending())];
            members.into_iter().collect::<FuturesUnordered<_>>().next().await
        }));
        // The timeout and the request wake it both, the one of them while it is polled for the other.
        let asking = task.clone();
        deadline.come_with(hands, move || _ = asking.cancel());
        assert_eq!(clean_up.drops(), 0);
        hands.go(&clean_up);
        let task = std::rc::Rc::into_inner(task).unwrap();
        assert_eq!(outcome(task).unwrap(), Some(Ok(true)));
    });
}

#[test]
fn join_and_select_macros() {
    let hands = Hands::new();
    let wait = Wait::new();
    let task = hands.start({
        let wait = wait.clone();
        async move {
            let (a, b) = futures::join!(cancellable(pending::<()>()), cancellable(pending::<()>()));
            let mut first = std::pin::pin!(futures::FutureExt::fuse(wait.here()));
            let mut second = std::pin::pin!(futures::FutureExt::fuse(cancellable(pending::<()>())));
            let second_was_asked = futures::select_biased! {
                () = first => false,
                result = second => result.is_err(),
            };
            (a.is_err() && b.is_err(), second_was_asked)
        }
    });
    hands.cancel(&task);
    assert_eq!((wait.polls(), wait.drops()), (1, 0));
    hands.cancel(&task);
    assert_eq!(outcome(task).unwrap(), (true, true));
}

/// A set that meets somebody who is about to wake one of its children stops there, a few times in a row, before
/// it polls its only child again.
pub(crate) struct Stumbling<F> {
    child: Pin<Box<F>>,
    bell: Arc<Bell>,
    polls: Count,
    /// Those that do not get to the child.
    stumbles: Range<usize>,
    /// Whether it has seen whom it met: then it wakes its task to go on.
    sees: bool,
}

struct Bell(futures::task::AtomicWaker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

impl<F: Future> Stumbling<F> {
    pub(crate) fn new(child: F, polls: &Count, stumbles: Range<usize>, sees: bool) -> Self {
        let bell = Arc::new(Bell(futures::task::AtomicWaker::new()));
        Stumbling { child: Box::pin(child), bell, polls: polls.clone(), stumbles, sees }
    }
}

impl<F: Future> Future for Stumbling<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.bell.0.register(cx.waker());
        self.polls.add();
        if self.stumbles.contains(&self.polls.get()) {
            if self.sees {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let waker = Waker::from(self.bell.clone());
        self.child.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[test]
fn a_set_that_stops_half_way_is_asked_again() {
    for sees in [true, false] {
        let hands = Hands::new();
        let polls = Count::default();
        let child = cancellable(pending::<()>());
        let mut task = hands.start(Stumbling::new(child, &polls, 2..5, sees));
        let request = task.cancel();
        let taken = hands.run(&mut task).unwrap().unwrap_err();
        assert_eq!(taken.request(), request.unwrap());
        assert_eq!(polls.get(), 5);
    }
}

#[test]
fn inside_a_timeout_too() {
    Deadline::test(|hands, deadline| {
        let (time, polls) = (deadline.time(), Count::default());
        let child = cancellable(pending::<()>());
        let set = Stumbling::new(child, &polls, 2..5, true);
        let mut task = hands.start(loopool::timeout_at(time, set));
        deadline.come(hands);
        assert!(hands.run(&mut task).unwrap().unwrap().is_err());
        assert_eq!(polls.get(), 5);
    });
}

#[test]
fn a_set_that_is_not_polled_any_more_puts_the_end_off_for_a_moment_only() {
    let hands = Hands::new();
    let polls = Count::default();
    let child = cancellable(pending::<()>());
    let mut task = hands.start(Stumbling::new(child, &polls, 2..usize::MAX, false));
    task.cancel();
    assert!(hands.run(&mut task).unwrap_err().is_cancelled());
    // The first one, the pass, two more at once, and one after each of ten rests.
    assert_eq!(polls.get(), 14);
}

/// Two timeouts side by side, each around more children than a set polls at once.
#[test]
fn a_timeout_made_others_forget_the_request_of_another_that_had_not_reached_them() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let children = || {
            join_all((0..40).map(|_| async {
                let asked = cancellable(pending::<()>()).await.is_err();
                loopool::yield_now().await;
                asked
            }))
        };
        let both =
            join(loopool::timeout_at(time, children()), loopool::timeout_at(time, children()));
        let task = hands.start(both);
        deadline.come(hands);
        let (one, other) = outcome(task).unwrap();
        assert_eq!((one, other), (Ok(vec![true; 40]), Ok(vec![true; 40])));
    });
}

/// The request of the task comes while that of a timeout is on its way, and the other way round.
#[test]
fn a_timeout_made_others_forget_the_request_of_the_task_that_had_not_reached_them() {
    Deadline::test(|hands, deadline| {
        let time = deadline.time();
        let cleaned = Count::default();
        let children = |cleaned: Count| {
            join_all((0..40).map(move |_| {
                let cleaned = cleaned.clone();
                async move {
                    cancellable(pending::<()>()).await.unwrap_err();
                    loopool::yield_now().await;
                    cleaned.add();
                }
            }))
        };
        let timed = loopool::timeout_at(time, protect(Wait::new().here()));
        let task = hands.start({
            let cleaned = cleaned.clone();
            async move { join(children(cleaned), timed).await }
        });
        task.cancel();
        deadline.come(hands);
        assert_eq!(cleaned.get(), 40);
        drop(task);
    });
}

/// Inside `protect` nothing gets in, and nobody else wakes who is in the set once it is over.
#[test]
fn who_was_polled_inside_something_protected_was_not_polled_again_for_the_request() {
    let hands = Hands::new();
    let (event, cleaned) = (Wait::new(), Count::default());
    let task = hands.start({
        let (event, cleaned) = (event.clone(), cleaned.clone());
        async move {
            let mut set: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>> =
                FuturesUnordered::new();
            set.push(Box::pin(event.here()));
            set.push(Box::pin(async {
                cancellable(pending::<()>()).await.unwrap_err();
                loopool::yield_now().await;
                cleaned.add();
            }));
            // Both are polled once.
            assert!(futures::poll!(set.next()).is_pending());
            protect(set.next()).await;
            set.next().await;
        }
    });
    hands.cancel(&task);
    assert_eq!(cleaned.get(), 0);
    hands.go(&event);
    assert_eq!(cleaned.get(), 1);
    outcome(task).unwrap();
}

/// It was not there when the request came.
#[test]
fn who_begins_to_wait_inside_something_protected_is_polled_for_the_request_after_it() {
    let hands = Hands::new();
    let (event, cleaned) = (Wait::new(), Count::default());
    let task = hands.start({
        let (event, cleaned) = (event.clone(), cleaned.clone());
        async move {
            // Others were called when the request came, and are not there any more.
            let mut others: FuturesUnordered<_> =
                [cancellable(pending::<()>())].into_iter().collect();
            assert!(futures::poll!(others.next()).is_pending());
            drop(others);
            let mut set: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>> =
                FuturesUnordered::new();
            protect(async {
                while loopool::cancelling() == 0 {
                    loopool::yield_now().await;
                }
                set.push(Box::pin(event.here()));
                set.push(Box::pin(async {
                    cancellable(pending::<()>()).await.unwrap_err();
                    loopool::yield_now().await;
                    cleaned.add();
                }));
                set.next().await;
            })
            .await;
            set.next().await;
        }
    });
    hands.cancel(&task);
    assert_eq!(cleaned.get(), 0);
    hands.go(&event);
    assert_eq!(cleaned.get(), 1);
    outcome(task).unwrap();
}

/// A set of one, whose scope was there before.
#[test]
fn what_was_protected_when_a_sibling_answered_does_not_get_the_request_later_in_a_set_either() {
    let hands = Hands::new();
    let (event, after) = (Wait::new(), Wait::new());
    let task = hands.start({
        let (event, after) = (event.clone(), after.clone());
        async move {
            let mut set: FuturesUnordered<Pin<Box<dyn Future<Output = bool>>>> =
                FuturesUnordered::new();
            set.push(Box::pin(async {
                event.here().await;
                true
            }));
            set.push(Box::pin(async { cancellable(after.here()).await.is_ok() }));
            assert!(futures::poll!(set.next()).is_pending());
            let protected = async {
                let first = protect(set.next()).await;
                (first, set.next().await)
            };
            join(protected, cancellable(pending::<()>())).await.0
        }
    });
    hands.cancel(&task);
    hands.go(&event);
    hands.go(&after);
    assert_eq!(outcome(task).unwrap(), (Some(true), Some(true)));
}
