//! Each task makes the next one and ends.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use crate::runtimes::Peer;

/// Some 100 ms on the fastest runtime.
pub(super) const OPS: u64 = 500_000;

/// One task. Written by hand, because an `async fn` can't contain itself without a box.
struct Link<P> {
    left: u64,
    end: Option<oneshot::Sender<u64>>,
    runtime: PhantomData<fn() -> P>,
}

impl<P: Peer> Future for Link<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let end = self.end.take();
        match (self.left, end) {
            (0, Some(end)) => end.send(self.left).expect("the end is waited for"),
            (_, end) => {
                P::spawn_detached(Link::<P> { left: self.left - 1, end, runtime: PhantomData });
            }
        }
        Poll::Ready(())
    }
}

pub(super) async fn run<P: Peer>(ops: u64) {
    let (end, ended) = oneshot::channel();
    P::spawn_detached(Link::<P> { left: ops - 1, end: Some(end), runtime: PhantomData });
    assert_eq!(ended.await, Ok(0));
}
