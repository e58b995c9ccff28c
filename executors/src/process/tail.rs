//! What a worker writes to its standard output and error: read, passed on line by line, the last of it
//! kept for the crash report.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::policy::events;
use super::transport::wire;

/// Positions in the output are counted modulo this and one.
pub(super) const POSITION: u32 = u32::MAX >> 1;

/// How much is kept.
const KEPT: usize = 8 * 1024;

/// Lines longer than this are passed on in pieces.
const LINE_LIMIT: usize = 1024;

/// How much of a last line goes into the log.
const LAST_LINE: usize = 200;

/// The reading end of an output pipe, in non-blocking mode.
pub(super) struct OutputPipe {
    pub(super) fd: OwnedFd,
    kept: VecDeque<u8>,
    line: Vec<u8>,
    total: usize,
}

/// Whether more may come.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Output {
    Open,
    Closed,
}

impl OutputPipe {
    pub(super) fn new(fd: OwnedFd) -> Self {
        OutputPipe { fd, kept: VecDeque::new(), line: Vec::new(), total: 0 }
    }

    /// Reads what is there, up to about `limit` bytes, in the name of process `pid`.
    pub(super) fn read(&mut self, pid: u32, limit: usize) -> Output {
        let mut buffer = [0; 4096];
        let mut left = limit;
        while left > 0 {
            match nix::unistd::read(&self.fd, &mut buffer) {
                Ok(0) => {
                    self.tell(pid);
                    return Output::Closed;
                }
                Ok(len) => {
                    self.take(pid, &buffer[..len]);
                    left = left.saturating_sub(len);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Output::Open,
                Err(_) => return Output::Closed,
            }
        }
        Output::Open
    }

    fn take(&mut self, pid: u32, bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len());
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        if tracing::level_filters::LevelFilter::current()
            == tracing::level_filters::LevelFilter::OFF
        {
            return;
        }
        for byte in bytes {
            if events::begins(*byte) {
                self.tell(pid);
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() == LINE_LIMIT {
                events::tell(pid, &String::from_utf8_lossy(&self.line));
                self.line.clear();
            }
        }
    }

    /// Passes on what was written of a line, which need not have an end.
    pub(super) fn tell(&mut self, pid: u32) {
        if !self.line.is_empty() {
            events::tell(pid, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }

    /// Where in the output the next byte that is read will be.
    pub(super) fn position(&self) -> u32 {
        self.total as u32 & POSITION
    }

    /// The last of what came after this position, for people to read.
    pub(super) fn text_since(&self, position: u32) -> String {
        let len = self.position().wrapping_sub(position) & POSITION;
        self.last(len as usize)
    }

    /// How much has come in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The last of what came, for people to read.
    pub(super) fn text(&self) -> String {
        self.last(KEPT)
    }

    fn last(&self, bytes: usize) -> String {
        let skip = self.kept.len().saturating_sub(bytes);
        let bytes: Vec<u8> = self.kept.iter().skip(skip).copied().collect();
        events::readable(&String::from_utf8_lossy(&bytes))
    }
}

/// The last line that says something, and of that only the beginning: for the log.
pub(super) fn last_line(text: &str) -> &str {
    let line = text.trim_end().lines().next_back().unwrap_or_default();
    wire::beginning(line, LAST_LINE)
}

/// A pipe: the reading end, in non-blocking mode, and the writing end.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    super::transport::socket::never_block(&read)?;
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_is_one_line_and_short() {
        assert_eq!(last_line(""), "");
        assert_eq!(last_line("\n \n"), "");
        assert_eq!(last_line("one\ntwo\r\n\n"), "two");
        let long = format!("a{}", "é".repeat(LAST_LINE));
        assert_eq!(last_line(&long), format!("a{}", "é".repeat(99)));
    }

    #[test]
    fn the_last_of_it_is_kept() {
        let (read, write) = pipe().unwrap();
        let mut output = OutputPipe::new(read);
        assert_eq!(output.read(1, 100), Output::Open);
        for chunk in [[b'a'; 6000], [b'b'; 6000]] {
            nix::unistd::write(&write, &chunk).unwrap();
            assert_eq!(output.read(1, 1 << 20), Output::Open);
        }
        assert_eq!(output.total(), 12_000);
        let text = output.text();
        assert_eq!(text.len(), KEPT);
        assert!(text.ends_with(&"b".repeat(6000)) && text.starts_with('a'));
        assert_eq!(output.text_since(12_000), "");
        assert_eq!(output.text_since(11_998), "bb");
        assert_eq!(output.text_since(0), text, "no more than is kept");
        drop(write);
        assert_eq!(output.read(1, 100), Output::Closed);
    }

    #[test]
    fn what_is_told_of_a_job_had_control_characters() {
        let (read, write) = pipe().unwrap();
        let mut output = OutputPipe::new(read);
        nix::unistd::write(&write, b"before\n\x1eWARN\x1fof::it\x1fsaid\x1dmore\n").unwrap();
        assert_eq!(output.read(1, 100), Output::Open);
        assert_eq!(output.text_since(7), "WARN of::it said\nmore\n");
        assert_eq!(output.text(), "before\nWARN of::it said\nmore\n");
    }
}
