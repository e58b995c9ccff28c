//! Channels and locks: tokio's own.

use std::future::Future;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};

use super::Tokio;
use crate::runtimes::Primitives;

/// A flag that many can wait for: tokio's `Notify` tells, and does not remember.
#[derive(Debug, Default)]
pub struct Flag {
    set: AtomicBool,
    changed: Notify,
}

impl Primitives for Tokio {
    type OneshotSender = oneshot::Sender<u64>;
    type OneshotReceiver = oneshot::Receiver<u64>;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;
    type Semaphore = Semaphore;
    type Event = Flag;

    fn oneshot() -> (Self::OneshotSender, Self::OneshotReceiver) {
        oneshot::channel()
    }

    fn send_once(sender: Self::OneshotSender, number: u64) {
        sender.send(number).expect("the receiver is there");
    }

    async fn receive_once(receiver: Self::OneshotReceiver) -> u64 {
        receiver.await.expect("the sender sends")
    }

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel(capacity)
    }

    async fn send(sender: &mut Self::Sender, number: u64) {
        sender.send(number).await.expect("the receiver is there");
    }

    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send {
        receiver.recv()
    }

    fn mutex() -> Mutex<u64> {
        Mutex::new(0)
    }

    fn lock(mutex: &Mutex<u64>) -> impl Future<Output = impl DerefMut<Target = u64> + Send> + Send {
        mutex.lock()
    }

    fn semaphore(permits: usize) -> Semaphore {
        Semaphore::new(permits)
    }

    async fn acquire(semaphore: &Semaphore) -> impl Sized + Send {
        semaphore.acquire().await.expect("the semaphore is not closed")
    }

    fn event() -> Flag {
        Flag::default()
    }

    fn set(event: &Flag) {
        // Release: pairs with the load in `wait`.
        event.set.store(true, Ordering::Release);
        event.changed.notify_waiters();
    }

    fn clear(event: &Flag) {
        // Relaxed: who clears orders it otherwise with those that wait.
        event.set.store(false, Ordering::Relaxed);
    }

    async fn wait(event: &Flag) {
        loop {
            // Made before the flag is looked at: it hears of what is notified from here on.
            let changed = event.changed.notified();
            // Acquire: pairs with the store in `set`.
            if event.set.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }
}
