//! The system calls of another process, counted by the kernel's tracepoint through `perf`, which
//! disturbs it less than anything that stops it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;

/// The tracepoint of all calls.
const EVENT: &str = "raw_syscalls:sys_enter";

/// What `perf` says when it has done what it was told.
const DONE: &str = "ack";

/// How many system calls all threads of `process` make during `work`, and what comes of it; nothing if
/// there is no `perf` here, or it may not count.
pub(super) fn count<T>(
    process: u32,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<Option<(u64, T)>, Error> {
    let Some(mut perf) = Perf::attach(process) else { return Ok(None) };
    if !perf.tell("enable") {
        return Ok(None);
    }
    let output = work()?;
    if !perf.tell("disable") {
        return Ok(None);
    }
    Ok(perf.finish()?.map(|count| (count, output)))
}

struct Perf {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Perf {
    /// Not counting yet.
    fn attach(process: u32) -> Option<Self> {
        let mut command = Command::new("perf");
        command.args(["stat", "--delay=-1", "--control=fd:0,1", "-x,", "-e", EVENT]);
        command.args(["-p", &process.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().ok()?;
        let answers = BufReader::new(process.stdout.take()?);
        Some(Perf { process, answers })
    }

    /// Whether it did so.
    fn tell(&mut self, command: &str) -> bool {
        let Some(mut input) = self.process.stdin.as_ref() else { return false };
        let mut answer = String::new();
        writeln!(input, "{command}").is_ok()
            && self.answers.read_line(&mut answer).is_ok()
            // It ends each line with a zero, too, which then begins the next one.
            && answer.trim_matches(['\0', '\n']) == DONE
    }

    /// What it has counted.
    fn finish(mut self) -> Result<Option<u64>, Error> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGINT)?;
        let mut report = String::new();
        let mut errors = self.process.stderr.take().ok_or("perf's report was taken already")?;
        errors.read_to_string(&mut report)?;
        let line = report.lines().find(|line| line.contains(EVENT));
        Ok(line.and_then(|line| line.split(',').next()?.parse().ok()))
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        // It has nothing to tidy up; if it is gone already, so much the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
