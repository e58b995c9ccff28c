//! Sandboxes: what jobs can't do any more, what they still can, and that the kernel's word on it is told.
#![allow(clippy::print_stdout, reason = "what is skipped is named")]

use std::time::Duration;

use loopool_executors::{
    CrashCause, Executor, Job, JobError, ProcessPoolBuilder, ProcessPoolError, ProcessPoolExecutor,
    Sandbox, call,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

fn outcome<T>(mut job: Job<T>) -> Result<T, JobError> {
    let outcome = job.result(HANG);
    assert!(!matches!(&outcome, Err(error) if error.is_wait_timeout()), "hangs");
    outcome
}

fn builder(sandbox: Sandbox) -> ProcessPoolBuilder {
    ProcessPoolExecutor::builder().workers(1).sandbox(sandbox)
}

/// A pool with a profile; none where this kernel has not what it needs, which is said.
fn pool(sandbox: Sandbox) -> Option<ProcessPoolExecutor> {
    match builder(sandbox).build() {
        Ok(pool) => Some(pool),
        Err(error @ ProcessPoolError::NoSandbox { .. }) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn run<A, R>(pool: &ProcessPoolExecutor, function: fn(A) -> R, argument: A) -> R
where
    A: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    R: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    outcome(pool.submit(call(function, argument)).unwrap()).unwrap()
}

/// A job, and what it dies of.
type Death = (fn(u32) -> u32, CrashCause);

/// The system's error number.
type Errno = Option<i32>;

fn errno<T>(result: std::io::Result<T>) -> Errno {
    result.err().map(|error| error.raw_os_error().unwrap_or(-1))
}

fn connect(_: ()) -> Errno {
    errno(std::net::TcpStream::connect("127.0.0.1:9"))
}

fn unix_socket(_: ()) -> Errno {
    errno(std::os::unix::net::UnixDatagram::unbound())
}

fn read(path: String) -> Errno {
    errno(std::fs::read(path))
}

fn write(path: String) -> Errno {
    errno(std::fs::write(path, "x"))
}

fn execute(program: String) -> Errno {
    errno(std::process::Command::new(program).spawn().map(|mut child| child.wait()))
}

fn copy_itself(_: ()) -> Errno {
    // SAFETY: the copy ends at once.
    match unsafe { libc::fork() } {
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        -1 => errno::<()>(Err(std::io::Error::last_os_error())),
        _ => None,
    }
}

fn signal_the_program(_: ()) -> Errno {
    // SAFETY: signal 0 does nothing but ask.
    match unsafe { libc::kill(libc::getppid(), 0) } {
        0 => None,
        _ => errno::<()>(Err(std::io::Error::last_os_error())),
    }
}

fn peek_at_the_program(_: ()) -> Errno {
    // SAFETY: a plain question.
    let parent = unsafe { libc::getppid() };
    errno(std::fs::File::open(format!("/proc/{parent}/mem")))
}

/// What any job may need: threads, time, randomness, memory, blobs, panics.
fn compute(n: u32) -> u64 {
    let threads: Vec<_> = (0..4)
        .map(|k| {
            std::thread::spawn(move || {
                let mut table = std::collections::HashMap::new();
                for i in 0..n {
                    table.insert(i, vec![k; 1000]);
                }
                std::thread::sleep(Duration::from_millis(1));
                table.values().map(|values| values.len() as u64).sum::<u64>()
            })
        })
        .collect();
    let begun = std::time::Instant::now();
    let sum = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(begun.elapsed() > Duration::ZERO);
    assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
    sum
}

fn a_file(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("loopool-{name}-{}", std::process::id()));
    std::fs::write(&path, "text").unwrap();
    path.to_str().unwrap().to_owned()
}

const REFUSED: Errno = Some(libc::EPERM);

fn is_refused(errno: Errno) -> bool {
    errno == REFUSED || errno == Some(libc::EACCES)
}

#[test]
fn without_network_everything_else_goes_on() {
    let Some(pool) = pool(Sandbox::no_network()) else { return };
    assert_eq!(run(&pool, connect, ()), REFUSED);
    assert_eq!(run(&pool, unix_socket, ()), REFUSED);
    assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), None);
    assert_eq!(run(&pool, execute, "true".to_owned()), None);
    assert_eq!(run(&pool, copy_itself, ()), None);
    assert_eq!(run(&pool, compute, 100), 4 * 100 * 1000);
    assert_eq!(pool.stats().crashed, 0);
}

