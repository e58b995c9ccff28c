//! The frames, and where the bytes of a message lie.
//!
//! Both sides are the same build, so the encoding needs no versions of its own; the handshake checks
//! the build. The handshake's own frames are the exception and change only with [`PROTOCOL`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sealed::MOST_SEALED;
use crate::process::placement::Placement;
use crate::process::policy::PolicySettings;
use crate::process::sandbox::{Enforced, Sandbox};

/// The version of the handshake and everything after it.
pub(crate) const PROTOCOL: u32 = 1;

/// What the first frame begins with.
pub(crate) const MAGIC: [u8; 8] = *b"loopool\0";

/// The program to its fork server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToServer {
    /// The first frame. A descriptor of the working directory may come with it.
    Hello {
        magic: [u8; 8],
        protocol: u32,
        nonce: String,
        build: String,
        umask: Option<u32>,
        settings: WorkerSettings,
    },
    /// Start a worker, on this seat. With its job socket, its lifeline, what its standard output and error become, its
    /// board and the bell that it rings, in this order.
    Spawn { serial: u64, seat: u32 },
    /// Be no fork server, but a process that does this and ends. With its standard output, its standard
    /// error, its lifeline if it is a daemon, its arena if it has one, and the sealed blobs of its argument, in this order.
    Run(Order),
}

/// What a single process is to do. The head of the argument is the frame's tail or lies in the arena.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) is_daemon: bool,
    pub(crate) name: String,
    pub(crate) trampoline: i64,
    pub(crate) function: i64,
    pub(crate) head: Place,
    /// The length of its arena.
    pub(crate) arena: Option<u64>,
}

/// What every worker of a pool is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct WorkerSettings {
    /// Whether each begins as the program does, by an exec of its own.
    pub(crate) spawns: bool,
    pub(crate) memory_limit: Option<u64>,
    /// The most processor time of a job.
    pub(crate) cpu_limit: Option<Duration>,
    /// The most open descriptors.
    pub(crate) open_files: Option<u64>,
    pub(crate) nice: u8,
    pub(crate) placement: Placement,
    /// Where the initializer lies, as an [`Offset`](crate::process::image::Offset).
    pub(crate) initializer: Option<i64>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) policy: PolicySettings,
}

impl WorkerSettings {
    /// How many sealed blobs may go with a message. With few descriptors to be had there might be none left for them.
    pub(crate) fn most_sealed(&self) -> usize {
        if self.open_files.is_some() { 0 } else { MOST_SEALED }
    }
}

/// The fork server to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromServer {
    /// The answer to `Hello`.
    Ready { protocol: u32, build: String },
    /// It will not serve.
    Refused { why: String },
    /// A worker was started; its pidfd comes with this where the kernel gave one.
    Spawned { serial: u64, pid: i32 },
    /// The system refused a worker.
    SpawnFailed { serial: u64, errno: i32 },
}

/// The program to a worker, over the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Descriptors for the next job that says so: of a new arena, if it has this length, and of the sealed blobs of the
    /// argument.
    Files { arena: Option<u64> },
}

/// What a slot of the ring begins with: a job. The head of its argument is the rest of the slot, or lies beside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) trampoline: i64,
    pub(crate) function: i64,
    pub(crate) head: Place,
    pub(crate) beside: Beside,
    /// Descriptors come over the socket before this job can be run.
    pub(crate) has_files: bool,
}

/// The head of an argument or result up to this size travels in its slot, with a [`Task`] or a [`Done`] before it.
pub(crate) const NEAR: usize = 432;

/// Where that lies which does not travel with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Beside {
    /// On the board, in its area for this direction, from here on.
    Board(u64),
    /// In a file: the arena, or the result file.
    File,
}

/// A worker to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// Its first words, before anything else happens, for the case that the fork server dies before
    /// it tells of the worker.
    Hello { pid: i32 },
    /// The initializer has run; jobs may come.
    Ready,
    /// The initializer gave an error or panicked.
    InitializerFailed { why: String },
    /// Why the worker is about to die; sent from a signal handler, so see [`fault_frame`].
    Faulted(Fault),
    /// The last words of a panic that ends the process.
    Dying { panic: String, location: Option<String> },
    /// The job in the slot with this number is over. With the descriptor of a new result file, if it says so, and those of
    /// the sealed blobs of the result.
    Done { number: u32, done: Done, has_new_file: bool },
    /// Before `Ready`: the sandbox is on, and this is in force.
    Confined(Enforced),
    /// Instead of `Ready`: the sandbox can't be put on.
    NotConfined { why: String },
    /// The worker is about to die of a denied system call; sent from a signal handler, so see
    /// [`denial_frame`].
    Denied { call: [u8; 4] },
}

