//! More than one job: [`wait`] for enough of them, take them one by one [`as_completed`], or [`map`] a function
//! over items.
//!
//! `concurrent.futures` for Python's users. [`wait`] and [`as_completed`] take the jobs and give them back: so
//! nobody else waits for one meanwhile, and none comes twice. What Python leaves out when it comes again does not
//! compile here:
//!
//! ```compile_fail,E0382
//! # use loopool_executors::{Promise, jobs::as_completed};
//! let (promise, job) = Promise::<u8>::new();
//! assert_eq!(as_completed([job, job]).into_jobs().len(), 2);
//! ```
//!
//! ```compile_fail,E0382
//! # use loopool_executors::{Promise, jobs::{ReturnWhen, wait}};
//! let (promise, job) = Promise::<u8>::new();
//! let waited = wait([job, job], std::time::Duration::ZERO, ReturnWhen::AllCompleted);
//! assert_eq!(waited.not_done.len(), 2);
//! ```
//!
//! ```compile_fail,E0599
//! # use loopool_executors::{Promise, jobs::as_completed};
//! let (promise, job) = Promise::<u8>::new();
//! assert_eq!(as_completed([job.clone(), job]).into_jobs().len(), 2);
//! ```
//!
//! Two jobs do:
//!
//! ```
//! # use loopool_executors::{Promise, jobs::{ReturnWhen, as_completed, wait}};
//! let ((promise, job), (another_promise, another)) = (Promise::<u8>::new(), Promise::new());
//! let waited = wait([job, another], std::time::Duration::ZERO, ReturnWhen::AllCompleted);
//! assert_eq!(waited.not_done.len(), 2);
//! assert_eq!(as_completed(waited.not_done).into_jobs().len(), 2);
//! ```
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