/// Whether a pair of sockets of this family and kind can be had.
fn pair((family, kind): (i32, i32)) -> Errno {
    let mut fds = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    match unsafe { libc::socketpair(family, kind, 0, fds.as_mut_ptr()) } {
        0 => None,
        _ => errno::<()>(Err(std::io::Error::last_os_error())),
    }
}

#[test]
fn a_raw_pair_of_unix_sockets_could_send_to_anybody() {
    for sandbox in [Sandbox::no_network(), Sandbox::pure()] {
        let Some(pool) = pool(sandbox) else { continue };
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC] {
            assert_eq!(run(&pool, pair, (libc::AF_UNIX, kind)), None);
        }
        // The kernel makes one of datagrams out of it, which may send to any address.
        for kind in [libc::SOCK_RAW, libc::SOCK_DGRAM, libc::SOCK_RAW | libc::SOCK_NONBLOCK] {
            assert_eq!(run(&pool, pair, (libc::AF_UNIX, kind)), REFUSED);
        }
        assert_eq!(run(&pool, pair, (libc::AF_TIPC, libc::SOCK_STREAM)), REFUSED);
    }
}

/// What a job may try with a file that it has opened for reading, and with opening it in other ways.
fn change_by_descriptor(path: String) -> Vec<(String, Errno)> {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open(&path).unwrap();
    let path = std::ffi::CString::new(path).unwrap();
    let fd = file.as_raw_fd();
    let tell = |name: &str, result: i64| {
        let failed = (result < 0).then(std::io::Error::last_os_error);
        (name.to_owned(), failed.and_then(|error| error.raw_os_error()))
    };
    let flags = [0i32; 1];
    let (none, at, value) = (std::ptr::null::<libc::timespec>(), path.as_ptr(), c"1".as_ptr());
    // SAFETY: a descriptor, C strings and buffers that outlive the calls.
    unsafe {
        vec![
            tell("fchmod", i64::from(libc::fchmod(fd, 0o777))),
            tell("fchown", i64::from(libc::fchown(fd, libc::getuid(), libc::getgid()))),
            tell(
                "fsetxattr",
                i64::from(libc::fsetxattr(fd, c"user.a".as_ptr(), value.cast(), 1, 0)),
            ),
            tell("futimens", i64::from(libc::futimens(fd, none))),
            tell("fchmodat2", libc::syscall(libc::SYS_fchmodat2, libc::AT_FDCWD, at, 0o777, 0)),
            tell("truncate", i64::from(libc::open(at, libc::O_RDONLY | libc::O_TRUNC))),
            tell("create", i64::from(libc::open(at, libc::O_RDONLY | libc::O_CREAT, 0o600))),
            // FS_IOC_SETFLAGS: that it is not to be backed up, and the like.
            tell("flags", i64::from(libc::ioctl(fd, 0x4008_6602, flags.as_ptr()))),
        ]
    }
}

#[test]
fn what_may_only_be_read_was_changed_by_its_descriptor() {
    use std::os::unix::fs::MetadataExt;
    let inside = a_file("descriptor");
    let mode = std::fs::metadata(&inside).unwrap().mode();
    let profiles = [
        Sandbox::read_only([&inside]),
        Sandbox::pure().allow_read([&inside]),
        Sandbox::pure().allow_read([&inside]).allow_write(["/dev/null"]),
    ];
    for (number, sandbox) in profiles.into_iter().enumerate() {
        let Some(pool) = pool(sandbox) else { continue };
        for (what, errno) in run(&pool, change_by_descriptor, inside.clone()) {
            let harmless = number == 2 && what == "create";
            assert!(is_refused(errno) || harmless, "profile {number}, {what}: {errno:?}");
        }
    }
    assert_eq!(std::fs::metadata(&inside).unwrap().mode(), mode);
    assert_eq!(std::fs::read(&inside).unwrap(), b"text");
    std::fs::remove_file(inside).unwrap();
}

