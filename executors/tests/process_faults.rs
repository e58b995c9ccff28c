//! What a job can do to its process, and that it costs exactly that job.

use std::time::Duration;

use loopool_executors::{
    CrashCause, CrashReport, Executor, Job, JobError, Process, ProcessPoolExecutor, call,
};

#[allow(dead_code, unreachable_pub, reason = "other attacks use the rest")]
#[path = "hostile_worker/board.rs"]
mod board;
#[path = "common/tracer.rs"]
mod tracer;

use board::Board;
use tracer::trace;

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn outcome<T>(mut job: Job<T>) -> Result<T, JobError> {
    let outcome = job.result(HANG);
    assert!(!matches!(&outcome, Err(error) if error.is_wait_timeout()), "hangs");
    outcome
}

fn add_one(n: u32) -> u32 {
    n + 1
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `fault` in `pool` and, after it, a job that works.
fn crash_of(pool: &ProcessPoolExecutor, fault: fn(u32) -> u32) -> CrashReport {
    let crashed = pool.stats().crashed;
    let error = outcome(pool.submit(call(fault, 1)).unwrap()).unwrap_err();
    let report = error.crash().unwrap_or_else(|| panic!("{error}")).clone();
    assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
    assert_eq!(pool.stats().crashed, crashed + 1);
    assert!(!pool.worker_pids().contains(&report.pid) && report.pid != std::process::id());
    report
}

fn segfault(n: u32) -> u32 {
    let nowhere = std::ptr::without_provenance::<u32>(std::hint::black_box(n as usize * 8));
    // SAFETY: none; the point is that this is wrong, and that only a worker dies of it.
    unsafe { nowhere.read_volatile() }
}

fn wild_write(n: u32) -> u32 {
    let nowhere = std::ptr::without_provenance_mut::<u32>(std::hint::black_box(0x7000_0000_0000));
    // SAFETY: none; as above.
    unsafe { nowhere.write_volatile(n) };
    n
}

fn overflow(n: u32) -> u32 {
    let frame = std::hint::black_box([n; 200]);
    if n == u32::MAX {
        return 0;
    }
    overflow(n.wrapping_add(1) | 1) + frame[(n % 200) as usize]
}

fn exhaust(n: u32) -> u32 {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(Vec::with_capacity(16 << 20)));
        if hoard.len() == usize::MAX {
            return n;
        }
    }
}

#[test]
fn a_segfault_is_told_with_its_signal() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for fault in [segfault, wild_write] {
        let report = crash_of(&pool, fault);
        assert_eq!((report.cause, report.signal), (CrashCause::Segfault, Some(libc::SIGSEGV)));
        assert_eq!(report.exit_code, None);
        assert!(report.peak_memory > 0);
    }
}

#[test]
fn an_abort_is_told_with_what_was_said_before() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let abort = |_| {
        use std::io::Write;
        let _ = std::io::stderr().write_all(b"the last words");
        std::process::abort()
    };
    let report = crash_of(&pool, abort);
    assert_eq!((report.cause, report.signal), (CrashCause::Abort, Some(libc::SIGABRT)));
    assert_eq!(report.stderr_tail, "the last words");
}

#[test]
fn a_crash_report_quoted_what_an_earlier_job_had_written() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let panics = |_: u32| -> u32 { panic!("memory allocation of 8 bytes failed, or so they say") };
    let error = outcome(pool.submit(call(panics, 1)).unwrap()).unwrap_err();
    assert!(error.is_panic(), "{error}");
    let worker = pool.worker_pids();
    let abort = |_| {
        use std::io::Write;
        let _ = std::io::stderr().write_all(b"mine");
        std::process::abort()
    };
    let report = crash_of(&pool, abort);
    assert_eq!(worker, [report.pid], "the test is about one worker");
    assert_eq!((report.cause, &*report.stderr_tail), (CrashCause::Abort, "mine"));
    // Also when there is more of it than is read at a time.
    let chatter = |n: u32| {
        use std::io::Write;
        let _ = std::io::stderr().write_all(&[b'x'; 500_000]);
        n
    };
    assert_eq!(outcome(pool.submit(call(chatter, 7)).unwrap()).unwrap(), 7);
    assert_eq!(crash_of(&pool, segfault).stderr_tail, "");
}

