//! Starting the program, looking at its processes, and ending it whatever the test does.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use loopool::Sandbox;

use crate::client::{Answer, Connection};

/// How long anything may take that is to happen soon. Only a failing test waits so long.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A service that was started for one test.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    /// Kept, so that the service can write to it as long as it lives.
    _stdout: BufReader<ChildStdout>,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Warnings are for a person who looks at a failed test, and they expect faults.
    command.env("RUST_LOG", "error");
    // The backtrace of a fault takes longer than the fault.
    command.env_remove("RUST_BACKTRACE");
    command
}

impl Service {
    /// Starts the service on a free port and waits for the line that says where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut child = command(&arguments).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line
            .trim_end()
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("instead of where it listens it said {line:?}"));
        Service { child, address, _stdout: stdout }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// Asks over a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().ask("GET", path, &[], b"")
    }

    /// Sends over a connection of its own, without a content type.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.connect().ask("POST", path, &[], body)
    }

    /// The value of a metric, with its labels as they stand in the text; 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics");
        let line = answer.text().lines().find_map(|line| {
            line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).map(str::to_owned)
        });
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for_metric(&self, name: &str, value: f64) {
        eventually(&format!("{name} to be {value}"), || self.metric(name) == value);
    }

    pub(crate) fn signal(&self, signal: i32) {
        send_signal(self.pid(), signal);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the service to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Its processes: workers, and the one that starts them.
    pub(crate) fn processes(&self) -> Vec<Process> {
        Process::children_of(self.pid())
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const RUNNING: &str = "loopool_pool_running_jobs{pool=\"processes\"}";
pub(crate) const WAITING: &str = "loopool_pool_waiting_jobs{pool=\"processes\"}";

pub(crate) fn send_signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "{}", std::io::Error::last_os_error());
}

/// Looks until something is so, and fails the test when it does not come about.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    within(SOON, what, is_so);
}

/// The same, with a limit that is part of what is promised.
#[track_caller]
pub(crate) fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this machine can enforce all of the workers' sandbox. What it lacks is said, with `--nocapture`.
#[allow(clippy::print_stdout, reason = "what is skipped is named")]
pub(crate) fn has_sandboxes() -> bool {
    let lacks = Sandbox::pure().kill_on_denial().lacks();
    if !lacks.is_empty() {
        println!("skipped: what a sandbox denies, for want of {lacks:?}");
    }
    lacks.is_empty()
}

/// What standard error holds when a program has ended.
pub(crate) fn stderr_of(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Another process, told from a later one with the same number by when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
}

/// A line of `/proc/PID/stat`, as far as it matters here.
struct Stat {
    state: char,
    parent: i32,
    cpu_ticks: u64,
    started: u64,
}

impl Process {
    fn children_of(parent: i32) -> Vec<Self> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| {
            let stat = Stat::of(pid).filter(|stat| stat.parent == parent)?;
            Some(Process { pid, started: stat.started })
        })
        .collect()
    }

    fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| stat.started == self.started)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.stat().is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    pub(crate) fn is_zombie(&self) -> bool {
        self.stat().is_some_and(|stat| stat.state == 'Z')
    }

    /// Processor time, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        self.stat().map_or(0, |stat| stat.cpu_ticks)
    }
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: number(11)? + number(12)?,
            started: number(19)?,
        })
    }
}
