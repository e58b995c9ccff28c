//! Events that a job sends to `tracing`, carried to the program: over the worker's output, as lines of a form of
//! their own.
//!
//! A worker may write whatever it likes, such lines, too: they say nothing that any other line could not say.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::process::transport::wire::beginning;

/// What such a line begins with, what is between its parts, and what stands for a line break in it.
const BEGIN: char = '\u{1e}';
const BETWEEN: char = '\u{1f}';
const BREAK: char = '\u{1d}';

/// How long such a line may be, so that it is neither read in pieces nor mixed up with others.
const LIMIT: usize = 1000;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Up to which of [`LEVELS`] the program listens now; 0 when nobody does.
pub(super) fn wanted() -> u8 {
    let filter = LevelFilter::current();
    LEVELS.iter().filter(|level| filter >= **level).count() as u8
}

/// Sends events up to that level to the program, unless somebody listens here already.
pub(super) fn carry(levels: u8) {
    let most = usize::from(levels).checked_sub(1).and_then(|most| LEVELS.get(most));
    if let Some(most) = most {
        // Refused when the initializer was first.
        let _ = tracing::subscriber::set_global_default(Carrier(*most));
    }
}

/// The one who listens in a worker.
struct Carrier(Level);

impl Subscriber for Carrier {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut text = Text(String::new());
        event.record(&mut text);
        let line = encode(*metadata.level(), metadata.target(), &text.0);
        // SAFETY: a plain system call with a buffer of the length given. So short a line is written in one piece;
        // one that can't be written is lost.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message, and after it the fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?} "));
        } else {
            let _ = write!(self.0, "{}={value:?} ", field.name());
        }
    }
}

fn encode(level: Level, target: &str, text: &str) -> String {
    let target = beginning(target, LIMIT / 4);
    let text = beginning(text.trim_end(), LIMIT / 4 * 3 - 16);
    let plain = |c: char| match c {
        '\n' => BREAK,
        BEGIN | BETWEEN => ' ',
        other => other,
    };
    let text: String = text.chars().map(plain).collect();
    format!("{BEGIN}{level}{BETWEEN}{target}{BETWEEN}{text}\n")
}

fn decode(line: &str) -> Option<(Level, &str, String)> {
    let mut parts = line.strip_prefix(BEGIN)?.splitn(3, BETWEEN);
    let level = parts.next()?.parse().ok()?;
    let target = parts.next()?;
    Some((level, target, parts.next()?.replace(BREAK, "\n")))
}

/// Tells of a line that a worker has written.
pub(in crate::process) fn tell(pid: u32, line: &str) {
    let Some((level, target, text)) = decode(line) else {
        tracing::info!(pid, line = %line, "output of a worker process");
        return;
    };
    match level {
        Level::ERROR => tracing::error!(pid, job_target = target, "{text}"),
        Level::WARN => tracing::warn!(pid, job_target = target, "{text}"),
        Level::INFO => tracing::info!(pid, job_target = target, "{text}"),
        Level::DEBUG => tracing::debug!(pid, job_target = target, "{text}"),
        Level::TRACE => tracing::trace!(pid, job_target = target, "{text}"),
    }
}

/// What a worker has written, for people to read.
pub(in crate::process) fn readable(output: &str) -> String {
    output.replace(BEGIN, "").replace(BETWEEN, " ").replace(BREAK, "\n")
}

/// Whether a line of that form begins here, whatever was written before it.
pub(in crate::process) fn begins(byte: u8) -> bool {
    u32::from(byte) == BEGIN as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_cross_as_lines_whatever_is_in_them() {
        for (target, text) in [("a::b", "one\ntwo n=3"), ("", ""), ("x", "\u{1e}\u{1f}")] {
            let line = encode(Level::WARN, target, text);
            assert_eq!(line.matches('\n').count(), 1);
            let (level, back, said) = decode(line.trim_end_matches('\n')).unwrap();
            assert_eq!((level, back), (Level::WARN, target));
            assert_eq!(said, text.replace(['\u{1e}', '\u{1f}'], " ").trim_end_matches('?'));
        }
        let long = encode(Level::INFO, &"t".repeat(5000), &"é".repeat(5000));
        assert!(long.len() < LIMIT + 24 && decode(&long).is_some());
        assert_eq!(readable(&encode(Level::INFO, "t", "said")), "INFO t said\n");
    }

    #[test]
    fn what_is_no_event_is_none() {
        for line in ["", "INFO", "\u{1e}", "\u{1e}LOUD\u{1f}a\u{1f}b", "\u{1e}INFO\u{1f}a"] {
            assert!(decode(line).is_none(), "{line:?}");
        }
    }
}
