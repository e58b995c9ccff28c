//! How programs end, a program per row of the table in `docs/exit.md`. This test is such a program itself: it
//! starts copies of itself, each of which plays one row, and compares what they say, in order, and their exit
//! codes.
//!
//! A thread that has to outlive `main` waits at the gate, which is opened by an exit handler of the row's
//! own, so it goes on only when the program is ending already; then it takes its time. Nothing but the rules
//! lets it say its word.

#![allow(clippy::print_stdout, reason = "what a row says is what is tested")]

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

const ROW: &str = "LOOPOOL_TEST_ROW";
const HANG: Duration = Duration::from_secs(120);
/// So long a program that hangs by rule is watched.
const STILL: Duration = Duration::from_millis(400);
/// Long enough for a program to end that does not wait.
const MOMENT: Duration = Duration::from_millis(60);

/// So long the end of a program waits for its standard output.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

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
        // Threads.
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
        // SAFETY: there is one thread here.
        unsafe { std::env::remove_var(ROW) };
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

fn check(row: &Row) {
    let errors = if row.name == "main_panics" || row.name == "a_thread_panics" {
        Stdio::null()
    } else {
        Stdio::inherit()
    };
    let mut program = Program(play(row.name).stderr(errors).spawn().unwrap());
    let expected: String = row.says.iter().map(|line| format!("{line}\n")).collect();
    let output = program.0.stdout.take().unwrap();
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|len| len > 0) {
            let _ = say.send(std::mem::take(&mut line));
        }
    });
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
    if row.name == "a_flush_is_waited_for" && text.is_empty() && started.elapsed() > FLUSH_LIMIT {
        // The machine is so busy that the limit may have been reached: that shows nothing.
        return check(row);
    }
    let missing = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    assert_eq!(text + missing, expected, "{}, which ended with {status}", row.name);
    match row.ends {
        Code(code) => assert_eq!(status.code(), Some(code), "{}: {status}", row.name),
        Signal(signal) => assert_eq!(status.signal(), Some(signal), "{}: {status}", row.name),
        Never => unreachable!(),
    }
}

// What the programs are made of.

/// Opened once, for all.
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    const fn new() -> Self {
        Gate(Mutex::new(false), Condvar::new())
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// Opened when the program ends.
static EXIT: Gate = Gate::new();
/// Opened when somebody else has come to where the row wants him.
static THERE: Gate = Gate::new();

extern "C" fn exit_begins() {
    println!("exit begins");
    EXIT.open();
}

fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handlers here may run at any time.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}

/// Says so when the exit begins. To be called when the library has registered its own handler: so this one
/// comes first.
fn announce_exit() {
    at_exit(exit_begins);
}

/// A thread that ends its work when the program is ending, after a moment.
fn start_a_late_thread() {
    let late = || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

// The table.

fn main_returns() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    ExitCode::SUCCESS
}

fn main_returns_a_code() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    ExitCode::from(3)
}

fn main_panics() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    panic!("by the row's rule");
}

fn main_exits() -> ExitCode {
    start_a_late_thread();
    println!("main ends");
    std::process::exit(7)
}

fn exit_in_a_thread(exit: fn()) -> ExitCode {
    let late = || {
        // Until `main` has said its word, and a moment more, in which it returns.
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
    Thread::new(exit).start().unwrap();
    EXIT.wait();
    println!("main runs on");
    THERE.open();
    ExitCode::from(1)
}

fn a_thread_exits() -> ExitCode {
    exit_in_a_thread(|| std::process::exit(7))
}

fn a_thread_exits_by_ours() -> ExitCode {
    exit_in_a_thread(|| loopool_executors::exit(7))
}

fn a_thread_panics() -> ExitCode {
    let panics = || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        println!("thread panics");
        panic!("by the row's rule");
    };
    Thread::new(panics).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(5)
}

fn exits(exit: fn()) {
    EXIT.wait();
    println!("exits");
    THERE.open();
    exit();
}

/// Another thread exits while this program waits for one that takes its time.
fn exit_meanwhile(start: fn()) -> ExitCode {
    let late = || {
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("thread ends");
    };
    Thread::new(late).start().unwrap();
    announce_exit();
    start();
    println!("main ends");
    ExitCode::from(3)
}

