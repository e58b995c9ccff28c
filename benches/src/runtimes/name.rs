//! The runtimes by name.

use clap::ValueEnum;

use super::{Loopool, Monoio, Peer, Smol, THREADS, Tokio};

/// Who takes part.
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
    /// No async runtime: a pool for fork-join and for jobs, two threads.
    #[value(name = "rayon")]
    Rayon,
    /// No async runtime either: CPython's `ThreadPoolExecutor` and `ProcessPoolExecutor`, in a process of its
    /// own.
    #[value(name = "cpython")]
    CPython,
    /// Python's other pool of processes, that of joblib. Pools of processes only.
    #[value(name = "loky")]
    Loky,
    /// The third one, in which a process that dies costs one job. Pools of processes only.
    #[value(name = "pebble")]
    Pebble,
    /// Rust's. Pools of processes only.
    #[value(name = "procspawn")]
    Procspawn,
    /// Ours, one loop.
    #[value(name = "loopool-1")]
    LoopoolOne,
    /// tokio's single-threaded scheduler.
    #[value(name = "tokio-1")]
    TokioCurrent,
    /// monoio, which never moves a task to another thread; one thread.
    #[value(name = "monoio-1")]
    Monoio,
    /// No runtime: a plain epoll server with two threads. Requests over TCP only.
    #[value(name = "epoll")]
    Epoll,
    /// No pool: two processes with a pair of sockets.
    #[value(name = "socketpair")]
    SocketPair,
    /// No pool: two processes with shared memory.
    #[value(name = "ring")]
    Ring,
}

/// Something to do on whichever runtime a [`Name`] stands for.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does it, with so many threads.
    fn on<P: Peer>(self, threads: usize) -> Self::Output;
}

impl Name {
    /// All of them: those that move work between threads, then, for information, those with one
    /// thread, and what is no runtime at all.
    pub const ALL: [Name; 14] = [
        Name::Loopool,
        Name::TokioMulti,
        Name::Smol,
        Name::Rayon,
        Name::CPython,
        Name::Loky,
        Name::Pebble,
        Name::Procspawn,
        Name::LoopoolOne,
        Name::TokioCurrent,
        Name::Monoio,
        Name::Epoll,
        Name::SocketPair,
        Name::Ring,
    ];

    /// The peers that ours is measured against: they, too, have several threads, or processes, to do the work.
    pub const RIVALS: [Name; 7] = [
        Name::TokioMulti,
        Name::Smol,
        Name::Rayon,
        Name::CPython,
        Name::Loky,
        Name::Pebble,
        Name::Procspawn,
    ];

    /// What does the work, or a part of it, with the system's means alone. At most one of them is in a row.
    pub const FLOORS: [Name; 2] = [Name::Epoll, Name::SocketPair];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Name::Loopool => "loopool",
            Name::TokioMulti => "tokio",
            Name::Smol => "smol",
            Name::Rayon => "rayon",
            Name::CPython => "cpython",
            Name::Loky => "loky",
            Name::Pebble => "pebble",
            Name::Procspawn => "procspawn",
            Name::LoopoolOne => "loopool-1",
            Name::TokioCurrent => "tokio-1",
            Name::Monoio => "monoio-1",
            Name::Epoll => "epoll",
            Name::SocketPair => "socketpair",
            Name::Ring => "ring",
        }
    }

    /// Whether the table says who wins: ours, and those that it is measured against.
    pub fn is_ranked(self) -> bool {
        self == Name::Loopool || Name::RIVALS.contains(&self)
    }

    /// Whether it is a [`Peer`].
    pub fn is_runtime(self) -> bool {
        !matches!(self, Name::Rayon | Name::CPython | Name::Epoll) && !self.is_for_processes()
    }

    /// Whether it is there for pools of processes and nothing else.
    pub fn is_for_processes(self) -> bool {
        matches!(self, Name::Loky | Name::Pebble | Name::Procspawn | Name::SocketPair | Name::Ring)
    }

    /// Of how many threads.
    fn threads(self) -> usize {
        match self {
            Name::LoopoolOne | Name::TokioCurrent | Name::Monoio => 1,
            _ => THREADS,
        }
    }

    /// Does `job` on this runtime.
    ///
    /// # Panics
    /// When it is [none](Self::is_runtime).
    pub fn dispatch<J: Job>(self, job: J) -> J::Output {
        let threads = self.threads();
        match self {
            Name::Loopool | Name::LoopoolOne => job.on::<Loopool>(threads),
            Name::TokioMulti | Name::TokioCurrent => job.on::<Tokio>(threads),
            Name::Smol => job.on::<Smol>(threads),
            Name::Monoio => job.on::<Monoio>(threads),
            _ => panic!("{} runs no tasks", self.name()),
        }
    }
}
