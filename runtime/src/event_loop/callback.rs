//! Callbacks that wait for their turn, and the handles that cancel them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use loopool_executors::caught::{drop_caught, run_caught};

use super::core::Core;
use crate::shim::Mutex;
use crate::time::TimerKey;

/// A callback of the loop's own thread.
pub(crate) struct Callback {
    function: RefCell<Option<Box<dyn FnOnce()>>>,
    cancelled: Cell<bool>,
}

impl Callback {
    pub(super) fn new(function: impl FnOnce() + 'static) -> Rc<Self> {
        Rc::new(Callback {
            function: RefCell::new(Some(Box::new(function))),
            cancelled: Cell::new(false),
        })
    }

    pub(super) fn call(&self) {
        let function = self.function.borrow_mut().take();
        if let Some(function) = function {
            run_caught("a callback", function);
        }
    }

    /// Drops the function, so that it is never called.
    pub(super) fn cancel(&self) {
        let function = self.function.borrow_mut().take();
        if let Some(function) = function {
            self.cancelled.set(true);
            drop_caught("a cancelled callback", function);
        }
    }
}

/// A callback that another thread has sent.
pub(crate) struct RemoteCallback {
    state: Mutex<RemoteState>,
}

enum RemoteState {
    Waiting(Box<dyn FnOnce() + Send>),
    Called,
    Cancelled,
}

impl RemoteCallback {
    pub(crate) fn new(function: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(RemoteCallback { state: Mutex::new(RemoteState::Waiting(Box::new(function))) })
    }

    pub(super) fn call(&self) {
        if let Some(function) = self.take(RemoteState::Called) {
            run_caught("a callback", function);
        }
    }

    pub(crate) fn cancel(&self) {
        if let Some(function) = self.take(RemoteState::Cancelled) {
            drop_caught("a cancelled callback", function);
        }
    }

    fn take(&self, next: RemoteState) -> Option<Box<dyn FnOnce() + Send>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, RemoteState::Called) {
            RemoteState::Waiting(function) => {
                *state = next;
                Some(function)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(*self.state.lock(), RemoteState::Cancelled)
    }
}

/// A callback that was given to `call_soon`.
///
/// Dropping it does nothing; [`cancel`](Self::cancel) takes the callback back.
pub struct Handle(pub(super) Rc<Callback>);

impl Handle {
    /// Drops the callback, if it has not been called. Even one that is due already is not called.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the callback was cancelled before it was called.
    pub fn cancelled(&self) -> bool {
        self.0.cancelled.get()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("cancelled", &self.cancelled()).finish_non_exhaustive()
    }
}

/// A callback that was given to `call_later` or `call_at`.
pub struct TimerHandle {
    pub(super) callback: Rc<Callback>,
    pub(super) core: Weak<Core>,
    pub(super) when: Instant,
    /// Its number and its place in the wheel; `None` if it never had one.
    pub(super) timer: Option<(usize, TimerKey)>,
}

impl TimerHandle {
    /// Drops the callback and its timer, if it has not been called.
    pub fn cancel(&self) {
        if let (Some(core), Some((number, key))) = (self.core.upgrade(), self.timer)
            && !core.shared().is_forked()
        {
            let mine = core.callback_timers.borrow_mut().remove_if(number, &self.callback);
            if mine {
                core.cancel_callback_timer(key);
            }
        }
        self.callback.cancel();
    }

    /// Whether the callback was cancelled before it was called.
    pub fn cancelled(&self) -> bool {
        self.callback.cancelled.get()
    }

    /// When the callback is due.
    pub fn when(&self) -> Instant {
        self.when
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerHandle")
            .field("when", &self.when)
            .field("cancelled", &self.cancelled())
            .finish_non_exhaustive()
    }
}

/// A callback that was given to `call_soon_threadsafe`.
#[derive(Clone)]
pub struct ThreadsafeCallbackHandle(pub(super) Arc<RemoteCallback>);

impl ThreadsafeCallbackHandle {
    /// Drops the callback, if its call has not begun.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether the callback was cancelled before it was called.
    pub fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl fmt::Debug for ThreadsafeCallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadsafeCallbackHandle")
            .field("cancelled", &self.cancelled())
            .finish_non_exhaustive()
    }
}

/// With no callback left, the memory of so many is kept.
const KEPT: usize = 1024;

/// The callbacks of timers, by number.
#[derive(Default)]
pub(super) struct CallbackTimers {
    callbacks: Vec<Option<Rc<Callback>>>,
    free: Vec<usize>,
}

impl CallbackTimers {
    pub(super) fn insert(&mut self, callback: Rc<Callback>) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.callbacks[number] = Some(callback);
                number
            }
            None => {
                self.callbacks.push(Some(callback));
                self.callbacks.len() - 1
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.callbacks.len() == self.free.len()
    }

    pub(super) fn remove(&mut self, number: usize) -> Option<Rc<Callback>> {
        let callback = self.callbacks.get_mut(number)?.take();
        if callback.is_some() {
            self.free.push(number);
        }
        if self.is_empty() && self.callbacks.capacity() > KEPT {
            *self = CallbackTimers::default();
        }
        callback
    }

    /// Removes the callback if it is still the one of this number.
    fn remove_if(&mut self, number: usize, callback: &Rc<Callback>) -> bool {
        let known = self.callbacks.get(number).and_then(Option::as_ref);
        let same = known.is_some_and(|known| Rc::ptr_eq(known, callback));
        if same {
            self.remove(number);
        }
        same
    }

    pub(super) fn into_callbacks(self) -> impl Iterator<Item = Rc<Callback>> {
        self.callbacks.into_iter().flatten()
    }
}
