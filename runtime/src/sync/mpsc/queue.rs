//! What senders and receiver share.
//!
//! # Protocol
//! 1. Senders put values into an inbox under a lock. The receiver exchanges the whole inbox for an empty
//!    one, and then takes value after value without a lock: one lock for as many as have come meanwhile.
//! 2. The receiver leaves its waker in the inbox when it finds it empty, with the lock held. Whoever puts
//!    something in, or ends the channel, takes it out and wakes. So the receiver is woken only if it waits,
//!    and once.
//! 3. In a bounded channel a value has a permit from before it is put in until it is received: they are
//!    what senders wait for.
//! 4. Nothing is put into an inbox that is closed; the receiver closes it, at the latest when it is dropped.
//!    So what is left then is all there is.
//!
//! Wakers and values are dropped, and wakers cloned, without the lock.
//!
//! Modelled in `loom-tests/tests/mpsc.rs`.

use std::collections::VecDeque;
use std::mem;
use std::task::Waker;

use loopool_executors::caught::{drop_caught, run_caught};

use crate::shim::Mutex;
use crate::sync::permits::Permits;

pub(super) struct Queue<T> {
    inbox: Mutex<Inbox<T>>,
    /// Of a bounded channel.
    pub(super) room: Option<Permits>,
}

struct Inbox<T> {
    values: VecDeque<T>,
    receiver: Option<Waker>,
    senders: usize,
    closed: bool,
}

/// Room for so many values is kept while the receiver waits.
const KEPT: usize = 256;

/// What the receiver found in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Values; the inbox is empty now.
    Values,
    Nothing,
    /// Nothing, and nothing will come.
    End,
}

impl<T> Queue<T> {
    /// With one sender.
    #[track_caller]
    pub(super) fn new(capacity: Option<usize>) -> Self {
        let inbox = Inbox { values: VecDeque::new(), receiver: None, senders: 1, closed: false };
        Queue { inbox: Mutex::new(inbox), room: capacity.map(Permits::new) }
    }

    /// Puts a value in, or hands it back if the channel is closed.
    #[inline]
    pub(super) fn push(&self, value: T) -> Result<(), T> {
        let receiver;
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed {
                return Err(value);
            }
            inbox.values.push_back(value);
            receiver = inbox.receiver.take();
        }
        wake(receiver);
        Ok(())
    }

    /// Exchanges what has come for `empty`.
    pub(super) fn take(&self, empty: &mut VecDeque<T>) -> Found {
        self.inbox.lock().exchange(empty)
    }

    /// As [`take`](Self::take). If there is nothing, `waker` is left, and large buffers are freed.
    pub(super) fn take_or_wait(&self, empty: &mut VecDeque<T>, waker: Waker) -> Found {
        let mut inbox = self.inbox.lock();
        let found = inbox.exchange(empty);
        let mut unused = Some(waker);
        let mut large = VecDeque::new();
        if found == Found::Nothing {
            unused = mem::replace(&mut inbox.receiver, unused);
            if inbox.values.capacity() > KEPT {
                mem::swap(&mut inbox.values, &mut large);
            }
        }
        drop(inbox);
        if found == Found::Nothing && empty.capacity() > KEPT {
            *empty = VecDeque::new();
        }
        drop_caught("a waker", unused);
        found
    }

    /// How many values are in the inbox.
    pub(super) fn len(&self) -> usize {
        self.inbox.lock().values.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    pub(super) fn close(&self) {
        self.inbox.lock().closed = true;
        if let Some(room) = &self.room {
            room.close();
        }
    }

    /// The receiver has gone, and waits no more.
    pub(super) fn forget_receiver(&self) {
        let receiver = self.inbox.lock().receiver.take();
        drop_caught("a waker", receiver);
    }

    pub(super) fn add_sender(&self) {
        self.inbox.lock().senders += 1;
    }

    pub(super) fn remove_sender(&self) {
        let receiver;
        {
            let mut inbox = self.inbox.lock();
            inbox.senders -= 1;
            receiver = if inbox.senders == 0 { inbox.receiver.take() } else { None };
        }
        wake(receiver);
    }
}

impl<T> Inbox<T> {
    fn exchange(&mut self, empty: &mut VecDeque<T>) -> Found {
        debug_assert!(empty.is_empty());
        if !self.values.is_empty() {
            mem::swap(&mut self.values, empty);
            Found::Values
        } else if self.closed || self.senders == 0 {
            Found::End
        } else {
            Found::Nothing
        }
    }
}

fn wake(receiver: Option<Waker>) {
    if let Some(receiver) = receiver {
        run_caught("the waker of a channel's receiver", || receiver.wake());
    }
}