fn a_daemon_exits_meanwhile() -> ExitCode {
    exit_meanwhile(|| {
        Thread::new(|| exits(|| std::process::exit(9))).daemon(true).start().unwrap();
    })
}

fn a_foreign_thread_exits_meanwhile() -> ExitCode {
    exit_meanwhile(|| {
        std::thread::spawn(|| exits(|| std::process::exit(9)));
    })
}

fn a_thread_exits_meanwhile() -> ExitCode {
    Thread::new(|| exits(|| std::process::exit(9))).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(3)
}

fn a_thread_exits_meanwhile_by_ours() -> ExitCode {
    Thread::new(|| exits(|| loopool_executors::exit(9))).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::from(3)
}

fn foreign_code_exits_meanwhile() -> ExitCode {
    Thread::new(|| park()).start().unwrap();
    announce_exit();
    // SAFETY: that two threads call it is what is tried; the C library allows it, in this order.
    std::thread::spawn(|| exits(|| unsafe { libc::exit(9) }));
    println!("main ends");
    ExitCode::from(3)
}

fn it_aborts() -> ExitCode {
    start_a_late_thread();
    println!("aborts");
    std::process::abort()
}

fn it_exits_at_once() -> ExitCode {
    start_a_late_thread();
    println!("exits at once");
    std::io::stdout().flush().unwrap();
    // SAFETY: a plain system call.
    unsafe { libc::_exit(4) }
}

fn it_is_killed() -> ExitCode {
    start_a_late_thread();
    println!("dies");
    // SAFETY: a plain system call.
    unsafe { libc::raise(libc::SIGTERM) };
    park()
}

// Executors.

fn late_job(number: usize) -> usize {
    EXIT.wait();
    std::thread::sleep(MOMENT / 3);
    println!("job {number}");
    number
}

extern "C" fn submit_late() {
    let refused = LATE.get().unwrap()();
    println!("late: {}", if refused { "refused" } else { "taken" });
}

/// What an exit handler tries that comes after ours.
static LATE: OnceLock<Box<dyn Fn() -> bool + Send + Sync>> = OnceLock::new();

/// Whether this one refuses, and a new one as well.
fn refuses<E: Executor<fn()>>(pool: &E, new: &E) -> bool {
    [pool, new].into_iter().all(|pool| {
        let Err(refused) = pool.submit(|| ()) else { return false };
        refused.is_shut_down() && refused.to_string().contains("the program is ending")
    })
}

