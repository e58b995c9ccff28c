//! Channels and a semaphore for one thread, from local-sync; what that lacks is smol's: async-lock's
//! mutex, and an event over event-listener.

use std::future::Future;
use std::ops::DerefMut;

use async_lock::Mutex;
use local_sync::mpsc::bounded;
use local_sync::oneshot;
use local_sync::semaphore::Semaphore;

use super::{Monoio, OneThread};
use crate::runtimes::Primitives;
use crate::runtimes::flag::Flag;

impl Primitives for Monoio {
    type OneshotSender = OneThread<Option<oneshot::Sender<u64>>>;
    type OneshotReceiver = OneThread<oneshot::Receiver<u64>>;
    type Sender = OneThread<bounded::Tx<u64>>;
    type Receiver = OneThread<bounded::Rx<u64>>;
    type Mutex = Mutex<u64>;
    type Semaphore = OneThread<Semaphore>;
    type Event = Flag;

    fn oneshot() -> (Self::OneshotSender, Self::OneshotReceiver) {
        let (sender, receiver) = oneshot::channel();
        (OneThread::new(Some(sender)), OneThread::new(receiver))
    }

    fn send_once(mut sender: Self::OneshotSender, number: u64) {
        let sender = sender.take().expect("a sender is taken here only");
        sender.send(number).expect("the receiver is there");
    }

    async fn receive_once(receiver: Self::OneshotReceiver) -> u64 {
        receiver.await.expect("the sender sends")
    }

    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver) {
        let (sender, receiver) = bounded::channel(capacity);
        (OneThread::new(sender), OneThread::new(receiver))
    }

    fn send(sender: &mut Self::Sender, number: u64) -> impl Future<Output = ()> + Send {
        OneThread::new(async move { sender.send(number).await.expect("the receiver is there") })
    }

    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send {
        OneThread::new(receiver.recv())
    }

    fn mutex() -> Mutex<u64> {
        Mutex::new(0)
    }

    fn lock(mutex: &Mutex<u64>) -> impl Future<Output = impl DerefMut<Target = u64> + Send> + Send {
        mutex.lock()
    }

    fn semaphore(permits: usize) -> Self::Semaphore {
        OneThread::new(Semaphore::new(permits))
    }

    fn acquire(semaphore: &Self::Semaphore) -> impl Future<Output = impl Sized + Send> + Send {
        OneThread::new(async {
            OneThread::new(semaphore.acquire().await.expect("the semaphore is not closed"))
        })
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
