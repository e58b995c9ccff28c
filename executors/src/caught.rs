//! Foreign code on threads that must live on: destructors, callbacks, wakers.
//!
//! The payload of a panic is foreign, too, and so is whoever listens to `tracing`: each is dropped or
//! told caught, and one after the other, because a panic during another one's unwinding would abort.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::panic_message;

/// Runs `code`; a panic is reported as `what` and goes no further.
#[inline]
pub fn run_caught(what: &str, code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        report_panic(what, payload);
    }
}

/// Drops a value, whatever its destructor does.
#[inline]
pub fn drop_caught<T>(what: &str, value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        bury(payload, |panic| tracing::error!(panic, "the destructor of {what} panicked"));
    }
}

/// Drops values one by one: two destructors that panic in one unwinding would abort the program.
pub fn drop_each_caught<T>(what: &str, values: impl IntoIterator<Item = T>) {
    values.into_iter().for_each(|value| drop_caught(what, value));
}

/// Says something through `tracing`: whoever listens is foreign code.
pub fn tell(report: impl FnOnce()) {
    run_caught("a subscriber of `tracing`", report);
}

/// Reports a panic that no handle can carry, and drops its payload.
#[cold]
pub fn report_panic(what: &str, payload: Box<dyn Any + Send>) {
    bury(payload, |panic| tracing::error!(panic, "{what} panicked"));
}

/// The text of a panic that was caught.
pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = panic_message(&*payload).to_owned();
    bury(payload, |_| ());
    text
}

/// Tells of a panic and drops its payload.
fn bury(payload: Box<dyn Any + Send>, report: impl FnOnce(&str)) {
    swallow(|| report(panic_message(&*payload)));
    swallow(|| drop(payload));
}

/// What this panics with is leaked, because its destructor might panic, too, and so on without end.
fn swallow(code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        std::mem::forget(payload);
    }
}
