//! What tasks may use to talk to each other and to wait for each other: each runtime's own.

use std::future::Future;
use std::ops::DerefMut;

/// Channels and locks that go with one runtime.
pub trait Primitives: 'static {
    /// Sends one number.
    type OneshotSender: Send + 'static;
    /// Receives it.
    type OneshotReceiver: Send + 'static;
    /// Sends many numbers.
    type Sender: Clone + Send + 'static;
    /// Receives them.
    type Receiver: Send + 'static;
    /// A number that one task at a time may touch.
    type Mutex: Send + Sync + 'static;
    /// So many may hold it at a time.
    type Semaphore: Send + Sync + 'static;
    /// A flag that many can wait for.
    type Event: Send + Sync + 'static;

    /// A channel for one number.
    fn oneshot() -> (Self::OneshotSender, Self::OneshotReceiver);
    /// Sends the number; the receiver is there.
    fn send_once(sender: Self::OneshotSender, number: u64);
    /// Waits for the number; the sender is not dropped before.
    fn receive_once(receiver: Self::OneshotReceiver) -> impl Future<Output = u64> + Send;

    /// A channel that holds so many numbers.
    fn channel(capacity: usize) -> (Self::Sender, Self::Receiver);
    /// Sends a number, and waits while there is no room; the receiver is there.
    fn send(sender: &mut Self::Sender, number: u64) -> impl Future<Output = ()> + Send;
    /// Waits for a number; there is none once all senders are gone.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;

    /// A lock around zero.
    fn mutex() -> Self::Mutex;
    /// Waits for the lock.
    fn lock(mutex: &Self::Mutex)
    -> impl Future<Output = impl DerefMut<Target = u64> + Send> + Send;

    /// A semaphore with so many permits.
    fn semaphore(permits: usize) -> Self::Semaphore;
    /// Waits for a permit, which goes back when it is dropped.
    fn acquire(semaphore: &Self::Semaphore) -> impl Future<Output = impl Sized + Send> + Send;

    /// A flag that is not set.
    fn event() -> Self::Event;
    /// Sets it and wakes all that wait.
    fn set(event: &Self::Event);
    /// Takes it back.
    fn clear(event: &Self::Event);
    /// Waits until it is set.
    fn wait(event: &Self::Event) -> impl Future<Output = ()> + Send;
}
