//! The channel with many senders, as it ships: each value is received once or handed back, in order, and the
//! receiver is woken when it waits.

/// The room under its own name, because the files say `crate::sync`.
#[path = "."]
mod sync {
    #[allow(dead_code, unreachable_pub, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/error.rs"]
    pub(crate) mod error;
    #[allow(dead_code, unreachable_pub, unused_imports, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/mpsc/mod.rs"]
    pub(crate) mod mpsc;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/permits/mod.rs"]
    pub(crate) mod permits;
    #[allow(dead_code, reason = "the models use a part")]
    #[path = "../../runtime/src/sync/waiters.rs"]
    mod waiters;
}

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

include!("sync/outside.rs");

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, Drops, model, shim};

use self::sync::mpsc::{channel, unbounded_channel};

const BOUNDS: Bounds = Bounds { small: 2, full: Some(3) };

fn block_on<F: Future>(future: F) -> F::Output {
    let alarm = Alarm::new();
    let mut future = pin!(future);
    loop {
        let waker = Alarm::waker(&alarm);
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => alarm.wait(),
        }
    }
}

#[test]
fn every_value_arrives_once_and_in_order_and_then_the_end() {
    model(BOUNDS, || {
        let (sender, mut receiver) = unbounded_channel();
        let other = sender.clone();
        let sending = [(sender, 1), (other, 3)].map(|(sender, first)| {
            thread::spawn(move || {
                assert!(sender.send(first).is_ok());
                assert!(sender.send(first + 1).is_ok());
            })
        });
        let mut received = Vec::new();
        while let Some(number) = block_on(receiver.recv()) {
            received.push(number);
        }
        let place = |number| received.iter().position(|received| *received == number).unwrap();
        assert!(place(1) < place(2) && place(3) < place(4));
        assert_eq!(received.len(), 4);
        sending.into_iter().for_each(|sending| sending.join().unwrap());
    });
}

#[test]
fn a_full_channel_makes_the_sender_wait() {
    model(BOUNDS, || {
        let (sender, mut receiver) = channel(1);
        let sending = thread::spawn(move || {
            for number in 0..3 {
                assert!(block_on(sender.send(number)).is_ok());
            }
        });
        for number in 0..3 {
            assert!(receiver.len() <= 1);
            assert_eq!(block_on(receiver.recv()), Some(number));
        }
        assert_eq!(block_on(receiver.recv()), None);
        sending.join().unwrap();
    });
}

#[test]
fn a_value_is_received_or_handed_back_when_the_channel_is_closed() {
    model(BOUNDS, || {
        let (sender, mut receiver) = unbounded_channel();
        let sending = thread::spawn(move || sender.send(1).is_ok());
        receiver.close();
        let received = block_on(receiver.recv());
        assert_eq!(block_on(receiver.recv()), None);
        assert_eq!(sending.join().unwrap(), received.is_some());
    });
}

#[test]
fn the_end_of_the_receiver_drops_what_is_left_and_wakes_who_waits() {
    model(BOUNDS, || {
        let drops = Drops::default();
        let (sender, receiver) = channel(1);
        let tokens = [drops.token(), drops.token()];
        let sending = thread::spawn(move || {
            let results = tokens.map(|token| block_on(sender.send(token)).is_ok());
            assert!(!results[1], "there was never room for two");
        });
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(drops.count(), 2);
    });
}
