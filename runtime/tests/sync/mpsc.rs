//! Channels with many senders.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use loopool::sync::mpsc::{
    Receiver, SendError, Sender, TryRecvError, TrySendError, channel, unbounded_channel,
};
use loopool::{create_task, yield_now};

use super::support::{Dropped, Woken, budget_is_kept, panicking_waker, run};

fn recv<T>(woken: &Woken, receiver: &mut Receiver<T>) -> Poll<Option<T>> {
    woken.with(|cx| receiver.poll_recv(cx))
}

type Sending<'a> = Option<Pin<Box<dyn Future<Output = Result<(), SendError<u32>>> + 'a>>>;

/// Senders of these values, which wait.
fn wait<'a>(sender: &'a Sender<u32>, values: &[u32]) -> (Vec<Sending<'a>>, Vec<Woken>) {
    let mut waiting = Vec::new();
    let mut woken = Vec::new();
    for value in values {
        let mut send: Sending<'a> = Some(Box::pin(sender.send(*value)));
        let one = Woken::new();
        assert!(one.poll_pinned(send.as_mut().unwrap().as_mut()).is_pending());
        waiting.push(send);
        woken.push(one);
    }
    (waiting, woken)
}

fn counts(woken: &[Woken]) -> Vec<usize> {
    woken.iter().map(Woken::count).collect()
}

#[test]
fn values_arrive_in_order_and_then_the_end() {
    let (sender, mut receiver) = unbounded_channel();
    let woken = Woken::new();
    for number in 0..1000 {
        sender.clone().send(number).unwrap();
    }
    assert_eq!(receiver.len(), 1000);
    for number in 0..1000 {
        assert_eq!(recv(&woken, &mut receiver), Poll::Ready(Some(number)));
        assert_eq!(receiver.len(), 999 - number);
    }
    assert!(recv(&woken, &mut receiver).is_pending());
    let other = sender.clone();
    drop(sender);
    assert_eq!(woken.count(), 0);
    drop(other);
    assert_eq!(woken.count(), 1);
    assert_eq!(recv(&woken, &mut receiver), Poll::Ready(None));
    assert_eq!(recv(&woken, &mut receiver), Poll::Ready(None));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    assert!(receiver.is_empty());
}

/// Only if it waits, and once.
#[test]
fn the_receiver_is_woken_when_it_waits() {
    let (sender, mut receiver) = unbounded_channel();
    let woken = Woken::new();
    assert!(recv(&woken, &mut receiver).is_pending());
    assert!(recv(&woken, &mut receiver).is_pending());
    assert_eq!(woken.wakers(), 1);
    for number in 0..3 {
        sender.send(number).unwrap();
    }
    assert_eq!((woken.count(), woken.wakers()), (1, 0));
    for number in 0..3 {
        assert_eq!(recv(&woken, &mut receiver), Poll::Ready(Some(number)));
    }
    sender.send(3).unwrap();
    assert_eq!(woken.count(), 1);
    assert_eq!(receiver.try_recv(), Ok(3));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    // The last waker counts.
    let last = Woken::new();
    assert!(recv(&woken, &mut receiver).is_pending());
    assert!(recv(&last, &mut receiver).is_pending());
    assert_eq!((woken.wakers(), last.wakers()), (0, 1));
    sender.send(4).unwrap();
    assert_eq!((woken.count(), last.count()), (1, 1));
}

#[test]
fn a_receiver_that_was_not_polled_to_the_end_loses_nothing() {
    run(1, async {
        let (sender, mut receiver) = unbounded_channel();
        {
            let mut recv = pin!(receiver.recv());
            assert!(super::support::poll_once(&mut recv).await.is_pending());
            sender.send(1).unwrap();
        }
        assert_eq!(receiver.recv().await, Some(1));
    });
}

#[test]
fn no_more_than_the_capacity() {
    for capacity in [1, 2, 7] {
        let (sender, mut receiver) = channel(capacity);
        for number in 0..capacity {
            assert_eq!(sender.capacity(), capacity - number);
            sender.try_send(number).unwrap();
        }
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        assert_eq!(receiver.len(), capacity);
        // What was taken out of the inbox, but not received, still counts.
        assert_eq!(receiver.try_recv(), Ok(0));
        sender.try_send(capacity).unwrap();
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        for number in 1..=capacity {
            assert_eq!(receiver.try_recv(), Ok(number));
        }
        assert_eq!(sender.capacity(), capacity);
    }
}

#[test]
#[should_panic(expected = "a capacity of one at least")]
fn a_channel_without_room_is_refused() {
    drop(channel::<u8>(0));
}

