//! The step from bytes to a typed call, on the worker's side.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{self, Body};
use super::{panics, policy};
use crate::blob::Blob;
use crate::caught::{drop_caught, text_of};

/// What a job came to, in bytes.
pub(super) enum Answer {
    Value(Body),
    Panicked { message: String, location: Option<String> },
    BadArgument(String),
    BadResult(String),
}

/// What every [`trampoline`] looks like, whatever its types.
pub(super) type Trampoline = unsafe fn(*const (), &[u8], Vec<Blob>) -> Answer;

/// Decodes an `A`, calls `function` with it and encodes the `R`. Nothing gets out but the answer.
///
/// # Safety
/// `function` is a `fn(A) -> R`.
pub(super) unsafe fn trampoline<A, R>(
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
