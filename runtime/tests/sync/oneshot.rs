//! The channel for one value.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use loopool::sync::oneshot::{Receiver, TryRecvError, channel};
use loopool::{cancellable, create_task, yield_now};

use super::support::{Dropped, Woken, poll_once, run};

#[test]
fn a_value_that_is_there_is_received_at_once() {
    let (sender, mut receiver) = channel();
    sender.send(5).unwrap();
    let woken = Woken::new();
    assert_eq!(woken.poll(&mut receiver), Poll::Ready(Ok(5)));
    assert_eq!(woken.count(), 0);
}

#[test]
fn the_receiver_is_woken_once() {
    let (sender, mut receiver) = channel();
    let woken = Woken::new();
    assert!(woken.poll(&mut receiver).is_pending());
    assert!(woken.poll(&mut receiver).is_pending());
    sender.send(5).unwrap();
    assert_eq!(woken.count(), 1);
    assert_eq!(woken.poll(&mut receiver), Poll::Ready(Ok(5)));
    assert_eq!(woken.count(), 1);
    assert_eq!(woken.wakers(), 0);
}

#[test]
fn the_last_waker_is_woken() {
    let (sender, mut receiver) = channel();
    let (first, second) = (Woken::new(), Woken::new());
    assert!(first.poll(&mut receiver).is_pending());
    assert!(second.poll(&mut receiver).is_pending());
    assert_eq!((first.wakers(), second.wakers()), (0, 1));
    sender.send(5).unwrap();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn after_its_value_a_receiver_is_at_an_end() {
    let (sender, mut receiver) = channel();
    sender.send(5).unwrap();
    let woken = Woken::new();
    assert_eq!(woken.poll(&mut receiver), Poll::Ready(Ok(5)));
    assert!(matches!(woken.poll(&mut receiver), Poll::Ready(Err(_))));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn the_end_of_either_side_wakes_the_other() {
    let woken = Woken::new();
    let (sender, mut receiver) = channel::<u8>();
    assert!(woken.poll(&mut receiver).is_pending());
    drop(sender);
    assert_eq!(woken.count(), 1);
    assert!(matches!(woken.poll(&mut receiver), Poll::Ready(Err(_))));

    let (mut sender, receiver) = channel::<u8>();
    let woken = Woken::new();
    woken.with(|cx| assert!(sender.poll_closed(cx).is_pending()));
    assert!(!sender.is_closed());
    drop(receiver);
    assert_eq!(woken.count(), 1);
    woken.with(|cx| assert!(sender.poll_closed(cx).is_ready()));
    assert!(sender.is_closed());
    assert_eq!(sender.send(1), Err(1));
}

#[test]
fn close_wakes_the_sender_and_keeps_what_was_sent() {
    let (mut sender, mut receiver) = channel::<u8>();
    let woken = Woken::new();
    woken.with(|cx| assert!(sender.poll_closed(cx).is_pending()));
    receiver.close();
    receiver.close();
    assert_eq!(woken.count(), 1);
    assert_eq!(sender.send(1), Err(1));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    assert!(matches!(Woken::new().poll(&mut receiver), Poll::Ready(Err(_))));

    let (sender, mut receiver) = channel();
    sender.send(1).unwrap();
    receiver.close();
    assert_eq!(Woken::new().poll(&mut receiver), Poll::Ready(Ok(1)));
}

/// Every way to end, each with and without a waker in place: the value is dropped once and no waker is left.
#[test]
fn nothing_is_left_behind() {
    for waits in [false, true] {
        for sender_waits in [false, true] {
            for way in 0..6 {
                let dropped = Dropped::new();
                let (mut sender, mut receiver) = channel();
                let (woken, other) = (Woken::new(), Woken::new());
                if waits {
                    assert!(woken.poll(&mut receiver).is_pending());
                }
                if sender_waits {
                    other.with(|cx| assert!(sender.poll_closed(cx).is_pending()));
                }
                let value = dropped.value();
                match way {
                    0 => drop(sender.send(value)),
                    1 => drop((sender, value)),
                    2 => {
                        drop(receiver);
                        assert!(sender.send(value).is_err());
                        receiver = channel().1;
                    }
                    3 => {
                        receiver.close();
                        drop((sender, value));
                    }
                    4 => {
                        sender.send(value).unwrap();
                        drop(receiver.try_recv().unwrap());
                    }
                    _ => {
                        sender.send(value).unwrap();
                        receiver.close();
                    }
                }
                drop(receiver);
                let case = (waits, sender_waits, way);
                assert_eq!(dropped.count(), 1, "{case:?}");
                assert_eq!((woken.wakers(), other.wakers()), (0, 0), "{case:?}");
            }
        }
    }
}

#[test]
fn it_holds_any_type() {
    #[derive(Debug, PartialEq)]
    #[repr(align(128))]
    struct Aligned([u8; 300]);
    let (sender, receiver) = channel();
    sender.send(Aligned([7; 300])).unwrap();
    assert_eq!(run(1, receiver), Ok(Aligned([7; 300])));
    let (sender, receiver) = channel();
    sender.send(()).unwrap();
    assert_eq!(run(1, receiver), Ok(()));
}

#[test]
fn a_waker_that_panics_does_not_reach_the_sender() {
    let (sender, mut receiver) = channel();
    let waker = super::support::panicking_waker();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut receiver).poll(&mut cx).is_pending());
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[test]
fn a_value_whose_destructor_panics_frees_the_channel() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("by design");
        }
    }
    let (sender, receiver) = channel();
    assert!(sender.send(Panics).is_ok());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
}

