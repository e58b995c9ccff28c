//! The channel for one value, as it ships: the value arrives once or is handed back, whoever waits is woken,
//! and the memory is freed once, after both ends are done with it.

/// The room under its own name, because the files say `crate::sync`.
#[path = "."]
mod sync {
    #[allow(dead_code, unreachable_pub, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/error.rs"]
    pub(crate) mod error;
    #[allow(dead_code, unreachable_pub, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/oneshot/mod.rs"]
    pub(crate) mod oneshot;
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

include!("sync/outside.rs");

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, Drops, Token, model, shim};

use self::sync::oneshot::{Receiver, RecvError, Sender, TryRecvError, channel};

const BOUNDS: Bounds = Bounds { small: 3, full: None };

fn poll<T>(receiver: &mut Receiver<T>, alarm: &Arc<Alarm>) -> Poll<Result<T, RecvError>> {
    let waker: Waker = Alarm::waker(alarm);
    Pin::new(receiver).poll(&mut Context::from_waker(&waker))
}

fn recv<T>(mut receiver: Receiver<T>) -> Result<T, RecvError> {
    let alarm = Alarm::new();
    loop {
        match poll(&mut receiver, &alarm) {
            Poll::Ready(result) => return result,
            Poll::Pending => alarm.wait(),
        }
    }
}

fn wait_until_closed<T>(sender: &mut Sender<T>) {
    let alarm = Alarm::new();
    let waker = Alarm::waker(&alarm);
    while sender.poll_closed(&mut Context::from_waker(&waker)).is_pending() {
        alarm.wait();
    }
}

#[test]
fn the_value_arrives() {
    model(BOUNDS, || {
        let drops = Drops::default();
        let (sender, receiver) = channel::<Token>();
        let token = drops.token();
        let sending = thread::spawn(move || assert!(sender.send(token).is_ok()));
        let token = recv(receiver).unwrap();
        assert_eq!(drops.count(), 0);
        drop(token);
        sending.join().unwrap();
        assert_eq!(drops.count(), 1);
    });
}

/// Only the last waker counts, and the one before it is dropped.
#[test]
fn the_last_one_to_poll_is_woken() {
    model(BOUNDS, || {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || assert!(sender.send(1).is_ok()));
        let (first, second) = (Alarm::new(), Alarm::new());
        let mut polled = poll(&mut receiver, &first);
        if polled.is_pending() {
            polled = poll(&mut receiver, &second);
            if polled.is_pending() {
                second.wait();
                polled = poll(&mut receiver, &second);
            }
        }
        assert_eq!(polled, Poll::Ready(Ok(1)));
        drop(receiver);
        sending.join().unwrap();
        assert!(first.rings() + second.rings() <= 1);
    });
}

#[test]
fn the_end_of_the_sender_is_heard() {
    model(BOUNDS, || {
        let (sender, receiver) = channel::<Token>();
        let dropping = thread::spawn(move || drop(sender));
        assert!(recv(receiver).is_err());
        dropping.join().unwrap();
    });
}

#[test]
fn a_value_that_nobody_receives_is_dropped_once_or_handed_back() {
    model(BOUNDS, || {
        let drops = Drops::default();
        let (sender, mut receiver) = channel::<Token>();
        let token = drops.token();
        let sending = thread::spawn(move || sender.send(token).map_err(drop));
        // Its waker goes with it.
        let waited = poll(&mut receiver, &Alarm::new());
        drop(receiver);
        let sent = sending.join().unwrap();
        assert!(sent.is_ok() || waited.is_pending());
        drop(waited);
        assert_eq!(drops.count(), 1);
    });
}

#[test]
fn the_value_is_with_one_side_after_the_channel_was_closed() {
    model(BOUNDS, || {
        let (sender, mut receiver) = channel();
        let sending = thread::spawn(move || sender.send(1).is_ok());
        receiver.close();
        let received = receiver.try_recv();
        assert_ne!(received, Err(TryRecvError::Empty));
        drop(receiver);
        assert_eq!(sending.join().unwrap(), received.is_ok());
    });
}

#[test]
fn the_end_of_the_receiver_is_heard() {
    model(BOUNDS, || {
        let (mut sender, receiver) = channel();
        let dropping = thread::spawn(move || drop(receiver));
        wait_until_closed(&mut sender);
        assert_eq!(sender.send(1), Err(1));
        dropping.join().unwrap();
    });
}

/// A sender that has waited leaves its waker behind when it sends.
#[test]
fn both_sides_wait() {
    model(BOUNDS, || {
        let (mut sender, receiver) = channel();
        let sending = thread::spawn(move || {
            let waker = Alarm::waker(&Alarm::new());
            assert!(sender.poll_closed(&mut Context::from_waker(&waker)).is_pending());
            assert!(sender.send(1).is_ok());
        });
        assert_eq!(recv(receiver), Ok(1));
        sending.join().unwrap();
    });
}
