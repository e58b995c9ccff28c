//! How programs start and end with a process pool. This test is such a program itself: it starts copies
//! of itself in roles, and is its own harness, since the roles must reach `main` with the arguments of
//! a worker.

#![allow(clippy::print_stdout, reason = "what a program in a role says is what is tested")]

#[path = "common/copies.rs"]
mod copies;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use copies::{changed_copy, copy_without_the_constructor, scratch};
use loopool_executors::{Executor, ProcessPoolError, ProcessPoolExecutor, call};

const ROLE: &str = "LOOPOOL_TEST_ROLE";
const HANG: Duration = Duration::from_secs(120);

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("ordinary") => print!("an ordinary start"),
        Ok("make-a-pool") => match ProcessPoolExecutor::new(1) {
            Ok(_) => print!("made a pool"),
            Err(error) => {
                print!("{error:?} with {} children, ever: {}", children(), has_had_children())
            }
        },
        Ok("victim") => victim(),
        Ok("one-job") => one_job(),
        Ok(other) => panic!("no such role: {other}"),
        Err(_) => scenarios(),
    }
}

fn scenarios() {
    let scenarios: [(&str, fn()); 9] = [
        ("a_name_alone_makes_no_worker", a_name_alone_makes_no_worker),
        ("without_the_constructor_nothing_is_spawned", without_the_constructor_nothing_is_spawned),
        ("what_is_no_worker_is_refused", what_is_no_worker_is_refused),
        ("what_says_nothing_is_given_up", what_says_nothing_is_given_up),
        ("another_build_is_refused", another_build_is_refused),
        ("a_copy_of_the_program_will_do", a_copy_of_the_program_will_do),
        ("workers_live_where_the_pool_was_built", workers_live_where_the_pool_was_built),
        ("a_program_that_is_killed_leaves_no_worker", a_program_that_is_killed_leaves_no_worker),
        ("standard_streams_may_be_closed", standard_streams_may_be_closed),
    ];
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    for (name, scenario) in scenarios {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            scenario();
            println!("test {name} ... ok");
        }
    }
}

fn children() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// Those that were reaped: each of them has touched memory.
fn has_had_children() -> bool {
    // SAFETY: an all-zero structure is a valid one to be written to.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage), 0);
        usage.ru_minflt > 0
    }
}

