//! What a workload may ask of a runtime.
//!
//! | file | holds |
//! |---|---|
//! | `loopool.rs` | ours, with two loops and with one |
//! | `tokio.rs` | tokio's two schedulers |
//! | `smol.rs` | async-executor and async-io, put together as smol does |

mod loopool;
mod smol;
mod tokio;

use std::future::Future;
use std::io;
use std::net;
use std::time::Duration;

use clap::ValueEnum;

pub use self::loopool::Loopool;
pub use self::smol::Smol;
pub use self::tokio::Tokio;

/// Threads of every runtime that has several; the machine that the tables come from has two CPUs.
pub const THREADS: usize = 2;

/// One runtime, running.
pub trait Peer: Sized + 'static {
    /// A socket that takes connections.
    type Listener: Send + Sync + 'static;
    /// A connection.
    type Stream: Send + 'static;

    /// Starts the runtime and its threads.
    ///
    /// # Errors
    /// When the system refuses descriptors or threads.
    fn start() -> io::Result<Self>;

    /// Runs `work` as a task among the runtime's others, so on one of its workers, and waits for it.
    fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Makes a task that goes on even if nobody awaits it; inside a task only.
    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Makes a task that nobody waits for; inside a task only.
    fn spawn_detached(future: impl Future<Output = ()> + Send + 'static);

    /// Lets others run.
    fn yield_now() -> impl Future<Output = ()> + Send;

    /// Waits.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + Send;

    /// Takes a listening socket over; inside a task only.
    ///
    /// # Errors
    /// What the runtime says.
    fn listen(listener: net::TcpListener) -> io::Result<Self::Listener>;

    /// Waits for a connection and turns Nagle's algorithm off.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Reads what there is.
    fn read<'a>(
        stream: &'a mut Self::Stream,
        buffer: &'a mut [u8],
    ) -> impl Future<Output = io::Result<usize>> + Send + 'a;

    /// Writes all of `bytes`.
    fn write_all<'a>(
        stream: &'a mut Self::Stream,
        bytes: &'a [u8],
    ) -> impl Future<Output = io::Result<()>> + Send + 'a;
}

/// The runtimes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Name {
    /// Ours, two loops.
    #[value(name = "loopool")]
    Loopool,
    /// tokio's multi-threaded scheduler, two workers.
    #[value(name = "tokio")]
    TokioMulti,
    /// async-executor and async-io, two threads.
    #[value(name = "smol")]
    Smol,
    /// Ours, one loop.
    #[value(name = "loopool-1")]
    LoopoolOne,
    /// tokio's single-threaded scheduler.
    #[value(name = "tokio-1")]
    TokioCurrent,
    /// No runtime: a plain epoll server with two threads. Echo only.
    #[value(name = "epoll")]
    Epoll,
}

/// Something to do on whichever runtime a [`Name`] stands for.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does it.
    fn on<P: Peer>(self) -> Self::Output;
}

impl Name {
    /// All of them: those that move tasks between threads, then, for information, those with one
    /// thread, and what is no runtime at all.
    pub const ALL: [Name; 6] = [
        Name::Loopool,
        Name::TokioMulti,
        Name::Smol,
        Name::LoopoolOne,
        Name::TokioCurrent,
        Name::Epoll,
    ];

    /// The peers that ours is measured against: they, too, move tasks between threads.
    pub const RIVALS: [Name; 2] = [Name::TokioMulti, Name::Smol];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Name::Loopool => "loopool",
            Name::TokioMulti => "tokio",
            Name::Smol => "smol",
            Name::LoopoolOne => "loopool-1",
            Name::TokioCurrent => "tokio-1",
            Name::Epoll => "epoll",
        }
    }

    /// Whether it has tasks; if not, it serves [`echo`](mod@crate::echo) only.
    pub fn is_runtime(self) -> bool {
        self != Name::Epoll
    }

    /// Does `job` on this runtime.
    ///
    /// # Panics
    /// When it is [none](Self::is_runtime).
    pub fn dispatch<J: Job>(self, job: J) -> J::Output {
        match self {
            Name::Loopool => job.on::<Loopool<THREADS>>(),
            Name::TokioMulti => job.on::<Tokio<true>>(),
            Name::Smol => job.on::<Smol>(),
            Name::LoopoolOne => job.on::<Loopool<1>>(),
            Name::TokioCurrent => job.on::<Tokio<false>>(),
            Name::Epoll => panic!("a plain epoll server runs no tasks"),
        }
    }
}
