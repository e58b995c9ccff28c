//! What other threads want of one loop: a list under a lock, emptied in one go.

use std::sync::Arc;

use crate::event_loop::RemoteCallback;
use crate::shim::Mutex;
use crate::shim::atomic::{AtomicBool, Ordering};
use crate::task::Runnable;

pub(crate) enum Message {
    /// A task of this loop was woken.
    Task(Runnable),
    /// A callback is to be called.
    Callback(Arc<RemoteCallback>),
}

pub(crate) struct Mailbox {
    /// `None` once nobody will read it any more.
    messages: Mutex<Option<Vec<Message>>>,
    /// Set with the first message, cleared when the list is emptied, both under the lock. Read
    /// without it, by the owner, who sees its own clearing and, at the latest in the look that
    /// follows the park's fence, every setting.
    some: AtomicBool,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Mailbox { messages: Mutex::new(Some(Vec::new())), some: AtomicBool::new(false) }
    }

    /// The caller notifies the owner after this. A closed mailbox hands the message back.
    pub(crate) fn push(&self, message: Message) -> Result<(), Message> {
        let mut messages = self.messages.lock();
        let Some(messages) = &mut *messages else { return Err(message) };
        messages.push(message);
        // Release: pairs with the Acquire in `is_empty`.
        self.some.store(true, Ordering::Release);
        Ok(())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.some.load(Ordering::Acquire)
    }

    /// Exchanges the messages for `empty`.
    pub(crate) fn swap(&self, empty: &mut Vec<Message>) {
        debug_assert!(empty.is_empty());
        let mut messages = self.messages.lock();
        if let Some(messages) = &mut *messages {
            std::mem::swap(messages, empty);
        }
        self.some.store(false, Ordering::Relaxed);
    }

    /// Takes no more messages; those that are there come back.
    #[must_use = "drop them without the lock"]
    pub(crate) fn close(&self) -> Vec<Message> {
        self.messages.lock().take().unwrap_or_default()
    }
}