/// Whether the job may change where, and with what priority, the program runs, and whom a socket's signals go to.
fn meddle_with_the_program(_: ()) -> Vec<(String, Errno)> {
    let tell = |name: &str, result: i64| {
        let failed = (result < 0).then(std::io::Error::last_os_error);
        (name.to_owned(), failed.and_then(|error| error.raw_os_error()))
    };
    // SAFETY: sets of the size given, and numbers; a pair of sockets of its own.
    unsafe {
        let parent = libc::getppid();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        let param: libc::sched_param = std::mem::zeroed();
        let mut fds = [0; 2];
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, fds.as_mut_ptr());
        let who = parent as libc::id_t;
        vec![
            tell("affinity", i64::from(libc::sched_setaffinity(parent, size_of_val(&set), &set))),
            tell(
                "scheduler",
                i64::from(libc::sched_setscheduler(parent, libc::SCHED_OTHER, &param)),
            ),
            tell("nice", i64::from(libc::setpriority(libc::PRIO_PROCESS, who, 10))),
            tell("nice of all", i64::from(libc::setpriority(libc::PRIO_USER, 0, 10))),
            tell("nice of a group", i64::from(libc::setpriority(libc::PRIO_PGRP, who, 10))),
            tell("io priority", libc::syscall(libc::SYS_ioprio_set, 1, parent, 0)),
            tell("owner", i64::from(libc::ioctl(fds[0], 0x8901, &raw const parent))),
            tell("group", i64::from(libc::ioctl(fds[0], 0x8902, &raw const parent))),
        ]
    }
}

/// What it may do with itself.
fn place_itself(_: ()) -> bool {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set) == 0
            && libc::sched_setaffinity(libc::getpid(), size_of_val(&set), &set) == 0
    }
}

#[test]
fn a_job_moved_the_program_to_other_cpus() {
    let profiles = [
        Sandbox::no_network(),
        Sandbox::no_network().deny_processes(),
        Sandbox::read_only(["/usr"]),
        Sandbox::pure(),
    ];
    for (number, sandbox) in profiles.into_iter().enumerate() {
        let Some(pool) = pool(sandbox) else { continue };
        for (what, errno) in run(&pool, meddle_with_the_program, ()) {
            // Where children may be had Landlock keeps their signals in, if it can.
            let may_own = number % 2 == 0 && (what == "owner" || what == "group");
            assert!(is_refused(errno) || may_own, "profile {number}, {what}: {errno:?}");
        }
        assert!(run(&pool, place_itself, ()), "profile {number}");
    }
}

#[test]
fn only_the_paths_that_were_named_can_be_read() {
    let (inside, outside) = (a_file("inside"), a_file("outside"));
    let Some(pool) = pool(Sandbox::read_only([&inside])) else { return };
    assert_eq!(run(&pool, read, inside.clone()), None);
    assert_eq!(run(&pool, read, outside.clone()), Some(libc::EACCES));
    assert!(is_refused(run(&pool, write, inside.clone())));
    assert!(is_refused(run(&pool, write, format!("{inside}.new"))));
    assert!(is_refused(run(&pool, execute, "/bin/true".to_owned())));
    let remove = |path: String| errno(std::fs::remove_file(path));
    assert!(is_refused(run(&pool, remove, inside.clone())));
    let open_to_all = |path: String| {
        use std::os::unix::fs::PermissionsExt;
        errno(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)))
    };
    assert!(is_refused(run(&pool, open_to_all, outside.clone())));
    assert_eq!(run(&pool, compute, 100), 4 * 100 * 1000);
    assert_eq!(std::fs::read(&inside).unwrap(), b"text");
    for file in [inside, outside] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_directory_that_was_named_for_writing_can_be_written() {
    let directory = format!("{}.d", a_file("directory"));
    std::fs::create_dir_all(&directory).unwrap();
    let sandbox = Sandbox::pure().allow_write([&directory]).allow_read(["/etc/passwd"]);
    let Some(pool) = pool(sandbox) else { return };
    let file = format!("{directory}/file");
    assert_eq!(run(&pool, write, file.clone()), None);
    let rename = |path: String| errno(std::fs::rename(&path, format!("{path}.2")));
    assert_eq!(run(&pool, rename, file.clone()), None);
    assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), None);
    assert!(is_refused(run(&pool, write, "/etc/passwd".to_owned())));
    assert!(is_refused(run(&pool, read, "/etc/hostname".to_owned())));
    assert_eq!(run(&pool, connect, ()), REFUSED);
    assert_eq!(std::fs::read(format!("{file}.2")).unwrap(), b"x");
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::remove_file(directory.trim_end_matches(".d")).unwrap();
}

