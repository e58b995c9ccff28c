//! Programs in another root, and as the first process of a namespace.

use super::copies::scratch;
use super::program::Program;
use super::*;

pub(crate) const ROLES: [(&str, fn()); 3] = [
    ("pool-after-chroot", pool_after_chroot),
    ("pool-before-chroot", pool_before_chroot),
    ("first-process", first_process),
];

pub(crate) const SCENARIOS: [(&str, Scenario); 4] = [
    ("in_a_root_without_proc_no_pool_is_made", in_a_root_without_proc),
    ("a_pool_from_before_the_chroot_goes_on", made_before_the_chroot),
    ("the_first_process_of_a_namespace_has_a_pool", first_of_a_namespace),
    ("the_end_of_the_first_process_ends_all", end_of_the_first_process),
];

/// An empty folder to be the root.
fn change_root() {
    let folder = scratch("root");
    std::fs::create_dir(&folder).unwrap();
    nix::unistd::chroot(&folder).unwrap();
    std::env::set_current_dir("/").unwrap();
}

fn in_a_new_root(role: &str) -> Result<String, Skipped> {
    if !is_root() {
        return skip(NEEDS_ROOT);
    }
    let program = myself(role).stdout(Stdio::piped()).spawn().unwrap();
    let pid = program.id();
    let output = program.wait_with_output().unwrap();
    let folder = std::env::temp_dir().join(format!("loopool-root-{pid}"));
    std::fs::remove_dir(folder).unwrap();
    assert!(output.status.success(), "{output:?}");
    Ok(text(&output))
}

fn pool_after_chroot() {
    change_root();
    try_to_make_a_pool();
}

fn in_a_root_without_proc() -> Result<(), Skipped> {
    assert_eq!(in_a_new_root("pool-after-chroot")?, "NoProc, no children");
    Ok(())
}

/// The fork server stays outside: whatever dies of its workers is replaced. When it is lost itself there is no
/// other one, and jobs say so.
fn pool_before_chroot() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    change_root();
    check(&pool);
    let server = nix::unistd::Pid::from_raw(pool.fork_server_pid().unwrap() as i32);
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGKILL).unwrap();
    // A worker that is left may still take jobs, until each has died.
    let error = loop {
        let abort = |_: u32| -> u32 { std::process::abort() };
        let error = pool.submit(call(abort, 1)).unwrap().result(HANG).unwrap_err();
        if error.crash().is_none() {
            break error;
        }
    };
    print!("works; then: {}", error.is_rejected() && error.to_string().contains("/proc"));
}

fn made_before_the_chroot() -> Result<(), Skipped> {
    assert_eq!(in_a_new_root("pool-before-chroot")?, "works; then: true");
    Ok(())
}

/// The arguments that start a program as the first process of a new namespace, with a `/proc` of its own.
fn unshare(role: &str) -> Result<Command, Skipped> {
    if !is_root() {
        return skip(NEEDS_ROOT);
    }
    let arguments = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut command = in_role("unshare", role);
    let program = std::env::current_exe().unwrap();
    let tried = Command::new("unshare").args(arguments).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => return skip(format!("there is no unshare: {error}")),
    }
    command.args(arguments).arg(program);
    Ok(command)
}

fn first_process() {
    assert_eq!(std::process::id(), 1);
    let pool = ProcessPoolExecutor::new(2).unwrap();
    check(&pool);
    replace_the_fork_server(&pool);
    check(&pool);
    // An orphan becomes a child of the first process; it is none of the pool's.
    let orphan = |_: u32| {
        let script = "sleep 0.01 & exit 0";
        std::process::Command::new("sh").args(["-c", script]).status().unwrap().code().unwrap()
    };
    assert_eq!(pool.submit(call(orphan, 1)).unwrap().result(HANG).unwrap(), 0);
    check(&pool);
    let stats = pool.shutdown(true, false);
    print!("{} jobs, {} crashed", stats.submitted, stats.crashed);
    if std::env::var_os("LOOPOOL_TEST_STAYS").is_some() {
        let pool = ProcessPoolExecutor::new(2).unwrap();
        let spin = |mut n: u64| -> u64 {
            loop {
                n = std::hint::black_box(n.wrapping_add(1));
            }
        };
        let jobs = [1, 2].map(|n| pool.submit(call(spin, n)).unwrap());
        until("the start", || pool.stats().running == 2);
        std::fs::write(std::env::var_os("LOOPOOL_TEST_STAYS").unwrap(), "").unwrap();
        std::mem::forget((pool, jobs));
        loop {
            std::thread::park();
        }
    }
}

fn first_of_a_namespace() -> Result<(), Skipped> {
    let mut command = unshare("first-process")?;
    assert_eq!(said(&mut command), "10 jobs, 3 crashed");
    Ok(())
}

/// Processes that live and have `mark` in their environment.
fn marked(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap();
    let environments =
        entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    let has_it = |environment: &Vec<u8>| {
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    environments.filter(has_it).count()
}

fn end_of_the_first_process() -> Result<(), Skipped> {
    let file = scratch("stays");
    let mut command = unshare("first-process")?;
    let program = command.env("LOOPOOL_TEST_STAYS", &file).stdout(Stdio::null()).spawn();
    let mut program = Program(program.unwrap());
    until("the second pool", || file.exists());
    std::fs::remove_file(&file).unwrap();
    let mark = format!("LOOPOOL_TEST_STAYS={}", file.display());
    // Unshare, the program, its fork server and two workers; and the orphan, until it has ended.
    until("five processes", || marked(&mark) == 5);
    program.kill();
    until("the end of all", || marked(&mark) == 0);
    Ok(())
}