#[test]
fn a_stack_overflow_is_told_apart_from_a_segfault() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let report = crash_of(&pool, overflow);
    assert_eq!((report.cause, report.signal), (CrashCause::StackOverflow, Some(libc::SIGSEGV)));
}

#[test]
#[cfg_attr(
    loopool_plain_memory,
    ignore = "AddressSanitizer reserves far more memory than the limit"
)]
fn a_memory_bomb_dies_of_the_limit() {
    let pool = ProcessPoolExecutor::builder().workers(1).memory_limit(512 << 20).build().unwrap();
    let report = crash_of(&pool, exhaust);
    assert_eq!(report.cause, CrashCause::OutOfMemory, "{report:?}");
}

#[test]
fn a_crash_report_quoted_what_a_job_had_written_that_ran_just_before() {
    use std::io::Write;
    let complain = |n: u32| {
        let _ = std::io::stderr().write_all(b"out of memory\n");
        n
    };
    let abort: fn(u32) -> u32 = |_| {
        let _ = std::io::stderr().write_all(b"the end\n");
        std::process::abort()
    };
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for _ in 0..20 {
        // Short ones, so that those that follow are given ahead.
        let warm: Vec<_> = (0..500).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
        let loud = pool.submit(call(complain, 1)).unwrap();
        let quiet: Vec<_> = (0..5).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
        let crash = outcome(pool.submit(call(abort, 1)).unwrap()).unwrap_err();
        let crash = crash.crash().unwrap();
        assert_eq!((crash.cause, &*crash.stderr_tail), (CrashCause::Abort, "the end\n"));
        assert_eq!(outcome(loud).unwrap(), 1);
        assert_eq!(warm.into_iter().chain(quiet).filter_map(|job| outcome(job).ok()).count(), 505);
    }
}

#[test]
fn a_job_that_exits_is_told_with_its_code() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for code in [0, 3] {
        let exit: fn(u32) -> u32 =
            if code == 0 { |_| std::process::exit(0) } else { |_| std::process::exit(3) };
        let report = crash_of(&pool, exit);
        assert_eq!((report.cause, report.exit_code), (CrashCause::Exit, Some(code)));
        assert_eq!(report.signal, None);
    }
}

#[test]
fn a_signal_that_a_job_sends_itself_is_told() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    // SAFETY: a plain system call.
    let term = |n: u32| unsafe { libc::raise(libc::SIGTERM) } as u32 + n;
    let report = crash_of(&pool, term);
    assert_eq!((report.cause, report.signal), (CrashCause::Signal, Some(libc::SIGTERM)));
    // SAFETY: a plain system call.
    let segv = |n: u32| unsafe { libc::raise(libc::SIGSEGV) } as u32 + n;
    let report = crash_of(&pool, segv);
    assert_eq!((report.cause, report.signal), (CrashCause::Segfault, Some(libc::SIGSEGV)));
}

#[test]
fn a_loop_without_end_dies_of_the_time_limit() {
    let limit = Duration::from_millis(100);
    let pool = ProcessPoolExecutor::builder().workers(1).job_timeout(limit).build().unwrap();
    let spin = |mut n: u32| {
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    };
    let job: Job<u32> = pool.submit(call(spin, 0)).unwrap();
    assert!(outcome(job).unwrap_err().is_timeout());
    // The limit is everybody's, and a machine that has much to do may take longer for anything.
    let next = || outcome(pool.submit(call(add_one, 1)).unwrap());
    let sum =
        std::iter::repeat_with(next).find(|sum| !sum.as_ref().is_err_and(JobError::is_timeout));
    assert_eq!(sum.unwrap().unwrap(), 2);
}

/// Says where it runs by creating a file, and waits until it is gone.
fn hold(path: String) -> u32 {
    let me = std::process::id();
    std::fs::write(format!("{path}.new"), me.to_string()).unwrap();
    std::fs::rename(format!("{path}.new"), &path).unwrap();
    while std::fs::exists(&path).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    me
}

