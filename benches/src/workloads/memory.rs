//! How many bytes a task takes that waits: a hundred thousand of them, each with a future of 16
//! bytes. Wakers and handles lie in lists that were made before, so only the runtime's own is counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::Sample;
use crate::meter;
use crate::runtimes::Peer;

/// Enough that what is paid once per runtime does not show.
const TASKS: usize = 100_000;

/// So many are made before they get a chance to be polled: else the runtime's queue would be counted
/// as if it had to hold all tasks at once.
const AT_A_TIME: usize = 100;

/// Where the tasks wait.
struct Gate {
    open: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

pub(super) fn measure<P: Peer>(peer: &P) -> Vec<Sample> {
    let bytes = peer.run(run::<P>());
    vec![Sample { figure: "", value: bytes as f64 / TASKS as f64, unit: "bytes" }]
}

async fn run<P: Peer>() -> u64 {
    let waiting = Mutex::new(Vec::with_capacity(TASKS));
    let gate = Arc::new(Gate { open: AtomicBool::new(false), waiting });
    let mut tasks = Vec::with_capacity(TASKS);
    let before = meter::heap_in_use();
    while tasks.len() < TASKS {
        tasks.extend((0..AT_A_TIME).map(|_| P::spawn(Pass { gate: gate.clone(), entered: false })));
        while gate.waiting.lock().expect("nobody panics").len() < tasks.len() {
            P::yield_now().await;
        }
    }
    let bytes = meter::heap_in_use().saturating_sub(before);
    // Release: pairs with the load in `poll`.
    gate.open.store(true, Ordering::Release);
    let waiting = std::mem::take(&mut *gate.waiting.lock().expect("nobody panics"));
    waiting.into_iter().for_each(Waker::wake);
    for task in tasks {
        task.await;
    }
    bytes
}

/// Waits at the gate.
struct Pass {
    gate: Arc<Gate>,
    entered: bool,
}

const _: () = assert!(size_of::<Pass>() == 16);

impl Future for Pass {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Acquire: pairs with the store that opens the gate.
        if self.gate.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut self.entered, true) {
            self.gate.waiting.lock().expect("nobody panics").push(cx.waker().clone());
        }
        Poll::Pending
    }
}