#[test]
fn a_pure_job_computes_and_nothing_else() {
    let Some(pool) = pool(Sandbox::pure()) else { return };
    assert_eq!(run(&pool, compute, 100), 4 * 100 * 1000);
    assert_eq!(run(&pool, connect, ()), REFUSED);
    assert_eq!(run(&pool, unix_socket, ()), REFUSED);
    assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), REFUSED);
    assert_eq!(run(&pool, write, a_file("pure")), REFUSED);
    assert!(is_refused(run(&pool, execute, "/bin/true".to_owned())));
    assert_eq!(run(&pool, copy_itself, ()), REFUSED);
    let echo = |blob: loopool_executors::Blob| blob;
    let blob = loopool_executors::Blob::from(vec![7; 3 << 20]);
    assert_eq!(run(&pool, echo, blob)[..], [7; 3 << 20]);
    let panics = |n: u32| -> u32 { panic!("number {n}") };
    let error = outcome(pool.submit(call(panics, 7)).unwrap()).unwrap_err();
    assert_eq!(error.panic_message(), Some("number 7"));
    assert_eq!((pool.stats().crashed, pool.stats().failed), (0, 1));
    std::fs::remove_file(a_file("pure")).unwrap();
}

#[test]
fn other_processes_are_out_of_reach() {
    let profiles = [Sandbox::no_network(), Sandbox::read_only(["/proc"]), Sandbox::pure()];
    for sandbox in profiles {
        let Some(pool) = pool(sandbox) else { return };
        assert!(is_refused(run(&pool, signal_the_program, ())));
        assert!(is_refused(run(&pool, peek_at_the_program, ())));
        // SAFETY: asks for the limits of another process.
        let limits_of_the_program = |_: ()| unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            let resource = libc::RLIMIT_NOFILE;
            let asked = libc::prlimit(libc::getppid(), resource, std::ptr::null(), &mut limit);
            if asked == 0 { None } else { errno::<()>(Err(std::io::Error::last_os_error())) }
        };
        assert_eq!(run(&pool, limits_of_the_program, ()), REFUSED);
        // SAFETY: a ring that is not used.
        let ring = |_: ()| unsafe {
            match libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null::<u8>()) {
                -1 => errno::<()>(Err(std::io::Error::last_os_error())),
                _ => None,
            }
        };
        assert_eq!(run(&pool, ring, ()), REFUSED);
    }
}

/// What a job that is denied something dies of.
fn denial<A>(sandbox: Sandbox, function: fn(A) -> Errno, argument: A) -> Option<String>
where
    A: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let pool = pool(sandbox.kill_on_denial())?;
    let error = outcome(pool.submit(call(function, argument)).unwrap()).unwrap_err();
    let report = error.crash().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(report.signal, Some(libc::SIGSYS), "{error}");
    let CrashCause::SandboxDenied { syscall } = report.cause else { panic!("{error}") };
    // Only that job is affected.
    assert_eq!(run(&pool, compute, 10), 4 * 10 * 1000);
    Some(syscall.expect("the call is told").name().expect("it has a name").to_owned())
}

