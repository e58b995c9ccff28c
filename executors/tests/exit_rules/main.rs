//! How programs end, a program per row of the table in `docs/exit.md`. This test is such a program itself: it
//! starts copies of itself, each of which plays one row, and compares what they say, in order, and their exit
//! codes.
//!
//! A thread that has to outlive `main` waits at the gate, which is opened by an exit handler of the row's
//! own, so it goes on only when the program is ending already; then it takes its time. Nothing but the rules
//! lets it say its word.

#![allow(clippy::print_stdout, reason = "what a row says is what is tested")]

mod callbacks;
mod executors;
mod gate;
mod handlers;
mod killed;
mod output;
mod processes;
mod table;
mod threads;
mod warning;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use loopool_executors::{
    CpuExecutor, Executor, Process, ProcessPoolError, ProcessPoolExecutor, Thread,
    ThreadPoolExecutor, call, register_at_exit,
};

use callbacks::*;
use executors::*;
use gate::*;
use handlers::*;
use killed::*;
use output::*;
use processes::*;
use table::*;
use threads::*;
use warning::*;

const ROW: &str = "LOOPOOL_TEST_ROW";
const HANG: Duration = Duration::from_secs(120);
/// So long a program that hangs by rule is watched.
const STILL: Duration = Duration::from_millis(400);
/// Long enough for a program to end that does not wait.
const MOMENT: Duration = Duration::from_millis(60);

enum Ends {
    Code(i32),
    Signal(i32),
    /// It never does, and is killed.
    Never,
}

use Ends::{Code, Never, Signal};

struct Row {
    name: &'static str,
    program: fn() -> ExitCode,
    says: &'static [&'static str],
    ends: Ends,
}

macro_rules! rows {
    ($($program:ident: $says:expr, $ends:expr;)*) => {
        [$(Row { name: stringify!($program), program: $program, says: &$says, ends: $ends }),*]
    };
}

