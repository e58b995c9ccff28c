//! Channels and locks: our own.

use std::future::Future;
use std::ops::DerefMut;

use loopool::sync::{Event, Mutex, Semaphore, mpsc, oneshot};

use super::Loopool;
use crate::runtimes::Primitives;

impl Primitives for Loopool {
    type OneshotSender = oneshot::Sender<u64>;
    type OneshotReceiver = oneshot::Receiver<u64>;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;
    type Semaphore = Semaphore;
    type Event = Event;

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

    fn acquire(semaphore: &Semaphore) -> impl Future<Output = impl Sized + Send> + Send {
        semaphore.acquire()
    }

    fn event() -> Event {
        Event::new()
    }

    fn set(event: &Event) {
        event.set();
    }

    fn clear(event: &Event) {
        event.clear();
    }

    async fn wait(event: &Event) {
        event.wait().await;
    }
}