#[test]
fn a_denial_that_kills_names_the_call() {
    let inside = a_file("killed");
    let path = || "/etc/passwd".to_owned();
    let rows = [
        denial(Sandbox::no_network(), connect, ()).map(|name| (name, "socket")),
        denial(Sandbox::pure(), connect, ()).map(|name| (name, "socket")),
        denial(Sandbox::pure(), read, path()).map(|name| (name, "openat")),
        denial(Sandbox::read_only([&inside]), write, inside.clone()).map(|name| (name, "openat")),
        denial(Sandbox::pure(), copy_itself, ()).map(|name| (name, "clone")),
        denial(Sandbox::no_network().deny_processes(), copy_itself, ()).map(|name| (name, "clone")),
        denial(Sandbox::pure(), signal_the_program, ()).map(|name| (name, "kill")),
    ];
    for (name, expected) in rows.into_iter().flatten() {
        assert_eq!(name, expected);
    }
    std::fs::remove_file(inside).unwrap();
}

#[test]
fn starting_a_program_kills_as_well() {
    let replace = |_: ()| -> Errno {
        let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
        // SAFETY: replaces the worker by a program, which is the offence.
        unsafe { libc::execv(arguments[0], arguments.as_ptr()) };
        errno::<()>(Err(std::io::Error::last_os_error()))
    };
    for sandbox in [Sandbox::pure(), Sandbox::read_only(["/bin"])] {
        if let Some(name) = denial(sandbox, replace, ()) {
            assert_eq!(name, "execve");
        }
    }
}

#[test]
fn where_files_are_named_reading_others_fails_and_does_not_kill() {
    let inside = a_file("named");
    let Some(pool) = pool(Sandbox::read_only([&inside]).kill_on_denial()) else { return };
    assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), Some(libc::EACCES));
    assert_eq!(run(&pool, read, inside.clone()), None);
    std::fs::remove_file(inside).unwrap();
}

#[test]
fn a_backtrace_killed_its_job() {
    // What looks for names in /proc and finds the door closed is the standard library, and not the job.
    let sandbox = Sandbox::pure().kill_on_denial();
    let Ok(pool) = builder(sandbox).env("RUST_BACKTRACE", "full").build() else { return };
    let panics = |n: u32| -> u32 { panic!("number {n}") };
    let error = outcome(pool.submit(call(panics, 7)).unwrap()).unwrap_err();
    assert_eq!(error.panic_message(), Some("number 7"), "{error}");
    let cpus = |_: ()| std::thread::available_parallelism().is_ok();
    assert!(run(&pool, cpus, ()));
    assert_eq!(run(&pool, compute, 100), 4 * 100 * 1000);
}