fn held(path: &str) -> i32 {
    let mut pid = 0;
    until("the job", || {
        pid = std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        pid > 0
    });
    pid
}

fn path(name: &str) -> String {
    let file = format!("loopool-{name}-{}", std::process::id());
    std::env::temp_dir().join(file).into_os_string().into_string().unwrap()
}

#[test]
fn a_worker_killed_from_outside_costs_exactly_its_job() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let (one, other) = (path("one"), path("other"));
    let first = pool.submit(call(hold, one.clone())).unwrap();
    let second = pool.submit(call(hold, other.clone())).unwrap();
    let waiting: Vec<_> = (0..10).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
    let (victim, survivor) = (held(&one), held(&other));
    // SAFETY: a worker of ours, which was not reaped: it holds a job.
    assert_eq!(unsafe { libc::kill(victim, libc::SIGKILL) }, 0);
    let error = outcome(first).unwrap_err();
    let report = error.crash().unwrap();
    assert_eq!((report.signal, report.pid), (Some(libc::SIGKILL), victim as u32));
    assert_eq!(report.cause, CrashCause::Signal);
    for (n, job) in waiting.into_iter().enumerate() {
        assert_eq!(outcome(job).unwrap(), n as u32 + 1);
    }
    std::fs::remove_file(&other).unwrap();
    std::fs::remove_file(&one).unwrap();
    assert_eq!(outcome(second).unwrap() as i32, survivor);
    until("the replacement", || pool.worker_pids().len() == 2);
}

#[test]
fn idle_workers_killed_from_outside_are_replaced() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for n in 0..5 {
        assert_eq!(outcome(pool.submit(call(add_one, n)).unwrap()).unwrap(), n + 1);
        let victim = pool.worker_pids()[0];
        // SAFETY: a worker of ours.
        unsafe { libc::kill(victim as i32, libc::SIGKILL) };
        until("the replacement", || !pool.worker_pids().contains(&victim));
    }
    assert_eq!((pool.stats().crashed, pool.stats().finished), (0, 5));
}

#[test]
fn the_fork_server_is_replaced_and_running_jobs_do_not_notice() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let file = path("running");
    let running = pool.submit(call(hold, file.clone())).unwrap();
    let runner = held(&file);
    for _ in 0..3 {
        let server = pool.fork_server_pid().unwrap();
        // SAFETY: the fork server is a child of ours.
        unsafe { libc::kill(server as i32, libc::SIGKILL) };
        let report = crash_of(&pool, segfault);
        assert_eq!(report.signal, Some(libc::SIGSEGV));
        until("the replacement", || pool.fork_server_pid().is_some_and(|pid| pid != server));
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(outcome(running).unwrap() as i32, runner);
}

#[test]
fn a_fork_server_that_is_stopped_is_replaced() {
    let pool = ProcessPoolExecutor::builder()
        .workers(1)
        .handshake_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let server = pool.fork_server_pid().unwrap();
    // SAFETY: the fork server is a child of ours.
    unsafe { libc::kill(server as i32, libc::SIGSTOP) };
    assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
    assert_ne!(pool.fork_server_pid().unwrap(), server);
}

#[test]
fn what_a_job_started_dies_with_its_worker() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = path("grandchild");
    let start = |file: String| {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(format!("{file}.new"), child.id().to_string()).unwrap();
        std::fs::rename(format!("{file}.new"), &file).unwrap();
        child.wait().unwrap().success()
    };
    let job = pool.submit(call(start, file.clone())).unwrap();
    let grandchild = held(&file);
    assert!(job.cancel());
    assert!(outcome(job).unwrap_err().is_cancelled());
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
    };
    until("the end of the grandchild", gone);
    std::fs::remove_file(&file).unwrap();
}

