//! A job for a worker process, as it waits and runs: encoded, with its promise, whatever its types.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::image::Offset;
use super::inside::trampoline::{Trampoline, trampoline, trampoline_each, trampoline_with};
use super::policy::Terms;
use super::transport::body::{self, Body, Source};
use super::transport::wire::Place;
use crate::blob::Blob;
use crate::cancel_token::Askable;
use crate::counters::Counters;
use crate::error::JobError;
use crate::promise::{Outcome, Promise};
use crate::queue::Queued;

/// Arguments up to this size, in bytes, are kept until the job is over.
const KEPT_AT_MOST: usize = 64 * 1024;

/// So many workers may die before they have begun with a job, each by something else.
pub(super) const LOST_WORKERS_AT_MOST: u8 = 3;

/// What a worker is to call.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) trampoline: Offset,
    pub(super) function: Offset,
}

impl Target {
    /// The place of `function`, and of the trampoline that knows its types; none when one of them is
    /// not code of the main program.
    pub(super) fn of<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Option<Target> {
        Self::new(trampoline::<A, R>, function as usize)
    }

    /// As [`of`](Self::of), for a function that is given the worker's state, too.
    pub(super) fn with_state<S: 'static, A: DeserializeOwned, R: Serialize>(
        function: fn(&mut S, A) -> R,
    ) -> Option<Target> {
        Self::new(trampoline_with::<S, A, R>, function as usize)
    }

    /// As [`of`](Self::of), for a function that is called with each of several arguments.
    pub(super) fn of_each<A: DeserializeOwned, R: Serialize>(
        function: fn(A) -> R,
    ) -> Option<Target> {
        Self::new(trampoline_each::<A, R>, function as usize)
    }

    fn new(trampoline: Trampoline, function: usize) -> Option<Target> {
        let trampoline = Offset::of(trampoline as usize)?;
        Some(Target { trampoline, function: Offset::of(function)? })
    }
}

/// What came back for a job.
pub(super) enum Reply {
    /// A value, encoded behind the first `start` bytes of `head`.
    Value {
        head: Vec<u8>,
        start: usize,
        blobs: Vec<Blob>,
    },
    Error(JobError),
}

pub(super) struct RemoteJob {
    pub(super) id: u64,
    pub(super) target: Target,
    pub(super) body: Body,
    pub(super) terms: Terms,
    /// How many workers have died that had it to run next, and had not begun, as they said.
    lost_workers: u8,
    asker: Box<dyn Asker>,
}

impl Reply {
    /// Reads a value that a worker has put into the frame's `tail` or beside, or in `sealed` files that came with it. The
    /// error says in what way it makes no sense.
    pub(super) fn read(
        place: Place,
        tail: &[u8],
        beside: Option<&dyn Source>,
        sealed: &[Blob],
    ) -> Result<Reply, String> {
        let head = match place {
            Place::Tail => tail.to_vec(),
            Place::Beside(span) => body::head(beside.ok_or(body::NO_FILE)?, span)?,
        };
        let (places, value) = body::open(&head)?;
        let start = head.len() - value.len();
        let blobs = body::blobs(beside, &places, sealed)?;
        Ok(Reply::Value { head, start, blobs })
    }

    /// The outcome, decoded.
    pub(super) fn outcome<R: DeserializeOwned>(self) -> Outcome<R> {
        match self {
            Reply::Value { head, start, blobs } => {
                body::decode(&head[start..], blobs).map_err(|why| JobError::codec("result", why))
            }
            Reply::Error(error) => Err(error),
        }
    }
}

impl RemoteJob {
    /// `read` makes the promise's outcome of a reply.
    pub(super) fn new<T: Send + 'static>(
        id: u64,
        target: Target,
        body: Body,
        terms: Terms,
        promise: Promise<T>,
        read: fn(Reply) -> Outcome<T>,
    ) -> Self {
        let asker = Box::new(Asking { promise, read });
        RemoteJob { id, target, body, terms, lost_workers: 0, asker }
    }

    /// To abandon it.
    pub(super) fn as_askable(&self) -> Arc<dyn Askable> {
        self.asker.as_askable()
    }

    /// Lets go of a large argument, of which the worker has its own copy now; unless it may be tried again. Whether the job can still be sent
    /// again.
    pub(super) fn lighten(&mut self) -> bool {
        let is_light = self.body.len() <= KEPT_AT_MOST || self.terms.may_be_repeated();
        if !is_light {
            self.body = Body::default();
        }
        is_light
    }

    /// A worker has died that was to run it next. Whether there have been too many of them to go on believing that they
    /// had not begun.
    pub(super) fn note_lost_worker(&mut self) -> bool {
        self.lost_workers = self.lost_workers.saturating_add(1);
        self.lost_workers > LOST_WORKERS_AT_MOST
    }

    /// Whether nothing but the outcome itself waits for it: no foreign code runs when it is delivered.
    pub(super) fn is_quiet(&self) -> bool {
        self.asker.is_quiet()
    }

    /// Counts and delivers the outcome of a job that was started.
    pub(super) fn settle(self, reply: Reply, counters: &Counters) {
        self.asker.settle(reply, counters);
    }

    /// Delivers the outcome of a job that was never started, unless it was cancelled meanwhile.
    pub(super) fn give_up(self, error: JobError) {
        self.asker.give_up(error);
    }
}

impl Queued for RemoteJob {
    fn start(&self) -> bool {
        self.asker.start()
    }

    fn is_gone(&self) -> bool {
        !self.asker.is_pending()
    }

    fn is_demanding(&self) -> bool {
        self.terms.memory() > 0
    }
}

/// Whoever waits for the job's outcome, whatever its type.
trait Asker: Send {
    fn as_askable(&self) -> Arc<dyn Askable>;
    fn start(&self) -> bool;
    fn is_pending(&self) -> bool;
    fn is_quiet(&self) -> bool;
    fn settle(self: Box<Self>, reply: Reply, counters: &Counters);
    fn give_up(self: Box<Self>, error: JobError);
}

/// A promise, and how its outcome is read from a reply.
struct Asking<T> {
    promise: Promise<T>,
    read: fn(Reply) -> Outcome<T>,
}

impl<T: Send + 'static> Asker for Asking<T> {
    fn as_askable(&self) -> Arc<dyn Askable> {
        self.promise.cell().clone()
    }

    fn start(&self) -> bool {
        self.promise.start()
    }

    fn is_pending(&self) -> bool {
        self.promise.is_pending()
    }

    fn is_quiet(&self) -> bool {
        self.promise.cell().has_no_callbacks()
    }

    fn settle(self: Box<Self>, reply: Reply, counters: &Counters) {
        self.promise.finish_counted((self.read)(reply), counters);
    }

    fn give_up(self: Box<Self>, error: JobError) {
        self.promise.set_exception(error);
    }
}
