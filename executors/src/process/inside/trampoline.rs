//! The step from bytes to a typed call, on the worker's side.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::panics;
use crate::blob::Blob;
use crate::cancel_token::Heeded;
use crate::caught::{drop_caught, text_of};
use crate::process::policy::{self, with_state};
use crate::process::submission::ItemOutcome;
use crate::process::transport::body::{self, Body};
use crate::process::transport::wire::clip;

/// What a job came to, in bytes.
pub(crate) enum Answer {
    Value(Body),
    Panicked { message: String, location: Option<String> },
    BadArgument(String),
    BadResult(String),
}

/// What every [`trampoline`] looks like, whatever its types.
pub(crate) type Trampoline = unsafe fn(*const (), &[u8], Vec<Blob>) -> Answer;

/// Decodes an `A`, calls `function` with it and encodes the `R`. Nothing gets out but the answer.
///
/// # Safety
/// `function` is a `fn(A) -> R`.
pub(crate) unsafe fn trampoline<A, R>(
    function: *const (),
    argument: &[u8],
    blobs: Vec<Blob>,
) -> Answer
where
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function) };
    answer(argument, blobs, function)
}

/// As [`trampoline`], with the worker's state.
///
/// # Safety
/// `function` is a `fn(&mut S, A) -> R`.
pub(crate) unsafe fn trampoline_with<S, A, R>(
    function: *const (),
    argument: &[u8],
    blobs: Vec<Blob>,
) -> Answer
where
    S: 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<*const (), fn(&mut S, A) -> R>(function) };
    answer(argument, blobs, |argument| with_state(|state| function(state, argument)))
}

/// As [`trampoline`], for each of several items: what one comes to does not touch the others.
///
/// # Safety
/// `function` is a `fn(A) -> R`.
pub(crate) unsafe fn trampoline_each<A, R>(
    function: *const (),
    argument: &[u8],
    blobs: Vec<Blob>,
) -> Answer
where
    A: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function) };
    let item = |item: A| -> ItemOutcome<R> {
        panics::forget();
        catch_unwind(AssertUnwindSafe(|| function(item))).map_err(|payload| {
            if payload.is::<Heeded>() {
                // The whole job is to end.
                std::panic::resume_unwind(payload);
            }
            let location = panics::location();
            (clip(text_of(payload)), location.map(clip))
        })
    };
    answer(argument, blobs, |items: Vec<A>| items.into_iter().map(item).collect::<Vec<_>>())
}

fn answer<A, R>(argument: &[u8], blobs: Vec<Blob>, function: impl FnOnce(A) -> R) -> Answer
where
    A: DeserializeOwned,
    R: Serialize,
{
    let argument = match body::decode::<A>(argument, blobs) {
        Ok(argument) => argument,
        Err(why) => return Answer::BadArgument(why),
    };
    panics::forget();
    let ended = catch_unwind(AssertUnwindSafe(|| policy::as_job(|| function(argument))));
    policy::job_is_over();
    match ended {
        Ok(result) => {
            let encoded = Body::encode(&result);
            drop_caught("a job's result", result);
            encoded.map_or_else(Answer::BadResult, Answer::Value)
        }
        Err(payload) => {
            // Asked first: the payload's destructor may panic, too.
            let location = panics::location();
            Answer::Panicked { message: text_of(payload), location }
        }
    }
}