/// The sockets that this process has, besides the standard streams.
fn sockets() -> Vec<i32> {
    let is_socket = |fd: &i32| {
        std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    (3..64).filter(is_socket).collect()
}

fn send(fd: i32, bytes: &[u8], attached: Option<i32>) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let fds = [attached.unwrap_or(0); 1];
    let control = [ControlMessage::ScmRights(&fds)];
    let control = if attached.is_some() { &control[..] } else { &[] };
    let _ = sendmsg::<()>(
        fd,
        &[std::io::IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        None,
    );
}

/// Every number that fits, as the codec writes it.
fn number(value: u64) -> Vec<u8> {
    postcard::to_stdvec(&value).unwrap()
}

/// An answer for a slot whose value lies in a file at a place.
fn answer(slot: u32, offset: u64, len: u64) -> Vec<u8> {
    [&[5][..], &number(u64::from(slot)), &[0, 1], &number(offset), &number(len), &[1, 0, 1]]
        .concat()
}

/// What a worker may do to the program while it runs a job.
fn attack(kind: u32) -> u32 {
    use std::os::fd::AsRawFd;
    let board = Board::find().unwrap();
    let slot = board.slot();
    let mut random = 12345u64 + u64::from(kind);
    let mut next = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as u8
    };
    for fd in sockets() {
        match kind {
            // Noise of all lengths.
            0 => (0..200usize).for_each(|len| {
                let noise: Vec<u8> = (0..len * 5).map(|_| next()).collect();
                send(fd, &noise, None);
            }),
            // A message longer than any.
            1 => send(fd, &vec![5; 150_000], None),
            // Huge places in no file, and in files that are none.
            2 => send(fd, &answer(slot, 0, u64::MAX), None),
            3 => {
                let zeros = std::fs::File::open("/dev/zero").unwrap();
                let zeros = Some(zeros.as_raw_fd());
                send(fd, &answer(slot, 0, 1 << 40), zeros);
            }
            4 => {
                let (read, write) = nix::unistd::pipe().unwrap();
                send(fd, &answer(slot, 0, 16), Some(read.as_raw_fd()));
                drop(write);
            }
            // A large hole in a file in memory.
            5 => {
                let flags = nix::sys::memfd::MFdFlags::empty();
                let file = nix::sys::memfd::memfd_create("hole", flags).unwrap();
                nix::unistd::ftruncate(&file, 1 << 42).unwrap();
                let hole = Some(file.as_raw_fd());
                send(fd, &answer(slot, 0, 1 << 41), hole);
            }
            // Answers that nobody asked for, without end.
            6 => loop {
                let sent = answer(slot, 0, 0);
                send(fd, &sent, None);
                if sockets().is_empty() {
                    break;
                }
            },
            // Out of turn.
            7 => send(fd, &[1], None),
            8 => send(fd, &[2, 1, b'x'], None),
            9 => send(fd, &[0, 2], None),
            // No message, and no connection.
            10 => send(fd, &[], None),
            // SAFETY: closes a descriptor that the worker needs; that is the attack.
            11 => unsafe {
                libc::shutdown(fd, libc::SHUT_RDWR);
            },
            // SAFETY: as above.
            12 => unsafe {
                libc::close(fd);
            },
            _ => unreachable!(),
        }
    }
    if (2..=5).contains(&kind) {
        say_by_socket(&board);
    }
    std::thread::sleep(Duration::from_millis(20));
    // Too long for its slot, so it goes over the socket, too.
    panic!("{}", "x".repeat(2000));
}

/// Writes into the slot, in place of the worker, that its answer came by the socket; and waits for what comes of it.
fn say_by_socket(board: &Board) {
    const BY_SOCKET: u8 = 1;
    board.answer(&[BY_SOCKET], 1);
    board.count(1);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_worker_that_sends_nonsense_costs_only_its_job() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    for kind in 0..=12 {
        let bad = pool.submit(call(attack, kind)).unwrap();
        let good: Vec<_> = (0..20).map(|n| pool.submit(call(add_one, n)).unwrap()).collect();
        for (n, job) in good.into_iter().enumerate() {
            assert_eq!(outcome(job).unwrap(), n as u32 + 1, "attack {kind}");
        }
        while !bad.done() {
            // Somebody looks: nobody rings for that answer.
            assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
        }
        let error = outcome(bad).unwrap_err();
        assert!(error.is_codec() || error.crash().is_some(), "attack {kind}: {error}");
        if (2..=5).contains(&kind) {
            assert!(error.to_string().contains("sent a result"), "attack {kind}: {error}");
        }
    }
    let stats = pool.stats();
    assert!(stats.finished >= 260);
    assert_eq!((stats.failed + stats.crashed, stats.running), (13, 0));
}

