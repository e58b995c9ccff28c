//! Where a program with a process pool may live, and where it may not: with rights of its executable, in
//! another root, as the first process of a namespace, unreadable, replaced on disk, in a shared library,
//! short of everything, built in other ways. One program for each; this test is such a program itself, and
//! starts copies of itself in roles.
//!
//! What needs root, a tool or another target, and has it not, says so by name.

#![allow(clippy::print_stdout, reason = "what a program in a role says is what is tested")]

mod builds;
#[path = "../common/copies.rs"]
mod copies;
mod executables;
mod library;
mod namespaces;
mod orphans;
#[path = "../common/program.rs"]
mod program;
mod rights;
mod shortage;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use loopool_executors::{CrashCause, Executor, ProcessPoolExecutor, call};

const ROLE: &str = "LOOPOOL_TEST_ROLE";

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

/// What a scenario could not test, and why.
struct Skipped(String);

/// By the error a scenario says what it lacks.
type Scenario = fn() -> Result<(), Skipped>;

fn skip<T>(why: impl Into<String>) -> Result<T, Skipped> {
    Err(Skipped(why.into()))
}

fn main() {
    // Workers take another way out, also where a role says that they should.
    if let Ok(role) = std::env::var(ROLE) {
        let roles = [
            &rights::ROLES[..],
            &namespaces::ROLES,
            &orphans::ROLES,
            &executables::ROLES,
            &shortage::ROLES,
        ];
        let role = roles.concat().into_iter().find(|(name, _)| *name == role);
        return role.expect("no such role").1();
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let scenarios: [&[(&str, Scenario)]; 7] = [
        &rights::SCENARIOS,
        &namespaces::SCENARIOS,
        &orphans::SCENARIOS,
        &executables::SCENARIOS,
        &library::SCENARIOS,
        &shortage::SCENARIOS,
        &builds::SCENARIOS,
    ];
    for (name, scenario) in scenarios.concat() {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            match scenario() {
                Ok(()) => println!("test {name} ... ok"),
                Err(Skipped(why)) => println!("test {name} ... SKIPPED: {why}"),
            }
        }
    }
}

/// A start of `program` in a role.
fn in_role(program: impl AsRef<std::ffi::OsStr>, role: &str) -> Command {
    let mut command = Command::new(program);
    command.env(ROLE, role).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    if cfg!(loopool_plain_memory) {
        // The leak check needs what these programs have not: /proc, another process.
        command.env("ASAN_OPTIONS", "detect_leaks=0");
    }
    command
}

fn myself(role: &str) -> Command {
    in_role("/proc/self/exe", role)
}

/// What a program said that ended well.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

const NEEDS_ROOT: &str = "needs root";

/// Somebody who is not root.
const NOBODY: u32 = 65_534;

fn add_one(n: u32) -> u32 {
    n + 1
}

/// Whether all that a pool does is done here: jobs, crashes, a new fork server.
fn check(pool: &ProcessPoolExecutor) {
    let job = || pool.submit(call(add_one, 1)).unwrap().result(HANG).unwrap();
    assert_eq!(job(), 2);
    let abort = |_: u32| -> u32 { std::process::abort() };
    let error = pool.submit(call(abort, 1)).unwrap().result(HANG).unwrap_err();
    assert_eq!(error.crash().unwrap().cause, CrashCause::Abort);
    assert_eq!(job(), 2);
}

/// Kills the fork server and waits for the next one.
fn replace_the_fork_server(pool: &ProcessPoolExecutor) {
    let server = pool.fork_server_pid().unwrap();
    let pid = nix::unistd::Pid::from_raw(server as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the new fork server", || pool.fork_server_pid().is_some_and(|pid| pid != server));
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a pool, if that is possible, and says how that went and how many children there are.
fn try_to_make_a_pool() {
    match ProcessPoolExecutor::new(1) {
        Ok(pool) => {
            check(&pool);
            print!("a pool that works");
        }
        Err(error) => print!("{error:?}, {}", children()),
    }
}

/// Also where there is no `/proc`.
fn children() -> &'static str {
    use nix::sys::wait::{WaitPidFlag, waitpid};
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(nix::errno::Errno::ECHILD) => "no children",
        _ => "children",
    }
}
