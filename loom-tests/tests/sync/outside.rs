// What the files of the room expect of the rest of the runtime; included where a crate has its root.

/// Stand-in: no model has a panic in it, so one that was caught is loom's.
mod error {
    pub(crate) fn panic_message(_: &(dyn std::any::Any + Send)) -> &str {
        "caught"
    }
}

/// Stand-in: no budget here.
mod context {
    use std::task::{Context, Poll};

    pub(crate) fn within_budget<T>(
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        poll(cx)
    }
}
