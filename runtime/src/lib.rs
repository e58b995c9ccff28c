//! An event loop per core with work stealing, and pools of threads and of processes behind one
//! interface: asyncio and `concurrent.futures`, designed again for Rust and for many cores.
//!
//! ```
//! use std::time::Duration;
//!
//! let sum = loopool::run(async {
//!     let left = loopool::create_task(async {
//!         loopool::sleep(Duration::from_millis(5)).await;
//!         1
//!     });
//!     let right = loopool::to_thread(|| 2);
//!     left.await.unwrap() + right.await.unwrap()
//! });
//! assert_eq!(sum, 3);
//! ```
//!
//! | to | use |
//! |---|---|
//! | run a program | [`run`], [`Runtime`], [`EventLoop`] |
//! | do things at the same time | [`create_task`], [`create_local_task`], [`spawn_on`], [`Task`] |
//! | wait | [`sleep`], [`timeout`], [`yield_now`] |
//! | end things, and clean up after them | [`Task::cancel`], [`cancellable`], [`Cancelled::reraise`], [`protect`], [`shield`] |
//! | talk to the network | [`net`] |
//! | talk to other tasks, and wait for them | [`sync`] |
//! | call later, from here or from other threads | [`get_running_loop`], [`ThreadsafeHandle`] |
//! | take work off the loop | [`to_thread`], [`run_in_executor`], [`ThreadPoolExecutor`], [`CpuExecutor`], [`ProcessPoolExecutor`] |
//! | have a thread or a process, and end well | [`Thread`], [`Process`], [`exit`](exit()), [`register_at_exit`] |
//! | hear of signals | [`signal`] |

mod bounds;
mod bridge;
mod cancel;
mod context;
mod event_loop;
mod fork;
#[cfg(not(target_pointer_width = "64"))]
compile_error!("loopool is made for systems with 64-bit addresses: tokens and clocks count on it");

#[cfg(feature = "hyper")]
pub mod hyper_rt;
mod metrics;
pub mod net;
mod placement;
mod reactor;
mod runtime;
mod scheduler;
mod short_lock;
pub mod signal;
mod spawn;
pub mod sync;
mod task;
mod time;

pub use loopool_executors::*;

pub use bridge::{run_in_executor, set_default_executor, to_thread};
pub use cancel::{
    Cancellable, Cancelled, Isolate, Never, Protect, RequestId, Reraise, Shield, Shieldable,
    cancellable, cancelling, isolate, protect, shield, uncancel,
};
pub use event_loop::{
    EventLoop, Handle, LoopClosed, LoopHandle, RunError, ThreadsafeCallbackHandle,
    ThreadsafeHandle, TimerHandle, block_in_place, get_running_loop, try_get_running_loop,
};
pub use fork::Forked;
pub use metrics::{LoopMetrics, PollTimes, RuntimeMetrics};
pub use placement::NoSuchLoop;
pub use runtime::{
    LeftTask, Runtime, RuntimeBuilder, ShutdownJobs, ShutdownPolicy, ShutdownReport, run,
};
pub use scheduler::Stuck;
pub use spawn::{
    YieldNow, create_local_task, create_task, metrics, spawn, spawn_on, spawn_on_each, yield_now,
};
pub use task::{JoinError, Task};
pub use time::{
    CancelCause, Sleep, Timeout, TimeoutError, TryTimeout, sleep, sleep_until, timeout, timeout_at,
    try_timeout,
};

/// The examples of the front page are tested, too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
