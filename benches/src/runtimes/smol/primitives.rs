//! Channels and locks: those of smol's family, and the one-shot channel of the `futures` crate,
//! because the family has none.

use std::future::Future;
use std::ops::DerefMut;

use async_lock::{Mutex, Semaphore};
use futures::channel::oneshot;

use super::Smol;
use crate::runtimes::Primitives;
use crate::runtimes::flag::Flag;

impl Primitives for Smol {
    type OneshotSender = oneshot::Sender<u64>;
    type OneshotReceiver = oneshot::Receiver<u64>;
    type Sender = async_channel::Sender<u64>;
    type Receiver = async_channel::Receiver<u64>;
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
        async_channel::bounded(capacity)
    }

    async fn send(sender: &mut Self::Sender, number: u64) {
        sender.send(number).await.expect("the receiver is there");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await.ok()
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

    fn event() -> Flag {
        Flag::default()
    }

    fn set(event: &Flag) {
        event.set();
    }

    fn clear(event: &Flag) {
        event.clear();
    }

    fn wait(event: &Flag) -> impl Future<Output = ()> + Send {
        event.wait()
    }
}
