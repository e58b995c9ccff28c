//! Foreign code on threads that must live on: destructors, callbacks, wakers.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::panic_message;

/// Runs `code`; a panic is reported as `what` and goes no further.
pub(crate) fn run_caught(what: &str, code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        let report = |panic: &str| tracing::error!(panic, "{what} panicked");
        bury(payload, report);
    }
}

/// Drops a value, whatever its destructor does.
pub(crate) fn drop_caught<T>(value: T) {
    run_caught("the destructor of something a job left behind", || drop(value));
}

/// Drops values one by one: two destructors that panic in one unwinding would abort the program.
pub(crate) fn drop_each_caught<T>(values: impl IntoIterator<Item = T>) {
    values.into_iter().for_each(drop_caught);
}

/// The text of a panic that was caught.
pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = panic_message(&*payload).to_owned();
    bury(payload, |_| ());
    text
}

/// Tells of a panic and drops its payload. Both are foreign code, too. What *they* panic with is
/// leaked, because its destructor might do the same, and so on without end.
fn bury(payload: Box<dyn Any + Send>, report: impl FnOnce(&str)) {
    let told = AssertUnwindSafe(move || {
        report(panic_message(&*payload));
        drop(payload);
    });
    if let Err(second) = catch_unwind(told) {
        std::mem::forget(second);
    }
}
