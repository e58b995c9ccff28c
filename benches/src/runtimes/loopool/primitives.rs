//! Channels and locks: not there yet, so the workloads that use them leave ours out.

use std::future::{Future, pending};
use std::ops::DerefMut;

use super::Loopool;
use crate::runtimes::Primitives;

const MISSING: &str = "ours has no channels and locks yet";

impl<const LOOPS: usize> Primitives for Loopool<LOOPS> {
    type OneshotSender = ();
    type OneshotReceiver = ();
    type Sender = ();
    type Receiver = ();
    type Mutex = ();
    type Semaphore = ();
    type Event = ();

    fn oneshot() -> ((), ()) {
        unreachable!("{MISSING}")
    }

    fn send_once((): (), _: u64) {}

    fn receive_once((): ()) -> impl Future<Output = u64> + Send {
        pending()
    }

    fn channel(_: usize) -> ((), ()) {
        unreachable!("{MISSING}")
    }

    fn send((): &mut (), _: u64) -> impl Future<Output = ()> + Send {
        pending()
    }

    fn receive((): &mut ()) -> impl Future<Output = Option<u64>> + Send {
        pending()
    }

    fn mutex() {
        unreachable!("{MISSING}")
    }

    fn lock((): &()) -> impl Future<Output = impl DerefMut<Target = u64> + Send> + Send {
        pending::<Box<u64>>()
    }

    fn semaphore(_: usize) {
        unreachable!("{MISSING}")
    }

    fn acquire((): &()) -> impl Future<Output = impl Sized + Send> + Send {
        pending::<()>()
    }

    fn event() {
        unreachable!("{MISSING}")
    }

    fn set((): &()) {}

    fn clear((): &()) {}

    fn wait((): &()) -> impl Future<Output = ()> + Send {
        pending()
    }
}
