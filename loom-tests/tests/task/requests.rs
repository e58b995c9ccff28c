//! Requests to cancel that code in the task answers: `task/cold.rs` and `cancel/wakers.rs`.

use std::sync::Mutex;

use super::*;
use crate::cancel::{Cancellable, RequestId, cancellable};

/// What the outside says to a future that waits in a scope again and again.
#[derive(Clone, Default)]
struct Stop {
    now: Arc<AtomicBool>,
    wakers: Wakers,
}

impl Stop {
    /// Ready after [`tell`](Self::tell).
    fn told(&self) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.clone();
        poll_fn(move |cx| {
            // Relaxed: only the wake orders it.
            if stop.now.load(Relaxed) {
                return Poll::Ready(());
            }
            stop.wakers.0.lock().unwrap().clear();
            stop.wakers.put(cx);
            Poll::Pending
        })
    }

    fn tell(&self) {
        self.now.store(true, Relaxed);
        self.wakers.take().wake();
    }
}

/// Takes requests until it is told to stop.
async fn take_requests(stop: Stop) -> Vec<RequestId> {
    let mut taken = Vec::new();
    while let Err(cancelled) = cancellable(stop.told()).await {
        taken.push(cancelled.request());
    }
    taken
}

fn sorted(mut ids: Vec<RequestId>) -> Vec<RequestId> {
    ids.sort_by_key(|id| format!("{id:?}"));
    ids.dedup();
    ids
}

#[test]
fn each_request_is_delivered_once_under_its_id() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let (shared, stop) = (Shared::new(), Stop::default());
        let task = std::sync::Arc::new(Mutex::new(Some(shared.spawn(take_requests(stop.clone())))));
        shared.work_a_while();
        let handle = task.lock().unwrap().take().expect("nobody took it");
        let handle = Arc::new(handle);
        let other = thread::spawn({
            let handle = handle.clone();
            move || handle.cancel().expect("it is not done")
        });
        let mine = handle.cancel().expect("it is not done");
        shared.work_a_while();
        let other = other.join().unwrap();
        shared.work_a_while();
        assert_eq!(handle.cancelling(), 2);
        stop.tell();
        shared.work();
        let handle = Arc::try_unwrap(handle).expect("the other thread has ended");
        let taken = join(handle).expect("it answered");
        assert_eq!(taken.len(), sorted(taken.clone()).len(), "a request came twice");
        assert_eq!(sorted(taken), sorted(vec![mine, other]));
    });
}

#[test]
fn a_request_that_is_taken_back_is_delivered_or_not_but_leaves_nothing() {
    model(Bounds { small: 2, full: Some(4) }, || {
        let (shared, stop) = (Shared::new(), Stop::default());
        let handle = shared.spawn(take_requests(stop.clone()));
        shared.work_a_while();
        let there_and_back = thread::spawn(move || {
            let request = handle.cancel().expect("it is not done");
            assert_eq!(handle.uncancel(), 0);
            (handle, request)
        });
        shared.work_a_while();
        let (handle, request) = there_and_back.join().unwrap();
        shared.work_a_while();
        stop.tell();
        shared.work();
        let taken = join(handle).expect("it answered");
        assert!(taken.is_empty() || taken == [request]);
    });
}

#[test]
fn an_awaiter_gets_the_value_or_learns_that_it_passed_the_request_on() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let (shared, stop) = (Shared::new(), Stop::default());
        let child = shared.spawn(stop.told());
        let parent = shared.spawn(async move {
            match child.await {
                Ok(()) => None,
                Err(error) => Some(error.passed_on().expect("nobody else cancelled it").request()),
            }
        });
        shared.work_a_while();
        let other = thread::spawn(move || {
            let request = parent.cancel();
            (parent, request)
        });
        shared.work_a_while();
        stop.tell();
        shared.work();
        let (parent, request) = other.join().unwrap();
        let passed_on = join(parent).expect("it answered");
        assert!(passed_on.is_none() || passed_on == request);
    });
}

/// A scope that is polled by one task, with a waker that is not the task's, and dropped elsewhere.
#[test]
fn a_hidden_waiter_leaves_the_list_while_it_is_woken() {
    model(Bounds { small: 2, full: Some(4) }, || {
        type Scope = Pin<Box<Cancellable<std::future::Pending<()>>>>;
        let shared = Shared::new();
        let alarm = Alarm::new();
        let scope: std::sync::Arc<Mutex<Option<Scope>>> =
            std::sync::Arc::new(Mutex::new(Some(Box::pin(cancellable(std::future::pending())))));
        let task = shared.spawn({
            let (scope, hidden) = (scope.clone(), Alarm::waker(&alarm));
            let mut first = true;
            poll_fn(move |_| {
                if std::mem::take(&mut first) {
                    let mut scope = scope.lock().unwrap();
                    let scope = scope.as_mut().expect("nobody took it").as_mut();
                    assert!(scope.poll(&mut Context::from_waker(&hidden)).is_pending());
                }
                Poll::<()>::Pending
            })
        });
        shared.work_a_while();
        let scope = scope.lock().unwrap().take().expect("nobody took it");
        let gone = thread::spawn(move || drop(scope));
        let _ = task.cancel();
        shared.work();
        gone.join().unwrap();
        assert!(join(task).is_err_and(|error| error.is_cancelled()));
        // A waker that was left in the list is found by loom, as a leak.
    });
}