/// As many as there is room for, when several values are received at once, and in their order.
#[test]
fn senders_are_let_in_in_order() {
    let (sender, mut receiver) = channel(3);
    (0..3).for_each(|number| sender.try_send(number).unwrap());
    let (mut waiting, woken) = wait(&sender, &[3, 4, 5, 6]);
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(counts(&woken), [1, 0, 0, 0]);
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(counts(&woken), [1, 1, 1, 0]);
    for n in 0..3 {
        let sent = woken[n].poll_pinned(waiting[n].take().unwrap().as_mut());
        assert_eq!(sent, Poll::Ready(Ok(())));
    }
    assert_eq!(receiver.try_recv(), Ok(3));
    assert_eq!(counts(&woken), [1, 1, 1, 1]);
    let sent = woken[3].poll_pinned(waiting[3].take().unwrap().as_mut());
    assert_eq!(sent, Poll::Ready(Ok(())));
    assert_eq!([(); 3].map(|()| receiver.try_recv().unwrap()), [4, 5, 6]);
}

#[test]
fn a_sender_that_leaves_gives_its_place_to_the_next() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let (mut waiting, woken) = wait(&sender, &[1, 2, 3]);
    assert_eq!(receiver.try_recv(), Ok(0));
    // Woken, and leaves; and one that was not woken.
    waiting[0] = None;
    waiting[2] = None;
    assert_eq!(counts(&woken), [1, 1, 0]);
    let sent = woken[1].poll_pinned(waiting[1].take().unwrap().as_mut());
    assert_eq!(sent, Poll::Ready(Ok(())));
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(sender.capacity(), 1);
}

#[test]
fn a_value_of_a_sender_that_leaves_is_dropped() {
    let dropped = Dropped::new();
    let (sender, receiver) = channel(1);
    sender.try_send(dropped.value()).unwrap();
    {
        let mut send = pin!(sender.send(dropped.value()));
        assert!(Woken::new().poll_pinned(send.as_mut()).is_pending());
    }
    assert_eq!(dropped.count(), 1);
    drop(receiver);
    assert_eq!(dropped.count(), 2);
}

#[test]
fn close_keeps_what_was_sent_and_hands_back_what_was_not() {
    let (sender, mut receiver) = channel(2);
    sender.try_send(0).unwrap();
    sender.try_send(1).unwrap();
    let (mut waiting, woken) = wait(&sender, &[2, 3]);
    receiver.close();
    receiver.close();
    assert!(receiver.is_closed() && sender.is_closed());
    assert_eq!(counts(&woken), [1, 1]);
    for (n, value) in [2, 3].into_iter().enumerate() {
        let sent = woken[n].poll_pinned(waiting[n].take().unwrap().as_mut());
        assert_eq!(sent, Poll::Ready(Err(SendError(value))));
    }
    assert_eq!(sender.try_send(4), Err(TrySendError::Closed(4)));
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(recv(&Woken::new(), &mut receiver), Poll::Ready(Some(1)));
    assert_eq!(recv(&Woken::new(), &mut receiver), Poll::Ready(None));
}

/// A sender that was let in, and finds the channel closed when it comes, has its value back.
#[test]
fn a_sender_on_its_way_meets_the_end() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let (mut waiting, woken) = wait(&sender, &[1]);
    assert_eq!(receiver.try_recv(), Ok(0));
    drop(receiver);
    let sent = woken[0].poll_pinned(waiting[0].take().unwrap().as_mut());
    assert_eq!(sent, Poll::Ready(Err(SendError(1))));
}

/// It was let in and overtaken, and the channel is closed before it comes: it does not wait again.
#[test]
fn a_sender_that_was_overtaken_meets_the_end() {
    let (sender, mut receiver) = channel(1);
    sender.try_send(0).unwrap();
    let (mut waiting, woken) = wait(&sender, &[1]);
    assert_eq!(receiver.try_recv(), Ok(0));
    sender.try_send(2).unwrap();
    receiver.close();
    let sent = woken[0].poll_pinned(waiting[0].take().unwrap().as_mut());
    assert_eq!(sent, Poll::Ready(Err(SendError(1))));
}

#[test]
fn what_is_left_goes_with_the_receiver() {
    for received in [0, 1, 5] {
        let dropped = Dropped::new();
        let (sender, mut receiver) = unbounded_channel();
        for _ in 0..5 {
            sender.send(dropped.value()).unwrap();
        }
        for _ in 0..received {
            receiver.try_recv().unwrap();
        }
        // In the inbox, beside what was taken out of it.
        for _ in 0..5 {
            sender.send(dropped.value()).unwrap();
        }
        drop(receiver);
        assert_eq!(dropped.count(), 10);
        assert!(sender.is_closed());
        assert!(sender.send(dropped.value()).is_err());
        assert_eq!(dropped.count(), 11);
    }
}

