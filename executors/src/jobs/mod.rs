//! More than one job: [`wait`] for enough of them, take them one by one [`as_completed`], or [`map`] a function
//! over items.
//!
//! `concurrent.futures` for Python's users. [`wait`] and [`as_completed`] take the jobs and give them back: so
//! nobody else waits for one meanwhile, and none comes twice.
//!
//! | Python's `map` | this one |
//! |---|---|
//! | takes all items at once, unless there is a `buffersize` | takes them as results are taken, so endless ones too |
//! | ends with the first exception | gives an error in that item's place, and goes on for who does |
//! | an exception loses the other results of its chunk | costs its own item |
//! | blocks | blocks, or is awaited |

mod map;
mod several;

pub use self::map::{Chunk, Map, MapCalls, MapIter, map, map_calls};
pub use self::several::{
    AsCompleted, AsCompletedIter, AsCompletedTimeout, DoneAndNotDone, ReturnWhen, Unfinished,
    as_completed, wait,
};