#[test]
fn a_killing_sandbox_leaves_other_deaths_as_they_are() {
    let Some(pool) = pool(Sandbox::pure().kill_on_denial()) else { return };
    let abort = |_: u32| -> u32 { std::process::abort() };
    // SAFETY: none; the point is that this is wrong.
    let fault =
        |n: u32| unsafe { std::ptr::without_provenance::<u32>(n as usize * 8).read_volatile() };
    // SAFETY: plain system calls.
    let sigsys = |_: u32| unsafe { libc::raise(libc::SIGTERM) } as u32;
    let rows: [Death; 3] =
        [(abort, CrashCause::Abort), (fault, CrashCause::Segfault), (sigsys, CrashCause::Signal)];
    for (function, cause) in rows {
        let error = outcome(pool.submit(call(function, 1)).unwrap()).unwrap_err();
        assert_eq!(error.crash().unwrap().cause, cause, "{error}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_other_numbers_are_denied_too() {
    // The x32 kind of the same call, which a filter that compares numbers overlooks.
    let connect = |_: ()| {
        // SAFETY: a socket that is not used.
        let socket = unsafe { libc::syscall(0x4000_0000 | libc::SYS_socket, libc::AF_INET, 1, 0) };
        if socket < 0 { errno::<()>(Err(std::io::Error::last_os_error())) } else { None }
    };
    for sandbox in [Sandbox::no_network(), Sandbox::pure()] {
        let Some(pool) = pool(sandbox) else { return };
        assert_eq!(run(&pool, connect, ()), REFUSED);
    }
}

#[test]
fn a_sandbox_leaves_limits_at_work() {
    let with_limit = |time: Duration| {
        let builder = builder(Sandbox::pure().kill_on_denial());
        builder.cpu_limit(time).rss_limit(256 << 20).open_files(40).build()
    };
    let Ok(pool) = with_limit(Duration::from_millis(200)) else { return };
    // To get hold of so much memory takes more than that where others want the processor's caches.
    let patient = with_limit(Duration::from_secs(60)).unwrap();
    let spin = |mut n: u32| -> u32 {
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    };
    let overflow = |n: u32| -> u32 {
        fn deeper(n: u32) -> u32 {
            let frame = std::hint::black_box([n; 200]);
            if n == u32::MAX {
                0
            } else {
                deeper(n.wrapping_add(1) | 1) + frame[(n % 200) as usize]
            }
        }
        deeper(n)
    };
    let hoard = |n: u32| -> u32 {
        let mut hoard = Vec::new();
        while hoard.len() < 1 << 20 {
            hoard.push(std::hint::black_box(vec![n as u8 | 1; 8 << 20]));
        }
        n
    };
    let mut rows: Vec<(&ProcessPoolExecutor, Death)> = vec![
        (&pool, (spin, CrashCause::CpuLimit)),
        (&patient, (overflow, CrashCause::StackOverflow)),
    ];
    if !cfg!(loopool_plain_memory) {
        rows.push((&patient, (hoard, CrashCause::OutOfMemory)));
    }
    for (pool, (function, cause)) in rows {
        let error = outcome(pool.submit(call(function, 1)).unwrap()).unwrap_err();
        assert_eq!(error.crash().map(|report| report.cause), Some(cause), "{error}");
        assert_eq!(run(pool, compute, 10), 40_000);
    }
}

#[test]
fn what_is_enforced_is_told() {
    let Some(pool) = pool(Sandbox::pure()) else { return };
    assert_eq!(pool.enforced(), None, "no worker has been started");
    run(&pool, compute, 1);
    let enforced = pool.enforced().unwrap();
    assert!(enforced.is_complete() && enforced.no_new_privs && enforced.seccomp, "{enforced:?}");
    println!("this kernel: {enforced:?}");
    // The kernel itself says the same.
    let status = |_: ()| {
        // Without files nothing of /proc can be read.
        // SAFETY: plain questions.
        unsafe {
            (libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), libc::prctl(libc::PR_GET_SECCOMP))
        }
    };
    assert_eq!(run(&pool, status, ()), (1, 2));
    let plain = ProcessPoolExecutor::builder()
        .workers(1)
        .memory_limit(1 << 50)
        .open_files(100)
        .build()
        .unwrap();
    run(&plain, compute, 1);
    let enforced = plain.enforced().unwrap();
    let own = status(());
    assert!(!enforced.seccomp && enforced.landlock_abi.is_none());
    assert_eq!(enforced.no_new_privs, own.0 == 1, "as the program");
    assert_eq!((enforced.memory_limit, enforced.open_files), (Some(1 << 50), Some(100)));
    assert_eq!(run(&plain, status, ()), own);
}

#[test]
fn what_cannot_be_enforced_is_an_error_or_told() {
    let nowhere = "/nonexistent/loopool";
    let error = builder(Sandbox::read_only([nowhere])).build().unwrap_err();
    assert!(matches!(&error, ProcessPoolError::NoSandbox { .. }), "{error}");
    assert!(error.to_string().contains(nowhere), "{error}");
    let pool = builder(Sandbox::read_only([nowhere]).best_effort()).build().unwrap();
    assert_eq!(run(&pool, compute, 1), 4000);
    let enforced = pool.enforced().unwrap();
    assert!(!enforced.is_complete());
    assert!(enforced.missing.iter().any(|what| what.contains(nowhere)), "{enforced:?}");
    // The rest is in force.
    if enforced.landlock_abi.is_some() {
        assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), Some(libc::EACCES));
    }
}

