//! The frames, and where the bytes of a message lie.
//!
//! Both sides are the same build, so the encoding needs no versions of its own; the handshake checks
//! the build. The handshake's own frames are the exception and change only with [`PROTOCOL`].

use serde::{Deserialize, Serialize};

use super::policy::PolicySettings;

/// The version of the handshake and everything after it.
pub(super) const PROTOCOL: u32 = 1;

/// What the first frame begins with.
pub(super) const MAGIC: [u8; 8] = *b"loopool\0";

/// The program to its fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToServer {
    /// The first frame. A descriptor of the working directory may come with it.
    Hello {
        magic: [u8; 8],
        protocol: u32,
        nonce: String,
        build: String,
        umask: Option<u32>,
        settings: WorkerSettings,
    },
    /// Start a worker. With its job socket, its lifeline and what its standard output and error
    /// become, in this order.
    Spawn { serial: u64 },
    /// Be no fork server, but a process that does this and ends. With its standard output, its standard
    /// error, its lifeline if it is a daemon, and its arena if it has one, in this order.
    Run(Order),
}

/// What a single process is to do. The head of the argument is the frame's tail or lies in the arena.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) is_daemon: bool,
    pub(super) name: String,
    pub(super) trampoline: i64,
    pub(super) function: i64,
    pub(super) head: Place,
    /// The length of its arena.
    pub(super) arena: Option<u64>,
}

/// What every worker of a pool is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct WorkerSettings {
    pub(super) memory_limit: Option<u64>,
    pub(super) nice: u8,
    /// Where the initializer lies, as an [`Offset`](super::image::Offset).
    pub(super) initializer: Option<i64>,
    pub(super) policy: PolicySettings,
}

/// The fork server to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromServer {
    /// The answer to `Hello`.
    Ready { protocol: u32, build: String },
    /// It will not serve.
    Refused { why: String },
    /// A worker was started; its pidfd comes with this where the kernel gave one.
    Spawned { serial: u64, pid: i32 },
    /// The system refused a worker.
    SpawnFailed { serial: u64, errno: i32 },
}

/// The program to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// Run this. The head of the argument is the frame's tail or lies in the arena.
    Job {
        id: u64,
        trampoline: i64,
        function: i64,
        head: Place,
        /// The length of a new arena, whose descriptor comes with this.
        new_arena: Option<u64>,
    },
}

/// A worker to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// Its first words, before anything else happens, for the case that the fork server dies before
    /// it tells of the worker.
    Hello { pid: i32 },
    /// The initializer has run; jobs may come.
    Ready,
    /// The initializer gave an error or panicked.
    InitializerFailed { why: String },
    /// Why the worker is about to die; sent from a signal handler, so see [`FAULT_FRAME`].
    Overflowed,
    /// The last words of a panic that ends the process.
    Dying { panic: String, location: Option<String> },
    /// A job is over.
    Done {
        id: u64,
        verdict: Verdict,
        /// A blob of the arena is still in use, so the arena must not be written again.
        keeps_arena: bool,
    },
}

/// `FromWorker::Overflowed` in bytes, for a signal handler that may not allocate.
pub(super) const FAULT_FRAME: [u8; 1] = [3];

/// How a job ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// With a value; its head is here. A new result file's descriptor may come with this.
    Value(Place),
    /// With a panic.
    Panicked { message: String, location: Option<String> },
    /// It was not run: its argument could not be decoded, or its function not found.
    BadArgument(String),
    /// Its result could not be encoded.
    BadResult(String),
}

/// Where the head of a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In the rest of the frame.
    Tail,
    /// In the file beside.
    File(Span),
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Span {
    /// Where it ends; none beyond the end of the number space.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// The longest text that is put into a frame.
const TEXT_LIMIT: usize = 8 * 1024;

/// Shortens a text so that it fits into a frame.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        text.truncate(beginning(&text, TEXT_LIMIT).len());
        text.push('…');
    }
    text
}

/// At most `limit` bytes of a text.
pub(super) fn beginning(text: &str, limit: usize) -> &str {
    let limit = limit.min(text.len());
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_frame_is_what_it_says() {
        let bytes = postcard::to_stdvec(&FromWorker::Overflowed).unwrap();
        assert_eq!(bytes, FAULT_FRAME);
    }

    #[test]
    fn a_clipped_text_stays_text() {
        let text = "é".repeat(TEXT_LIMIT);
        assert!(clip(text).len() < TEXT_LIMIT + 8);
        assert_eq!(clip("short".to_owned()), "short");
    }
}