fn rows() -> impl Iterator<Item = Row> {
    let rows = rows! {
        // The table.
        main_returns: ["main ends", "exit begins", "thread ends"], Code(0);
        main_returns_a_code: ["main ends", "exit begins", "thread ends"], Code(3);
        main_panics: ["main ends", "exit begins", "thread ends"], Code(101);
        main_exits: ["main ends", "exit begins", "thread ends"], Code(7);
        a_thread_exits: ["exit begins", "main runs on", "thread ends"], Code(7);
        a_thread_exits_by_ours: ["exit begins", "main runs on", "thread ends"], Code(7);
        a_thread_panics: ["main ends", "exit begins", "thread panics"], Code(5);
        a_daemon_exits_meanwhile: ["main ends", "exit begins", "exits", "thread ends"], Code(3);
        a_foreign_thread_exits_meanwhile:
            ["main ends", "exit begins", "exits", "thread ends"], Code(3);
        a_thread_exits_meanwhile: ["main ends", "exit begins", "exits"], Never;
        a_thread_exits_meanwhile_by_ours: ["main ends", "exit begins", "exits"], Code(3);
        foreign_code_exits_meanwhile: ["main ends", "exit begins", "exits"], Code(9);
        it_aborts: ["aborts"], Signal(libc::SIGABRT);
        it_exits_at_once: ["exits at once"], Code(4);
        it_is_killed: ["dies"], Signal(libc::SIGTERM);
        // Executors.
        a_thread_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2", "late: refused"], Code(0);
        a_dropped_thread_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2"], Code(0);
        a_thread_pool_shut_down_without_waiting:
            ["main ends", "exit begins", "job 0", "job 1", "job 2"], Code(0);
        a_cpu_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2", "late: refused"], Code(0);
        a_dropped_cpu_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2"], Code(0);
        a_cpu_pools_only_job_is_waited_for: ["main ends", "exit begins", "job 0"], Code(0);
        a_process_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2", "late: refused"], Code(0);
        a_dropped_process_pools_jobs_are_run:
            ["main ends", "exit begins", "job 0", "job 1", "job 2"], Code(0);
        a_thread_pools_job_exits: ["exit begins", "job 1", "job 2"], Code(6);
        a_cpu_pools_job_exits: ["exit begins", "job 1", "job 2"], Code(6);
        a_thread_pools_job_exits_meanwhile: ["main ends", "exit begins", "exits", "job 1"], Code(0);
        a_callback_of_a_process_pool_exits: ["exit begins"], Code(6);
        executors_are_closed_before_threads_have_ended:
            ["main ends", "exit begins", "thread ends"], Code(0);
        whoever_waits_for_a_thread_pools_job_that_exits: ["exit begins", "goes on"], Code(6);
        whoever_waits_for_a_cpu_pools_job_that_exits: ["exit begins", "goes on"], Code(6);
        one_of_many_threads_that_were_just_started_exits: ["exit begins"], Code(3);
        an_initializer_exits: [
            "exit begins",
            "the job was not run: the executor is broken: the initializer of its threads has ended the program"
        ], Code(4);
        a_stand_in_runs_what_its_jobs_wait_for: ["exit begins", "waited for 3"], Code(6);
        a_stand_ins_job_exits_too: ["exit begins", "job 2"], Code(6);
        a_cpu_pools_job_shuts_it_down_when_another_one_has_exited:
            ["exit begins", "shut down"], Code(6);
        a_hook_submits_to_a_pool_whose_only_thread_exits: ["exit begins", "hook: 5"], Code(6);
        a_pool_of_processes_without_its_manager_fails_what_waits: [
            "exit begins", "whoever was to do the job went away without doing it", "shut down"
        ], Code(6);
        limits_are_kept_to_the_end: ["main ends", "exit begins", "true"], Code(0);
        // Done-callbacks.
        a_callback_of_a_thread_pool_exits: ["exit begins", "next callback: failed", "goes on"], Code(6);
        a_callback_of_a_cpu_pool_exits: ["exit begins", "next callback: failed", "goes on"], Code(6);
        a_callback_exits_because_its_job_has: ["exit begins", "failed"], Code(6);
        a_callback_waits_for_a_hook_because_its_job_has_exited:
            ["exit begins", "hook", "callback"], Code(6);
        every_callback_of_a_process_pool_exits: ["exit begins", "goes on"], Code(6);
        a_callback_of_a_job_that_is_late_exits: ["exit begins", "goes on"], Code(6);
        a_callback_exits_while_a_thread_pool_cancels:
            ["exit begins", "0 is cancelled", "1 is cancelled", "2 is cancelled"], Code(6);
        a_callback_exits_while_a_cpu_pool_cancels:
            ["exit begins", "0 is cancelled", "1 is cancelled", "2 is cancelled"], Code(6);
        a_callback_exits_while_a_pool_breaks: [
            "exit begins",
            "the job was not run: the executor is broken: the initializer of its threads failed: no"
        ], Code(6);
        a_callback_exits_while_a_process_pool_breaks: [
            "exit begins",
            "the job was not run: the initializer of its workers failed: no"
        ], Code(6);
        // Threads.
        main_waits_for_a_thread_that_exits: [], Code(6);
        threads_of_threads_are_waited_for:
            ["main ends", "exit begins", "thread ends", "its thread ends"], Code(0);
        no_thread_is_lost: ["main ends", "64 threads have ended"], Code(0);
        forty_daemons: [], Code(0);
        daemon_and_other_threads: ["main ends", "exit begins", "the daemon lives", "thread ends"], Code(0);
        thread_locals_of_pools_are_destroyed:
            ["main ends", "exit begins", "job 0", "destroyed"], Code(0);
        thread_locals_are_destroyed: ["main ends", "exit begins", "thread ends", "destroyed"], Code(0);
        // Processes.
        daemon_and_other_processes:
            ["main ends", "the daemon has gone", "process ends", "all is over"], Code(0);
        a_daemon_that_will_not_end: ["main ends", "asked to end", "all is over"], Code(0);
        a_process_waits_for_its_threads:
            ["process ends", "exit begins", "thread ends", "joined"], Code(0);
        a_process_may_have_children: ["child, thread and pool: 1 2 3", "joined"], Code(0);
        a_daemon_process_may_not: ["nested", "nested", "joined"], Code(0);
        processes_nobody_joins_leave_no_zombies: ["main ends", "0 children"], Code(0);
        // Hooks and handlers.
        hooks_run_last_first: ["main ends", "last hook", "first hook", "job"], Code(0);
        handlers_before_and_after_ours:
            ["main ends", "later handler: started", "its thread ends", "earlier handler: refused"],
            Code(0);
        a_fork_waits_for_nobody: ["the fork ended with 8", "main ends", "exit begins", "thread ends"], Code(0);
        // Standard output.
        a_partial_line_is_saved: ["main ends", "exit begins", "partial"], Code(0);
        a_flush_is_waited_for: ["flushed"], Code(0);
        somebody_keeps_the_standard_output: ["kept"], Code(0);
        // Five seconds.
        whoever_keeps_it_is_named: ["main ends", "exit begins", "for non-daemon threads: slow"], Code(0);
    };
    rows.into_iter()
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(ROW) {
        // SAFETY: there is one thread here. The alarm ends a program that hangs and whose test was killed.
        unsafe {
            std::env::remove_var(ROW);
            libc::alarm(2 * HANG.as_secs() as u32);
        }
        return match rows().find(|row| row.name == name) {
            Some(row) => (row.program)(),
            None if name == "victim" => victim(),
            None => panic!("no such row: {name}"),
        };
    }
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    // All at once: one of them takes five seconds.
    let running: Vec<_> = rows()
        .filter(|row| wanted(row.name) && can_be_tried(row.name))
        .map(|row| (row.name, std::thread::spawn(move || check(&row))))
        .collect();
    let mut failed = false;
    for (name, row) in running {
        let ok = row.join().is_ok();
        failed |= !ok;
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    }
    if wanted("a_killed_program_leaves_only_those_that_are_no_daemons") {
        a_killed_program_leaves_only_those_that_are_no_daemons();
        println!("test a_killed_program_leaves_only_those_that_are_no_daemons ... ok");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What a second caller of the C library's `exit` does is that library's own affair.
fn can_be_tried(row: &str) -> bool {
    let can = row != "foreign_code_exits_meanwhile" || second_exit_cuts_short();
    if !can {
        println!("(not with this C library: {row})");
    }
    can
}

#[cfg(target_env = "gnu")]
fn second_exit_cuts_short() -> bool {
    // SAFETY: gives a string that stays.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    let mut numbers = version.to_str().unwrap().split('.').map(|part| part.parse::<u32>().unwrap());
    (numbers.next(), numbers.next()) < (Some(2), Some(41))
}

#[cfg(not(target_env = "gnu"))]
fn second_exit_cuts_short() -> bool {
    false
}

fn play(row: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    // A group of its own, to be killed with all it has started.
    command.env(ROW, row).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    if cfg!(loopool_plain_memory) && row == "a_fork_waits_for_nobody" {
        // A child of a fork has the memory of its parent's threads, which the leak check knows nothing of.
        command.env("ASAN_OPTIONS", "detect_leaks=0");
    }
    command
}

/// Kills the program, with what it has started, however the test ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the program leads that group, and is reaped only below.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// Rows in which a limit of time is part of the rule. It may be reached on a machine that is busy, and that shows
/// nothing: such a row has to be right once.
const LIMITED: [&str; 3] =
    ["a_daemon_that_will_not_end", "a_partial_line_is_saved", "a_flush_is_waited_for"];
const TRIES: usize = 5;

fn check(row: &Row) {
    let tries = if LIMITED.contains(&row.name) { TRIES } else { 1 };
    let is_right = |_| std::panic::catch_unwind(|| check_once(row)).is_ok();
    assert!((0..tries).any(is_right), "{}", row.name);
}

/// As they come.
fn lines_of(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|len| len > 0) {
            let _ = say.send(std::mem::take(&mut line));
        }
    });
    said
}