/// How a job ended. The head of a value is the rest of the frame or slot, or lies beside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) verdict: Verdict,
    pub(crate) beside: Beside,
    /// A blob of the argument is still in use, so what the argument lay in must not be written again.
    pub(crate) keeps_argument: bool,
}

impl Done {
    pub(crate) fn new(verdict: Verdict) -> Self {
        Done { verdict, beside: Beside::File, keeps_argument: false }
    }
}

/// What a slot of the ring begins with when the job is over, as it is written.
#[derive(Debug, Serialize)]
pub(crate) enum SlotAnswer<'a> {
    /// Here.
    Here(&'a Done),
    /// It is long, or has a descriptor: it came over the socket.
    BySocket,
}

/// The same, as it is read.
#[derive(Debug, Deserialize)]
pub(crate) enum AnswerInSlot {
    Here(Done),
    BySocket,
}

/// What a fault is, as far as its signal handler can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// It was near the stack pointer.
    Overflow,
    /// It was elsewhere.
    Wild,
    /// There was none: somebody has sent the signal.
    Sent,
}

/// `FromWorker::Faulted` in bytes, for a signal handler that may not allocate.
pub(crate) const fn fault_frame(fault: Fault) -> [u8; 2] {
    [3, fault as u8]
}

/// `FromWorker::Denied` in bytes, likewise.
pub(crate) const fn denial_frame(call: u32) -> [u8; 5] {
    let [a, b, c, d] = call.to_le_bytes();
    [8, a, b, c, d]
}

/// How a job ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// With a value; its head is here.
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
pub(crate) enum Place {
    /// In the rest of the frame.
    Tail,
    /// Beside.
    Beside(Span),
}

/// Where a blob of a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BlobPlace {
    /// Beside.
    Beside(Span),
    /// In the sealed file with this number among those that come with the message. The numbers are given out as they are
    /// needed, from 0 on; a file may be several blobs.
    Sealed(u32),
}

/// A stretch of a file, or of an area of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Span {
    /// Where it ends; none beyond the end of the number space.
    pub(crate) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }
}

/// The longest text that is put into a frame.
const TEXT_LIMIT: usize = 8 * 1024;

/// Shortens a text so that it fits into a frame.
pub(crate) fn clip(mut text: String) -> String {
    if text.len() > TEXT_LIMIT {
        text.truncate(beginning(&text, TEXT_LIMIT).len());
        text.push('…');
    }
    text
}

/// At most `limit` bytes of a text.
pub(crate) fn beginning(text: &str, limit: usize) -> &str {
    let limit = limit.min(text.len());
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_signal_handlers_are_what_they_say() {
        for fault in [Fault::Overflow, Fault::Wild, Fault::Sent] {
            let bytes = postcard::to_stdvec(&FromWorker::Faulted(fault)).unwrap();
            assert_eq!(bytes, fault_frame(fault));
        }
        let denied = FromWorker::Denied { call: 0x0102_0304_u32.to_le_bytes() };
        assert_eq!(postcard::to_stdvec(&denied).unwrap(), denial_frame(0x0102_0304));
    }

    #[test]
    fn an_answer_in_a_slot_is_read_as_it_was_written() {
        let written = postcard::to_stdvec(&SlotAnswer::BySocket).unwrap();
        assert_eq!(written, [1], "it is looked for by its first byte");
        assert!(matches!(postcard::from_bytes(&written), Ok(AnswerInSlot::BySocket)));
        let done = Done::new(Verdict::Value(Place::Tail));
        let written = postcard::to_stdvec(&SlotAnswer::Here(&done)).unwrap();
        assert!(matches!(postcard::from_bytes(&written), Ok(AnswerInSlot::Here(_))));
    }

    #[test]
    fn a_clipped_text_stays_text() {
        let text = "é".repeat(TEXT_LIMIT);
        assert!(clip(text).len() < TEXT_LIMIT + 8);
        assert_eq!(clip("short".to_owned()), "short");
    }
}