#[test]
fn a_waker_that_panics_does_not_reach_the_sender() {
    let (sender, mut receiver) = unbounded_channel();
    let waker = panicking_waker();
    assert!(receiver.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
}

/// A value whose destructor uses the channel: it is dropped without the lock.
#[test]
fn a_value_may_use_its_channel_when_it_is_dropped() {
    struct Uses(Option<loopool::sync::mpsc::UnboundedSender<Uses>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            if let Some(sender) = &self.0 {
                assert!(sender.is_closed());
                assert!(sender.send(Uses(None)).is_err());
            }
        }
    }
    let (sender, receiver) = unbounded_channel();
    assert!(sender.send(Uses(Some(sender.clone()))).is_ok());
    drop(receiver);
}

/// Wakers are foreign code, too.
#[test]
fn wakers_may_use_the_channel() {
    struct Uses(std::sync::Mutex<Option<Sender<u32>>>);
    impl std::task::Wake for Uses {
        fn wake(self: Arc<Self>) {
            let sender = self.0.lock().unwrap().take();
            if let Some(sender) = sender {
                let mut send = pin!(sender.send(1));
                let _ = Woken::new().poll_pinned(send.as_mut());
            }
        }
    }
    let uses = |sender: &Sender<u32>| {
        std::task::Waker::from(Arc::new(Uses(std::sync::Mutex::new(Some(sender.clone())))))
    };
    // Of the receiver.
    let (sender, mut receiver) = channel(2);
    assert!(receiver.poll_recv(&mut Context::from_waker(&uses(&sender))).is_pending());
    sender.try_send(0).unwrap();
    assert_eq!(receiver.len(), 2);
    // Of a sender, at the end.
    let mut send = pin!(sender.send(2));
    assert!(send.as_mut().poll(&mut Context::from_waker(&uses(&sender))).is_pending());
    drop(receiver);
    assert!(Woken::new().poll_pinned(send).is_ready());
}

#[test]
fn errors_say_what_is_wrong() {
    let (sender, receiver) = channel(1);
    sender.try_send(1).unwrap();
    let full = sender.try_send(2).unwrap_err();
    assert!(full.to_string().contains("full"));
    assert_eq!(full.into_inner(), 2);
    drop(receiver);
    let closed = sender.try_send(2).unwrap_err();
    assert!(closed.to_string().contains("closed"));
}

#[test]
fn two_loops_many_senders_and_threads() {
    const SENDERS: usize = 8;
    const VALUES: usize = 2_000;
    for capacity in [1, 16, 100_000] {
        run(2, async move {
            let (sender, mut receiver) = channel(capacity);
            let tasks: Vec<_> = (0..SENDERS)
                .map(|number| {
                    let sender = sender.clone();
                    create_task(async move {
                        for value in 0..VALUES {
                            sender.send((number, value)).await.unwrap();
                            if value.is_multiple_of(97) {
                                yield_now().await;
                            }
                        }
                    })
                })
                .collect();
            let thread = std::thread::spawn(move || {
                futures::executor::block_on(async move {
                    for value in 0..VALUES {
                        sender.send((SENDERS, value)).await.unwrap();
                    }
                });
            });
            let mut next = [0; SENDERS + 1];
            while let Some((number, value)) = receiver.recv().await {
                assert_eq!(next[number], value);
                next[number] += 1;
            }
            assert_eq!(next, [VALUES; SENDERS + 1]);
            for task in tasks {
                task.await.unwrap();
            }
            thread.join().unwrap();
        });
    }
}

/// Nobody waits for ever when the receiver goes in the middle.
#[test]
fn the_receiver_goes_while_senders_wait() {
    run(2, async {
        for received in 0..200 {
            let (sender, mut receiver) = channel(2);
            let sender = Arc::new(sender);
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let sender = sender.clone();
                    create_task(async move { while sender.send(1).await.is_ok() {} })
                })
                .collect();
            for _ in 0..received {
                receiver.recv().await.unwrap();
            }
            drop(receiver);
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
}

#[test]
fn the_budget_is_looked_at_first() {
    let (sender, receiver) = channel(10_000);
    (0..10_000).for_each(|number| sender.try_send(number).unwrap());
    let receiver = std::rc::Rc::new(std::cell::RefCell::new((receiver, 0)));
    budget_is_kept(move || {
        let receiver = receiver.clone();
        std::future::poll_fn(move |cx| {
            let (receiver, next) = &mut *receiver.borrow_mut();
            receiver.poll_recv(cx).map(|number| {
                assert_eq!(number, Some(*next));
                *next += 1;
            })
        })
    });

    let (sender, receiver) = channel(10_000);
    budget_is_kept(move || {
        let (sender, _) = (sender.clone(), &receiver);
        async move { sender.send(0).await.unwrap() }
    });
}

#[test]
fn a_receiver_that_was_dropped_left_its_waker_in_the_channel() {
    let (sender, mut receiver) = unbounded_channel::<u8>();
    let woken = Woken::new();
    assert!(woken.poll_pinned(std::pin::pin!(receiver.recv())).is_pending());
    assert_eq!(woken.wakers(), 1);
    drop(receiver);
    assert_eq!(woken.wakers(), 0);
    assert!(sender.send(1).is_err());
}
