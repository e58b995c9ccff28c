//! Processes of their own. How they and the program's end go together is in `exit_rules`.

#[path = "common/tracer.rs"]
mod tracer;

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use loopool_executors::{Blob, CrashCause, NotStarted, Process, ProcessHandle, StartError};
use serde::{Deserialize, Serialize};
use tracer::trace;

const HANG: Option<Duration> = Some(Duration::from_secs(120));

fn wait_for_ever(_: ()) -> u32 {
    loop {
        std::thread::park();
    }
}

fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}

#[test]
fn the_value_is_joined_once_and_the_process_reaped() {
    let mut process = Process::new(|n: u32| (n, std::process::id()), 5).start().unwrap();
    let pid = process.pid();
    assert_eq!(process.join(HANG).unwrap(), (5, pid));
    assert_eq!((process.is_alive(), process.exitcode()), (false, Some(0)));
    assert!(!exists(pid));
    let again = process.join(HANG).unwrap_err();
    assert!(again.to_string().contains("taken"), "{again}");
}

#[test]
fn large_values_cross_both_ways() {
    let twice = |(text, blob): (String, Blob)| {
        let doubled = [&blob[..], &blob[..]].concat();
        (text.repeat(2), Blob::from(doubled))
    };
    let argument = ("é".repeat(100_000), Blob::from(vec![7; 3 << 20]));
    let mut process = Process::new(twice, argument).start().unwrap();
    let (text, blob) = process.join(HANG).unwrap();
    assert_eq!((text, blob.len()), ("é".repeat(200_000), 6 << 20));
    assert!(blob.iter().all(|byte| *byte == 7));
}

#[test]
fn a_panic_is_the_joins_error_and_exit_code_one() {
    let panics = |n: u32| -> u32 { panic!("number {n}") };
    for is_daemon in [false, true] {
        let mut process = Process::new(panics, 4).daemon(is_daemon).start().unwrap();
        let error = process.join(HANG).unwrap_err();
        assert_eq!(error.panic_message(), Some("number 4"));
        assert!(error.to_string().contains("processes.rs"), "{error}");
        assert_eq!(process.exitcode(), Some(1));
    }
}

#[test]
fn an_exit_is_told_with_its_code() {
    let exits: [fn(i32) -> (); 2] = [|n| std::process::exit(n), |n| loopool_executors::exit(n)];
    for exit in exits {
        let mut process = Process::new(exit, 7).start().unwrap();
        let error = process.join(HANG).unwrap_err();
        let report = error.crash().unwrap();
        assert_eq!((report.cause, report.exit_code), (CrashCause::Exit, Some(7)));
        assert_eq!((report.pid, process.exitcode()), (process.pid(), Some(7)));
    }
}

#[test]
fn crashes_have_reports() {
    fn overflow(depth: u64) -> u64 {
        let page = std::hint::black_box([depth; 512]);
        if depth == u64::MAX { 0 } else { overflow(depth + 1) + page[7] }
    }
    let abort = |_: u64| -> u64 { std::process::abort() };
    let wild = |at: u64| -> u64 {
        // SAFETY: none: it is meant to crash.
        unsafe { std::ptr::with_exposed_provenance::<u64>(at as usize).read_volatile() }
    };
    type Crash = (fn(u64) -> u64, CrashCause, i32);
    let crashes: [Crash; 3] = [
        (abort, CrashCause::Abort, libc::SIGABRT),
        (overflow, CrashCause::StackOverflow, libc::SIGSEGV),
        (wild, CrashCause::Segfault, libc::SIGSEGV),
    ];
    for (function, cause, signal) in crashes {
        let mut process = Process::new(function, 16).start().unwrap();
        let error = process.join(HANG).unwrap_err();
        let report = error.crash().unwrap();
        assert_eq!((report.cause, report.signal), (cause, Some(signal)), "{report}");
        assert_eq!(process.exitcode(), Some(-signal));
    }
}

/// EXIT-11.
#[test]
fn a_blocked_one_is_terminated_or_killed() {
    type End = fn(&ProcessHandle<u32>) -> std::io::Result<()>;
    let ends: [(End, i32); 2] =
        [(ProcessHandle::terminate, libc::SIGTERM), (ProcessHandle::kill, libc::SIGKILL)];
    for (end, signal) in ends {
        let mut process = Process::new(wait_for_ever, ()).start().unwrap();
        assert!(process.join(Some(Duration::from_millis(5))).unwrap_err().is_wait_timeout());
        assert_eq!((process.is_alive(), process.exitcode()), (true, None));
        end(&process).unwrap();
        let error = process.join(HANG).unwrap_err();
        assert_eq!(error.crash().unwrap().signal, Some(signal));
        assert_eq!((process.is_alive(), process.exitcode()), (false, Some(-signal)));
        // Too late, and no harm done.
        end(&process).unwrap();
    }
}