/// Rows whose panics are told on the standard error. All others write nothing there, least of all about a crash at
/// the very end.
const LOUD: [&str; 2] = ["main_panics", "a_thread_panics"];

fn check_once(row: &Row) {
    let mut program = Program(play(row.name).stderr(Stdio::piped()).spawn().unwrap());
    let expected: String = row.says.iter().map(|line| format!("{line}\n")).collect();
    let said = lines_of(program.0.stdout.take().unwrap());
    let errors = lines_of(program.0.stderr.take().unwrap());
    let started = Instant::now();
    let mut text = String::new();
    if matches!(row.ends, Never) {
        while text.len() < expected.len() {
            text += &said.recv_timeout(HANG).unwrap();
        }
        std::thread::sleep(STILL);
        assert!(program.0.try_wait().unwrap().is_none(), "{} has ended", row.name);
        assert_eq!((text, said.try_iter().count()), (expected, 0), "{}", row.name);
        return;
    }
    while let Ok(line) = said.recv_timeout(HANG.saturating_sub(started.elapsed())) {
        text += &line;
    }
    let late = started.elapsed() >= HANG;
    assert!(!late, "{} does not end; it said: {text}", row.name);
    let status = program.0.wait().unwrap();
    let left = || HANG.saturating_sub(started.elapsed());
    let errors: String = std::iter::from_fn(|| errors.recv_timeout(left()).ok()).collect();
    assert!(errors.is_empty() || LOUD.contains(&row.name), "{}: {status}, {errors}", row.name);
    let missing = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    assert_eq!(text + missing, expected, "{}, which ended with {status}", row.name);
    match row.ends {
        Code(code) => assert_eq!(status.code(), Some(code), "{}: {status}", row.name),
        Signal(signal) => assert_eq!(status.signal(), Some(signal), "{}: {status}", row.name),
        Never => unreachable!(),
    }
}