fn a_thread_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    let _ = LATE.set(Box::new(move || refuses(&pool, &ThreadPoolExecutor::new(1))));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_dropped_thread_pools_jobs_are_run() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_thread_pool_shut_down_without_waiting() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    pool.shutdown(false, false);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_cpu_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = CpuExecutor::new(1).unwrap();
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    let _ = LATE.set(Box::new(move || refuses(&pool, &CpuExecutor::new(1).unwrap())));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_dropped_cpu_pools_jobs_are_run() -> ExitCode {
    let pool = CpuExecutor::new(1).unwrap();
    (0..3).for_each(|n| drop(pool.submit(move || late_job(n)).unwrap()));
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_cpu_pools_only_job_is_waited_for() -> ExitCode {
    let pool = CpuExecutor::new(1).unwrap();
    let job = || {
        THERE.open();
        late_job(0)
    };
    drop(pool.submit(job).unwrap());
    announce_exit();
    THERE.wait();
    println!("main ends");
    ExitCode::SUCCESS
}

fn slow_in_a_worker(number: usize) -> usize {
    std::thread::sleep(MOMENT);
    number
}

fn submit_to_processes(pool: &ProcessPoolExecutor) {
    for number in 0..3 {
        let job = pool.submit(call(slow_in_a_worker, number)).unwrap();
        job.add_done_callback(|outcome| {
            EXIT.wait();
            println!("job {}", outcome.as_ref().unwrap());
        });
    }
}

fn a_process_pools_jobs_are_run() -> ExitCode {
    at_exit(submit_late);
    let pool = ProcessPoolExecutor::new(1).unwrap();
    submit_to_processes(&pool);
    let _ = LATE.set(Box::new(move || {
        let refused = pool.submit(call(slow_in_a_worker, 3)).unwrap_err();
        let made = ProcessPoolExecutor::new(1);
        refused.is_shut_down() && matches!(made, Err(ProcessPoolError::ShuttingDown))
    }));
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_dropped_process_pools_jobs_are_run() -> ExitCode {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    submit_to_processes(&pool);
    drop(pool);
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

/// The only worker exits, with jobs behind it.
fn exit_in_a_job<E>(pool: &E) -> ExitCode
where
    E: Executor<Box<dyn FnOnce() + Send>>,
{
    announce_exit();
    let exits = || {
        THERE.wait();
        std::process::exit(6)
    };
    drop(pool.submit(Box::new(exits)).unwrap());
    for number in 1..3 {
        drop(pool.submit(Box::new(move || _ = late_job(number))).unwrap());
    }
    THERE.open();
    park()
}

fn a_thread_pools_job_exits() -> ExitCode {
    exit_in_a_job(&ThreadPoolExecutor::new(1))
}

fn a_cpu_pools_job_exits() -> ExitCode {
    exit_in_a_job(&CpuExecutor::new(1).unwrap())
}

fn a_thread_pools_job_exits_meanwhile() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    drop(pool.submit(|| exits(|| loopool_executors::exit(9))).unwrap());
    drop(pool.submit(|| late_job(1)).unwrap());
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_callback_of_a_process_pool_exits() -> ExitCode {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    announce_exit();
    let job = pool.submit(call(slow_in_a_worker, 0)).unwrap();
    job.add_done_callback(|_| std::process::exit(6));
    park()
}

/// The thread goes on until the executors are closed.
fn executors_are_closed_before_threads_have_ended() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let thread = move || {
        EXIT.wait();
        until("the refusal", || pool.submit(|| ()).is_err());
        println!("thread ends");
    };
    Thread::new(thread).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

// Threads.

fn threads_of_threads_are_waited_for() -> ExitCode {
    let parent = || {
        EXIT.wait();
        let child = || {
            THERE.wait();
            std::thread::sleep(MOMENT);
            println!("its thread ends");
        };
        Thread::new(child).start().unwrap();
        println!("thread ends");
        THERE.open();
    };
    Thread::new(parent).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_the_ended() {
    println!("{} threads have ended", ENDED.load(SeqCst));
}

/// They may not even have begun when `main` has ended.
fn no_thread_is_lost() -> ExitCode {
    at_exit(count_the_ended);
    for _ in 0..64 {
        Thread::new(|| ENDED.fetch_add(1, SeqCst)).start().unwrap();
    }
    println!("main ends");
    ExitCode::SUCCESS
}

fn forty_daemons() -> ExitCode {
    let (begin, begun) = mpsc::channel();
    for _ in 0..40 {
        let begin = begin.clone();
        let busy = move || {
            begin.send(()).unwrap();
            let mut texts = Vec::new();
            loop {
                texts.push(format!("{texts:?}").len().to_string());
                texts.truncate(20);
            }
        };
        Thread::new(busy).daemon(true).start().unwrap();
    }
    assert_eq!(begun.iter().take(40).count(), 40);
    Thread::new(|| ()).start().unwrap();
    ExitCode::SUCCESS
}

/// The daemon lives for as long as the other does.
fn daemon_and_other_threads() -> ExitCode {
    let (ask, asked) = mpsc::channel::<mpsc::Sender<&str>>();
    let daemon = move || {
        asked.iter().for_each(|answer| answer.send("the daemon lives").unwrap());
        println!("the daemon ends");
    };
    Thread::new(daemon).daemon(true).start().unwrap();
    let other = move || {
        EXIT.wait();
        std::thread::sleep(MOMENT);
        let (answer, answered) = mpsc::channel();
        ask.send(answer).unwrap();
        println!("{}", answered.recv().unwrap());
        println!("thread ends");
        // The daemon would say so if it could.
        std::mem::forget(ask);
    };
    Thread::new(other).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(MOMENT);
        println!("destroyed");
    }
}

thread_local!(static SLOW: Slow = const { Slow });

fn thread_locals_of_pools_are_destroyed() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let job = || {
        SLOW.with(|_| ());
        late_job(0)
    };
    drop(pool.submit(job).unwrap());
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

fn thread_locals_are_destroyed() -> ExitCode {
    let thread = || {
        SLOW.with(|_| ());
        EXIT.wait();
        println!("thread ends");
    };
    Thread::new(thread).start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

// Processes.

fn sleep_for_ever(_: ()) {
    park()
}

fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid as i32, 0) == 0 }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

extern "C" fn all_is_over() {
    println!("all is over");
}

/// The daemon goes when the main code has ended, while the other still runs.
fn daemon_and_other_processes() -> ExitCode {
    at_exit(all_is_over);
    let daemon = Process::new(sleep_for_ever, ()).daemon(true).start().unwrap();
    let other = |daemon: u32| {
        until("the end of the daemon", || !exists(daemon));
        println!("the daemon has gone");
        std::thread::sleep(MOMENT);
        println!("process ends");
    };
    println!("main ends");
    Process::new(other, daemon.pid()).start().unwrap();
    ExitCode::SUCCESS
}

extern "C" fn ignore(_: i32) {
    let line = b"asked to end\n";
    // SAFETY: async-signal-safe, and the buffer has the length given.
    unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
}

/// Tells its parent when it has become so.
fn be_deaf(parent: u32) {
    // SAFETY: the handler does only what a handler may; a plain system call.
    unsafe {
        libc::signal(libc::SIGTERM, ignore as extern "C" fn(i32) as usize);
        libc::kill(parent as i32, libc::SIGUSR1);
    }
    park()
}

fn a_daemon_that_will_not_end() -> ExitCode {
    at_exit(all_is_over);
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGUSR1);
    signals.thread_block().unwrap();
    Process::new(be_deaf, std::process::id()).daemon(true).start().map(drop).unwrap();
    signals.wait().unwrap();
    println!("main ends");
    ExitCode::SUCCESS
}

fn a_process_waits_for_its_threads() -> ExitCode {
    let function = |_: ()| {
        start_a_late_thread();
        println!("process ends");
    };
    Process::new(function, ()).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

fn a_process_may_have_children() -> ExitCode {
    let function = |_: ()| {
        let mut child = Process::new(|n: u32| n, 1).start().unwrap();
        let mut thread = Thread::new(|| 2).start().unwrap();
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let three = pool.submit(call(|n: u32| n, 3)).unwrap().result(None).unwrap();
        let (one, two) = (child.join(None).unwrap(), thread.join(None).unwrap());
        println!("child, thread and pool: {one} {two} {three}");
    };
    Process::new(function, ()).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

fn a_daemon_process_may_not() -> ExitCode {
    let function = |_: ()| {
        let child = Process::new(|n: u32| n, 1);
        assert!(child.is_daemon());
        let refused = child.daemon(false).start().unwrap_err();
        println!("{}", if refused.is_nested() { "nested" } else { "started" });
        assert_eq!(refused.into_unstarted().into_argument(), 1);
        let made = ProcessPoolExecutor::new(1);
        println!(
            "{}",
            if matches!(made, Err(ProcessPoolError::Nested)) { "nested" } else { "made" }
        );
    };
    Process::new(function, ()).daemon(true).start().unwrap().join(None).unwrap();
    println!("joined");
    ExitCode::SUCCESS
}

extern "C" fn count_children() {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    println!("{} children", lists.map(|list| list.split_whitespace().count()).sum::<usize>());
}

fn processes_nobody_joins_leave_no_zombies() -> ExitCode {
    at_exit(count_children);
    for n in 0..4 {
        Process::new(|n: u32| n, n).daemon(n % 2 == 0).start().map(drop).unwrap();
    }
    println!("main ends");
    ExitCode::SUCCESS
}

// Hooks and handlers.

fn hooks_run_last_first() -> ExitCode {
    let pool = ThreadPoolExecutor::new(1);
    let first = move || {
        println!("first hook");
        assert!(register_at_exit(|| ()).unwrap_err().is_shut_down());
        drop(pool.submit(|| println!("job")).unwrap());
    };
    register_at_exit(first).unwrap();
    register_at_exit(|| println!("last hook")).unwrap();
    println!("main ends");
    ExitCode::SUCCESS
}

extern "C" fn earlier_handler() {
    let thread = Thread::new(|| ()).start().is_err_and(|error| error.is_shutting_down());
    let daemon = Thread::new(|| ()).daemon(true).start().is_err_and(|it| it.is_shutting_down());
    let process = Process::new(|_: ()| (), ()).start().is_err_and(|it| it.is_shutting_down());
    let hook = register_at_exit(|| ()).is_err();
    let all = [thread, daemon, process, hook];
    println!("earlier handler: {}", if all == [true; 4] { "refused" } else { "started" });
}

extern "C" fn later_handler() {
    let late = || {
        THERE.wait();
        std::thread::sleep(MOMENT);
        println!("its thread ends");
    };
    let started = Thread::new(late).start().is_ok();
    println!("later handler: {}", if started { "started" } else { "refused" });
    THERE.open();
}

/// The C library runs them backwards.
fn handlers_before_and_after_ours() -> ExitCode {
    at_exit(earlier_handler);
    Thread::new(|| ()).start().unwrap();
    at_exit(later_handler);
    println!("main ends");
    ExitCode::SUCCESS
}

/// A fork has the lists, and none of the threads.
fn a_fork_waits_for_nobody() -> ExitCode {
    start_a_late_thread();
    // SAFETY: the child does nothing but end, with this program's handlers; the only other thread waits at
    // the gate and holds no lock then, or is not there yet.
    let status = unsafe {
        match libc::fork() {
            0 => {
                // Nothing of the child's is to be seen but its code.
                libc::close(libc::STDOUT_FILENO);
                libc::exit(8)
            }
            pid => {
                let mut status = 0;
                libc::waitpid(pid, &mut status, 0);
                status
            }
        }
    };
    println!("the fork ended with {}", libc::WEXITSTATUS(status));
    println!("main ends");
    ExitCode::SUCCESS
}

// Standard output.

fn a_partial_line_is_saved() -> ExitCode {
    let holder = || {
        let mut output = std::io::stdout().lock();
        THERE.open();
        std::thread::sleep(MOMENT);
        write!(output, "main ends\nexit begins\npartial").unwrap();
    };
    Thread::new(holder).start().unwrap();
    THERE.wait();
    ExitCode::SUCCESS
}

extern "C" fn open_the_gate() {
    EXIT.open();
}

/// A daemon lets go of it when everything else is over.
fn a_flush_is_waited_for() -> ExitCode {
    let keeper = || {
        let mut output = std::io::stdout().lock();
        THERE.open();
        EXIT.wait();
        std::thread::sleep(MOMENT / 10);
        write!(output, "flushed").unwrap();
    };
    Thread::new(keeper).daemon(true).start().unwrap();
    Thread::new(|| ()).start().unwrap();
    at_exit(open_the_gate);
    THERE.wait();
    ExitCode::SUCCESS
}

fn somebody_keeps_the_standard_output() -> ExitCode {
    println!("kept");
    let keeper = || {
        let _output = std::io::stdout().lock();
        THERE.open();
        park()
    };
    Thread::new(keeper).daemon(true).start().unwrap();
    Thread::new(|| ()).start().unwrap();
    THERE.wait();
    ExitCode::SUCCESS
}

// Who keeps the program from ending is named.

struct Listener;

#[derive(Default)]
struct Warning {
    what: String,
    waiting_for: String,
}

impl tracing::field::Visit for Warning {
    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "what" => self.what = value.to_owned(),
            "waiting_for" => self.waiting_for = value.to_owned(),
            _ => {}
        }
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut warning = Warning::default();
        event.record(&mut warning);
        println!("{}: {}", warning.what, warning.waiting_for);
        THERE.open();
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn whoever_keeps_it_is_named() -> ExitCode {
    tracing::subscriber::set_global_default(Listener).unwrap();
    // It ends when it has been told of.
    Thread::new(|| THERE.wait()).name("slow").start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}

// A program that is killed.

fn victim() -> ExitCode {
    let survivor = |parent: u32| {
        until("the end of the program", || nix::unistd::getppid().as_raw() as u32 != parent);
        println!("the other lives on");
    };
    let daemon = Process::new(sleep_for_ever, ()).daemon(true).start().unwrap();
    let other = Process::new(survivor, std::process::id()).start().unwrap();
    println!("{} {}", daemon.pid(), other.pid());
    park()
}

fn a_killed_program_leaves_only_those_that_are_no_daemons() {
    let mut program = Program(play("victim").spawn().unwrap());
    let mut output = BufReader::new(program.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let daemon = line.split_whitespace().next().unwrap().to_owned();
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    let lives = || {
        std::fs::read_to_string(format!("/proc/{daemon}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    };
    until("the end of the daemon", || !lives());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "the other lives on\n");
}
