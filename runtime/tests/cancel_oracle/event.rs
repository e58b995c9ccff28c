//! What can be seen of a run, in the real thing and in the model alike.

/// Where a flow suspends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Leaf,
    /// The clean-up of the level at this depth.
    CleanUp(usize),
    /// After all levels.
    Tail,
}

/// `R` names a request: by its place in the model, by its id in the real thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<R> {
    /// The root was cancelled from outside.
    Asked(Option<R>),
    Polled(Place),
    Finished(Place),
    Dropped(Place),
    /// The level at this depth was given the request, when `cancelling()` was so much.
    Took(usize, R, usize),
    /// The scope in the clean-up of the level at this depth.
    CleanUpTook(usize, R, usize),
    TimedOut(usize, usize),
    /// The awaited task was cancelled, but not by its awaiter.
    Stranger(usize),
    /// The root is done, and whether with its value.
    Ended(bool),
}