#[test]
fn a_task_that_is_cancelled_gives_its_end_back() {
    run(2, async {
        let (mut sender, receiver) = channel::<u8>();
        let task = create_task(receiver);
        yield_now().await;
        task.cancel();
        sender.closed().await;
        assert_eq!(sender.send(1), Err(1));
    });
}

/// A value that is there wins over a request, as everywhere.
#[test]
fn a_value_wins_over_a_request() {
    run(1, async {
        let (sender, receiver) = channel();
        let task = create_task(async { cancellable(receiver).await });
        yield_now().await;
        sender.send(1).unwrap();
        task.cancel();
        assert_eq!(task.await.unwrap(), Ok(Ok(1)));
    });
}

#[test]
fn what_is_awaited_by_reference_is_not_lost() {
    run(1, async {
        let (sender, mut receiver) = channel();
        assert!(poll_once(&mut receiver).await.is_pending());
        sender.send(1).unwrap();
        assert_eq!(receiver.await, Ok(1));
    });
}

#[test]
fn two_loops_and_threads() {
    const PAIRS: usize = 2_000;
    let sum: usize = run(2, async {
        let tasks: Vec<_> = (0..PAIRS)
            .map(|number| {
                let (ask, asked) = channel();
                let (answer, answered) = channel();
                drop(create_task(async move { answer.send(asked.await.unwrap()) }));
                let receiver = create_task(async move { answered.await.unwrap() });
                ask.send(number).unwrap();
                receiver
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, PAIRS * (PAIRS - 1) / 2);

    let (senders, receivers): (Vec<_>, Vec<Receiver<usize>>) =
        (0..PAIRS).map(|_| channel()).unzip();
    let thread = std::thread::spawn(move || {
        for (number, sender) in senders.into_iter().enumerate() {
            sender.send(number).unwrap();
        }
    });
    let expected = Arc::new(PAIRS);
    run(2, async move {
        for (number, receiver) in receivers.into_iter().enumerate() {
            assert_eq!(receiver.await, Ok(number));
        }
        assert_eq!(*expected, PAIRS);
    });
    thread.join().unwrap();
}

#[test]
fn the_budget_is_looked_at_first() {
    super::support::budget_is_kept(|| {
        let (sender, receiver) = channel();
        sender.send(()).unwrap();
        async { receiver.await.unwrap() }
    });
}