fn myself(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn worker_name() -> String {
    format!("loopool-worker {}", "0123456789abcdef".repeat(2))
}

fn a_name_alone_makes_no_worker() {
    assert_eq!(said(myself("ordinary").arg0(worker_name())), "an ordinary start");
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(said(myself("ordinary").arg0(worker_name()).stdin(file)), "an ordinary start");
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert_eq!(said(myself("ordinary").arg0(worker_name()).stdin(pipe)), "an ordinary start");
    // Not a socket of ours, either.
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = std::os::fd::OwnedFd::from(stream);
    assert_eq!(said(myself("ordinary").arg0(worker_name()).stdin(stream)), "an ordinary start");
    // Our kind of socket, but nobody who says the right words: never `main`.
    let (ours, theirs) = nix::sys::socket::socketpair(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::SeqPacket,
        None,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    nix::unistd::write(&ours, b"\x07 nonsense").unwrap();
    let output = myself("ordinary").arg0(worker_name()).stdin(theirs).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{output:?}");
    // With an argument more it is no worker's name.
    let output = said(myself("ordinary").arg0(worker_name()).arg("more"));
    assert_eq!(output, "an ordinary start");
}

fn without_the_constructor_nothing_is_spawned() {
    let Some(copy) = copy_without_the_constructor("hookless") else {
        println!("skipped: without_the_constructor_nothing_is_spawned, not on this architecture");
        return;
    };
    let run = |name: Option<String>| {
        let mut command = Command::new(&copy);
        if let Some(name) = name {
            command.arg0(name);
        }
        said(command.env(ROLE, "make-a-pool").stdin(Stdio::null()))
    };
    assert_eq!(run(None), "HookMissing with 0 children, ever: false");
    assert_eq!(run(Some(worker_name())), "MainRanInWorker with 0 children, ever: false");
    std::fs::remove_file(copy).unwrap();
}

/// No start takes so long.
const LIMIT: Duration = Duration::from_secs(60);

fn executable(path: impl AsRef<Path>) -> Result<ProcessPoolExecutor, ProcessPoolError> {
    ProcessPoolExecutor::builder()
        .workers(1)
        .worker_executable(path.as_ref())
        .handshake_timeout(LIMIT)
        .build()
}

fn what_is_no_worker_is_refused() {
    let started = Instant::now();
    match executable("/bin/true") {
        Err(ProcessPoolError::NotAWorker { status, stderr_tail }) => {
            assert_eq!((status.code(), &*stderr_tail), (Some(0), ""));
        }
        other => panic!("{other:?}"),
    }
    match executable("/usr/bin/yes") {
        Err(error @ ProcessPoolError::NotAWorker { status, .. }) => {
            assert_eq!(status.signal(), Some(9));
            assert!(error.to_string().contains("y\ny\n"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(executable("/nowhere"), Err(ProcessPoolError::Spawn(_))));
    assert!(started.elapsed() < LIMIT, "not because of that");
    assert_eq!(children(), 0);
}

fn what_says_nothing_is_given_up() {
    let limit = Duration::from_millis(50);
    let built = ProcessPoolExecutor::builder()
        .worker_executable("/bin/cat")
        .handshake_timeout(limit)
        .build();
    assert!(matches!(built, Err(ProcessPoolError::HandshakeTimeout)), "{built:?}");
    assert_eq!(children(), 0);
}

fn another_build_is_refused() {
    let note = [&[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0"].concat();
    let mut found = false;
    let copy = changed_copy("other-build", |program| {
        if let Some(at) = program.windows(note.len()).position(|window| window == note) {
            program[at + note.len()] ^= 0xff;
            found = true;
        }
    });
    if found {
        let built = executable(&copy);
        assert!(matches!(built, Err(ProcessPoolError::BuildMismatch { .. })), "{built:?}");
    } else {
        println!("skipped: another_build_is_refused, this linker writes no build id");
    }
    std::fs::remove_file(copy).unwrap();
    assert_eq!(children(), 0);
}

fn a_copy_of_the_program_will_do() {
    let copy = changed_copy("copy", |_| {});
    let pool = executable(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let mut job = pool.submit(call(|n: u32| n * 2, 4)).unwrap();
    assert_eq!(job.result(HANG).unwrap(), 8);
}

type Place = (PathBuf, Option<String>, u32);

fn place(_: ()) -> Place {
    let directory = std::env::current_dir().unwrap();
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(umask);
    (directory, std::env::var("LOOPOOL_TEST_PLACE").ok(), umask.bits())
}

/// This scenario changes its own process, and so puts everything back.
fn workers_live_where_the_pool_was_built() {
    let (there, old) = (scratch("directory"), std::env::current_dir().unwrap());
    std::fs::create_dir(&there).unwrap();
    let there = there.canonicalize().unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate;
    std::env::set_current_dir(&there).unwrap();
    // SAFETY: this program has one thread here.
    unsafe { std::env::set_var("LOOPOOL_TEST_PLACE", "then") };
    let umask = nix::sys::stat::umask(mode(0o027));
    let pool = ProcessPoolExecutor::new(1).unwrap();
    std::env::set_current_dir(&old).unwrap();
    // SAFETY: the manager's thread does not look at the environment.
    unsafe { std::env::set_var("LOOPOOL_TEST_PLACE", "now") };
    nix::sys::stat::umask(umask);
    let expected = (there.clone(), Some("then".to_owned()), 0o027);
    let ask = || pool.submit(call(place, ())).unwrap().result(HANG).unwrap();
    assert_eq!(ask(), expected);
    // Also in workers of a fork server that was started again.
    let server = pool.fork_server_pid().unwrap();
    let kill = |pid: u32| {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    kill(server);
    until("the new server", || pool.fork_server_pid().is_some_and(|pid| pid != server));
    let worker = pool.worker_pids()[0];
    kill(worker);
    until("the new worker", || pool.worker_pids().iter().any(|pid| *pid != worker));
    assert_eq!(ask(), expected);
    pool.shutdown(true, false);
    // SAFETY: this program has one thread here.
    unsafe { std::env::remove_var("LOOPOOL_TEST_PLACE") };
    std::fs::remove_dir(there).unwrap();
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program with workers that run, wait and do not care; it says who they are and is killed.
fn victim() {
    let pool = ProcessPoolExecutor::new(3).unwrap();
    let spin = |n: u64| {
        let mut at = n;
        loop {
            at = std::hint::black_box(at.wrapping_add(1));
            if n > 0 {
                std::thread::park();
            }
        }
    };
    let jobs: Vec<loopool_executors::Job<()>> =
        (0..2).map(|n| pool.submit(call(spin, n)).unwrap()).collect();
    pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
    until("the start", || pool.stats().running == 2 && pool.worker_pids().len() == 3);
    let mut pids = pool.worker_pids();
    pids.extend(pool.fork_server_pid());
    println!("{}", pids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    std::io::stdout().flush().unwrap();
    drop(jobs);
    loop {
        std::thread::park();
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

fn a_program_that_is_killed_leaves_no_worker() {
    for _ in 0..5 {
        let mut program = myself("victim").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pids: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(pids.len(), 4);
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        program.kill().unwrap();
        program.wait().unwrap();
        let killed = Instant::now();
        until("the end of the workers", || !pids.iter().any(|pid| is_alive(*pid)));
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(1), "the workers lived on for {took:?}");
    }
}

fn one_job() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let mut job = pool.submit(call(|n: u32| n + 1, 1)).unwrap();
    let right = job.result(HANG).unwrap() == 2;
    drop(pool);
    std::process::exit(if right { 0 } else { 1 });
}

/// Closed before the program starts; the standard library opens them on `/dev/null`.
fn standard_streams_may_be_closed() {
    for stream in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let status = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec \"$0\" {stream}"))
            .arg(std::env::current_exe().unwrap())
            .env(ROLE, "one-job")
            .status()
            .unwrap();
        assert!(status.success(), "{stream}: {status}");
    }
}