#[test]
fn the_sentinel_becomes_readable_at_the_end() {
    let poll = |process: &ProcessHandle<u32>, limit: i32| {
        let fd = process.as_fd().as_raw_fd();
        let mut fds = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        unsafe { libc::poll(&mut fds, 1, limit) }
    };
    let process = Process::new(wait_for_ever, ()).start().unwrap();
    assert_eq!(poll(&process, 5), 0);
    process.kill().unwrap();
    assert_eq!(poll(&process, 120_000), 1);
    assert!(!process.is_alive());
    assert_eq!(poll(&process, 0), 1);
}

/// EXIT-08.
#[test]
fn the_flag_is_the_creators_and_can_be_overridden() {
    let flags = |_: ()| {
        let new = || Process::new(wait_for_ever, ());
        (new().is_daemon(), new().daemon(false).is_daemon(), new().daemon(true).is_daemon())
    };
    assert_eq!(flags(()), (false, false, true));
    for is_daemon in [false, true] {
        let mut process = Process::new(flags, ()).daemon(is_daemon).start().unwrap();
        assert_eq!(process.is_daemon(), is_daemon);
        assert_eq!(process.join(HANG).unwrap(), (is_daemon, false, true));
    }
}

#[test]
fn names_reach_the_system() {
    let name = |_: ()| std::fs::read_to_string("/proc/self/comm").unwrap();
    let mut process = Process::new(name, ()).name("a\0 name").start().unwrap();
    assert_eq!(process.name(), "a name");
    assert_eq!(process.join(HANG).unwrap(), "a name\n");
}

#[test]
fn it_leads_a_group_and_reads_nothing() {
    let who = |_: ()| {
        let group = nix::unistd::getpgrp().as_raw() as u32;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::stdin(), &mut text).unwrap();
        (group, text)
    };
    let mut process = Process::new(who, ()).start().unwrap();
    assert_eq!(process.join(HANG).unwrap(), (process.pid(), String::new()));
}

#[test]
fn no_descriptor_of_the_program_is_open_there() {
    let open = |_: ()| {
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let path = std::env::temp_dir().join(format!("loopool-open-{}", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    let name = path.to_string_lossy().into_owned();
    assert!(open(()).contains(&name));
    for is_daemon in [false, true] {
        let mut process = Process::new(open, ()).daemon(is_daemon).start().unwrap();
        let there = process.join(HANG).unwrap();
        assert!(!there.contains(&name), "{there:?}");
        // Three standard ones, the socket, the list itself, and the lifeline.
        assert!(there.len() <= 6, "{there:?}");
    }
    drop(file);
    std::fs::remove_file(path).unwrap();
}

#[derive(Debug, Deserialize)]
struct Unwilling(u32);

impl Serialize for Unwilling {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it will not"))
    }
}

#[test]
fn what_serde_cannot_carry_is_told() {
    let refused: NotStarted<Process<Unwilling, u32>> =
        Process::new(|it: Unwilling| it.0, Unwilling(6)).start().unwrap_err();
    assert!(matches!(refused.reason(), StartError::Argument(_)), "{refused}");
    assert_eq!(refused.into_unstarted().into_argument().0, 6);
    let mut process = Process::new(Unwilling, 6).start().unwrap();
    let error = process.join(HANG).unwrap_err();
    assert!(error.is_codec(), "{error}");
    assert_eq!(process.exitcode(), Some(1));
}

/// Those that have ended and that nobody asks after are reaped when the next is started.
#[test]
fn no_zombie_is_left_behind_for_long() {
    let dropped = Process::new(|n: u32| n, 1).start().unwrap();
    let pid = dropped.pid();
    drop(dropped);
    let started = Instant::now();
    while exists(pid) {
        assert!(started.elapsed() < HANG.unwrap());
        Process::new(|n: u32| n, 1).start().unwrap().join(HANG).unwrap();
    }
}

/// It has ended, and its parent is not told before the debugger lets go.
#[test]
#[allow(clippy::print_stdout, reason = "what is skipped is named")]
fn a_process_that_a_debugger_had_blocked_whoever_asked_for_it() {
    let mut process = Process::new(
        |()| loop {
            std::thread::park()
        },
        (),
    )
    .start()
    .unwrap();
    let mut tracer = Process::new(trace, process.pid()).daemon(true).start().unwrap();
    let status = format!("/proc/{}/status", process.pid());
    let is_traced = || {
        let status = std::fs::read_to_string(&status).unwrap();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    while !is_traced() {
        if !tracer.is_alive() {
            println!("(nobody may trace here: a_process_that_a_debugger_had_blocked)");
            process.kill().unwrap();
            let _: Result<(), _> = process.join(None);
            return;
        }
        std::thread::yield_now();
    }
    process.kill().unwrap();
    let waited: Result<(), _> = process.join(Duration::from_millis(50));
    assert!(waited.unwrap_err().is_wait_timeout());
    assert_eq!(process.exitcode(), None);
    tracer.kill().unwrap();
    let _: Result<bool, _> = tracer.join(None);
    let ended: Result<(), _> = process.join(None);
    assert!(ended.unwrap_err().crash().is_some());
    assert_eq!(process.exitcode(), Some(-libc::SIGKILL));
}
