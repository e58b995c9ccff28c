//! [`Evidence`]: what is known of a worker's death besides its status.

use std::time::Instant;

use super::report::CrashCause;
use super::sandbox::SystemCall;
use super::transport::wire::Fault;

/// What a worker has told, and what was seen and done to it.
#[derive(Debug)]
pub(super) struct Evidence {
    /// When it was asked for.
    pub(super) since: Instant,
    /// Whether it tells of faults: it has installed its handlers.
    pub(super) tells_of_faults: bool,
    /// What it has told.
    pub(super) fault: Option<Fault>,
    /// The system call that was denied.
    pub(super) denied: Option<u32>,
    /// Whether it has a sandbox.
    pub(super) is_confined: bool,
    /// Killed for this by us, or by the system as it has told us.
    pub(super) verdict: Option<CrashCause>,
}

impl Evidence {
    pub(super) fn new(is_confined: bool) -> Self {
        Evidence {
            since: Instant::now(),
            tells_of_faults: false,
            fault: None,
            denied: None,
            is_confined,
            verdict: None,
        }
    }

    /// Why it died: of this signal, or having exited by itself, after these last words.
    pub(super) fn cause(&self, signal: Option<i32>, exited: bool, said: &str) -> CrashCause {
        if let Some(verdict) = self.verdict.filter(|_| signal.is_none_or(|it| it == libc::SIGKILL))
        {
            return verdict;
        }
        match (signal, self.fault) {
            (Some(libc::SIGSEGV | libc::SIGBUS), Some(Fault::Overflow)) => {
                CrashCause::StackOverflow
            }
            // See `fault`: no handler could run, for want of a stack.
            (Some(libc::SIGSEGV), None) if self.tells_of_faults => CrashCause::StackOverflow,
            (Some(libc::SIGSEGV | libc::SIGBUS), _) => CrashCause::Segfault,
            (Some(libc::SIGABRT), _) if tells_of_memory(said) => CrashCause::OutOfMemory,
            (Some(libc::SIGABRT), _) => CrashCause::Abort,
            (Some(libc::SIGXCPU), _) => CrashCause::CpuLimit,
            (Some(libc::SIGSYS), _) if self.is_confined || self.denied.is_some() => {
                CrashCause::SandboxDenied { syscall: self.denied.map(SystemCall::new) }
            }
            (None, _) if exited => CrashCause::Exit,
            (None, Some(Fault::Overflow)) => CrashCause::StackOverflow,
            _ => CrashCause::Signal,
        }
    }
}

/// So many lines are looked through for that: it is among the last that are written, but a hint may follow, or a
/// backtrace.
const LAST_LINES: usize = 4;

/// What the standard library, and most others, say before they abort for want of memory. A job that has said something
/// like it long before has died of something else.
fn tells_of_memory(said: &str) -> bool {
    let tells = |line: &str| {
        (line.contains("memory allocation of ") && line.contains(" bytes failed"))
            || line.contains("out of memory")
            || line.contains("bad_alloc")
    };
    let before_backtrace =
        said.rsplit_once("\nstack backtrace:\n").map_or(said, |(before, _)| before);
    let lines = before_backtrace.lines().rev().filter(|line| !line.trim().is_empty());
    lines.take(LAST_LINES).any(tells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_apart() {
        use CrashCause::*;
        let memory = "memory allocation of 8 bytes failed";
        let plain = Evidence { tells_of_faults: true, ..Evidence::new(false) };
        let with =
            |fault| Evidence { fault: Some(fault), tells_of_faults: true, ..Evidence::new(false) };
        let [overflow, wild, sent] = [Fault::Overflow, Fault::Wild, Fault::Sent].map(with);
        assert_eq!(overflow.cause(Some(libc::SIGSEGV), false, ""), StackOverflow);
        assert_eq!(wild.cause(Some(libc::SIGSEGV), false, memory), Segfault);
        assert_eq!(sent.cause(Some(libc::SIGSEGV), false, ""), Segfault);
        assert_eq!(wild.cause(Some(libc::SIGBUS), false, ""), Segfault);
        assert_eq!(plain.cause(Some(libc::SIGBUS), false, ""), Segfault);
        assert_eq!(plain.cause(Some(libc::SIGSEGV), false, ""), StackOverflow);
        assert_eq!(Evidence::new(false).cause(Some(libc::SIGSEGV), false, ""), Segfault);
        assert_eq!(plain.cause(Some(libc::SIGABRT), false, memory), OutOfMemory);
        assert_eq!(plain.cause(Some(libc::SIGABRT), false, "assertion"), Abort);
        assert_eq!(plain.cause(Some(libc::SIGXCPU), false, ""), CpuLimit);
        assert_eq!(plain.cause(None, true, ""), Exit);
        assert_eq!(plain.cause(Some(libc::SIGKILL), false, ""), Signal);
        assert_eq!(overflow.cause(None, false, ""), StackOverflow);
        assert_eq!(plain.cause(None, false, ""), Signal);
        assert_eq!(plain.cause(Some(libc::SIGSYS), false, ""), Signal);
    }

    #[test]
    fn what_a_job_had_said_of_memory_long_before_was_its_cause_of_death() {
        let memory = "memory allocation of 8 bytes failed\n";
        let last = format!("chatter\n{memory}note: run with `RUST_BACKTRACE=1`\n\n");
        let traced = format!("{memory}stack backtrace:\n{}", "   0: f\n".repeat(9));
        let long_before = format!("{memory}{}thread panicked\n", "chatter\n".repeat(3));
        let cause = |said: &str| Evidence::new(false).cause(Some(libc::SIGABRT), false, said);
        assert_eq!(cause(&last), CrashCause::OutOfMemory);
        assert_eq!(cause(&traced), CrashCause::OutOfMemory);
        assert_eq!(cause(&long_before), CrashCause::Abort);
        assert_eq!(cause("memory allocation of 8\n bytes failed\n"), CrashCause::Abort);
    }

    #[test]
    fn denials_name_their_call() {
        let number = libc::SYS_socket as u32;
        let denied = Evidence { denied: Some(number), ..Evidence::new(true) };
        let cause = denied.cause(Some(libc::SIGSYS), false, "");
        assert_eq!(cause, CrashCause::SandboxDenied { syscall: Some(SystemCall::new(number)) });
        assert_eq!(cause.to_string(), "did what its sandbox forbids (socket)");
        let silent = Evidence::new(true).cause(Some(libc::SIGSYS), false, "");
        assert_eq!(silent, CrashCause::SandboxDenied { syscall: None });
    }

    #[test]
    fn a_verdict_holds_only_for_what_was_killed() {
        let verdict = Some(CrashCause::OutOfMemory);
        let doomed = Evidence { verdict, ..Evidence::new(false) };
        assert_eq!(doomed.cause(Some(libc::SIGKILL), false, ""), CrashCause::OutOfMemory);
        assert_eq!(doomed.cause(Some(libc::SIGABRT), false, ""), CrashCause::Abort);
    }
}