#[test]
fn a_path_that_is_gone_when_a_worker_starts_breaks_the_pool() {
    let file = a_file("gone");
    let Some(pool) = pool(Sandbox::read_only([&file])) else { return };
    std::fs::remove_file(&file).unwrap();
    let error = outcome(pool.submit(call(compute, 1)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("sandbox") && error.to_string().contains(&file), "{error}");
    assert!(pool.submit(call(compute, 1)).is_err(), "no job runs without it");
}

#[test]
fn the_initializer_comes_first_and_what_it_opened_stays() {
    use std::io::Read;
    use std::sync::{Mutex, OnceLock};
    static OPENED: OnceLock<Mutex<std::fs::File>> = OnceLock::new();
    let open = || {
        let file = std::fs::File::open("/etc/passwd").map_err(|error| error.to_string())?;
        OPENED.set(Mutex::new(file)).map_err(|_| "twice".to_owned())
    };
    let Ok(pool) = builder(Sandbox::pure()).initializer(open).build() else { return };
    let read_on = |_: ()| {
        let mut text = String::new();
        OPENED.get().unwrap().lock().unwrap().read_to_string(&mut text).unwrap();
        text.len() as u64
    };
    assert_eq!(run(&pool, read_on, ()), std::fs::metadata("/etc/passwd").unwrap().len());
    assert_eq!(run(&pool, read, "/etc/passwd".to_owned()), REFUSED);
}

#[test]
fn threads_of_the_initializer_are_bound_too() {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Mutex, OnceLock};
    type Ask = Mutex<Sender<Sender<Errno>>>;
    static READER: OnceLock<Ask> = OnceLock::new();
    fn start() -> Result<(), String> {
        let (ask, asked) = channel::<Sender<Errno>>();
        std::thread::spawn(move || {
            for answer in asked {
                let _ = answer.send(read("/etc/passwd".to_owned()));
            }
        });
        READER.set(Mutex::new(ask)).map_err(|_| "twice".to_owned())
    }
    let by_that_thread = |_: ()| {
        let (answer, answered) = channel();
        READER.get().unwrap().lock().unwrap().send(answer).unwrap();
        answered.recv().unwrap()
    };
    let Ok(pool) = builder(Sandbox::pure()).initializer(start).build() else { return };
    assert_eq!(run(&pool, by_that_thread, ()), REFUSED);
    // Landlock does not reach them in most kernels, and that is not kept secret.
    let named = || Sandbox::read_only(["/proc"]);
    let pool = builder(named()).initializer(start).build().unwrap();
    match outcome(pool.submit(call(by_that_thread, ())).unwrap()) {
        Ok(errno) => assert_eq!(errno, Some(libc::EACCES)),
        Err(error) => assert!(error.to_string().contains("threads"), "{error}"),
    }
    let pool = builder(named().best_effort()).initializer(start).build().unwrap();
    let read_by_it = run(&pool, by_that_thread, ());
    assert_eq!(pool.enforced().unwrap().is_complete(), read_by_it.is_some());
}

#[test]
fn the_environment_is_clean_if_asked_for() {
    let variables = |_: ()| std::env::vars().collect::<Vec<_>>();
    let Ok(pool) = builder(Sandbox::no_network().clear_env()).env("KEPT", "1").build() else {
        return;
    };
    assert_eq!(run(&pool, variables, ()), [("KEPT".to_owned(), "1".to_owned())]);
}

#[test]
fn workers_with_a_sandbox_die_with_the_pool() {
    let Some(pool) = pool(Sandbox::pure()) else { return };
    let wait = |_: ()| {
        loop {
            std::thread::park();
        }
    };
    let job: Job<()> = pool.submit(call(wait, ())).unwrap();
    while pool.stats().running == 0 {
        std::thread::yield_now();
    }
    assert!(job.cancel());
    assert!(outcome(job).unwrap_err().is_cancelled());
    assert_eq!(run(&pool, compute, 1), 4000);
    assert_eq!(pool.shutdown(true, false).running, 0);
}