#[test]
fn a_job_that_closed_every_descriptor_was_said_to_have_been_killed_by_somebody() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let report = crash_of(&pool, |_| {
        // SAFETY: what the worker needs is closed; that is the attack.
        unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        loop {
            std::thread::park();
        }
    });
    assert_eq!((report.cause, report.signal), (CrashCause::LostContact, Some(libc::SIGKILL)));
    let killed = crash_of(&pool, |_| {
        // SAFETY: a signal to this process itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        unreachable!()
    });
    assert_eq!((killed.cause, killed.signal), (CrashCause::Signal, Some(libc::SIGKILL)));
    assert_eq!(outcome(pool.submit(call(add_one, 1)).unwrap()).unwrap(), 2);
}

#[test]
fn output_without_end_hurts_nobody() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let chatter = |n: u32| {
        use std::io::Write;
        let line = [b'x'; 1000];
        for _ in 0..20_000 {
            let _ = std::io::stderr().write_all(&line);
        }
        n
    };
    let loud = pool.submit(call(chatter, 7)).unwrap();
    for n in 0..100 {
        assert_eq!(outcome(pool.submit(call(add_one, n)).unwrap()).unwrap(), n + 1);
    }
    assert_eq!(outcome(loud).unwrap(), 7);
}

/// Its parent can't reap it before the debugger lets go.
#[test]
#[allow(clippy::print_stdout, reason = "what is skipped is named")]
fn a_dead_worker_that_a_debugger_had_stopped_the_pool() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = path("traced");
    let job = pool.submit(call(hold, file.clone())).unwrap();
    let worker = held(&file) as u32;
    let mut tracer = Process::new(trace, worker).daemon(true).start().unwrap();
    let status = format!("/proc/{worker}/status");
    let is = |what: &str, not: &str| {
        let status = std::fs::read_to_string(&status).unwrap();
        status.lines().any(|line| line.starts_with(what) && !line.ends_with(not))
    };
    while !is("TracerPid:", "\t0") {
        if !tracer.is_alive() {
            println!("skipped: nobody may trace here");
            return;
        }
        std::thread::yield_now();
    }
    assert!(job.cancel() && outcome(job).unwrap_err().is_cancelled());
    for n in 0..100 {
        assert_eq!(outcome(pool.submit(call(add_one, n)).unwrap()).unwrap(), n + 1);
    }
    until("it is dead", || is("State:\tZ", "-"));
    tracer.kill().unwrap();
    let _: Result<bool, _> = tracer.join(None);
    until("it is reaped", || !std::fs::exists(format!("/proc/{worker}")).unwrap());
    pool.shutdown(true, false);
    std::fs::remove_file(file).unwrap();
}

/// As above, and it stays that way.
#[test]
#[allow(clippy::print_stdout, reason = "what is skipped is named")]
fn a_dead_worker_that_a_debugger_has_does_not_keep_the_pool_from_ending() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let file = path("traced-at-the-end");
    let job = pool.submit(call(hold, file.clone())).unwrap();
    let worker = held(&file) as u32;
    let tracer = Process::new(trace, worker).daemon(true).start().unwrap();
    let status = format!("/proc/{worker}/status");
    let traced = || std::fs::read_to_string(&status).unwrap().contains("TracerPid:\t0\n");
    while traced() {
        if !tracer.is_alive() {
            println!("skipped: nobody may trace here");
            return;
        }
        std::thread::yield_now();
    }
    drop(job);
    pool.kill_workers();
    pool.shutdown(true, true);
    assert!(std::fs::read_to_string(&status).unwrap().contains("State:\tZ"));
    tracer.kill().unwrap();
    std::fs::remove_file(file).unwrap();
}
