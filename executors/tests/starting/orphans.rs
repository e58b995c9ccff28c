//! Programs to which the kernel gives what dead workers leave.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::copies::scratch;
use super::*;

pub(crate) const ROLES: [(&str, fn()); 2] = [("subreaper", subreaper), ("forks", forks)];

pub(crate) const SCENARIOS: [(&str, Scenario); 2] = [
    ("what_killed_workers_left_to_the_program_was_not_reaped", what_is_left),
    ("a_child_of_the_program_kept_its_workers_alive", who_lives_on),
];

/// Starts processes, one of which starts others, writes its own number down, and ends none.
fn leave(path: PathBuf) {
    let mut nested = Command::new("sh");
    let script = "sleep 1000 & sleep 1000 & echo $PPID > \"$0\"; sleep 1000";
    nested.args(["-c", script]).arg(path);
    let _children = [Command::new("sleep").arg("1000").spawn().unwrap(), nested.spawn().unwrap()];
    loop {
        std::thread::park();
    }
}

/// The names and states of this program's children.
fn children_of_mine() -> Vec<(String, String)> {
    let me = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").unwrap();
    let child = |entry: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.to_owned();
        (fields.next()? == me).then(|| (name.to_owned(), state))
    };
    entries.filter_map(child).collect()
}

/// Whether a job has started it.
fn is_left(child: &(String, String)) -> bool {
    ["sh", "sleep"].contains(&&*child.0)
}

fn subreaper() {
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    let mut own = Command::new("true").spawn().unwrap();
    let only_own = [("true".to_owned(), "Z".to_owned())];
    until("the end of its own child", || children_of_mine() == only_own);
    for is_last in [false, true] {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        for _ in 0..3 {
            let path = scratch("left");
            let mut job = pool.submit(call(leave, path.clone())).unwrap();
            let mut worker = String::new();
            until("the children", || {
                worker = std::fs::read_to_string(&path).unwrap_or_default();
                worker.ends_with('\n')
            });
            std::fs::remove_file(path).unwrap();
            assert!(job.cancel() && job.result(HANG).unwrap_err().is_cancelled());
            if !is_last {
                let worker = Path::new("/proc").join(worker.trim());
                until("the end of the worker", || !worker.exists());
                until("the end of the others", || !children_of_mine().iter().any(is_left));
            }
        }
        pool.shutdown(true, false);
        assert_eq!(children_of_mine(), only_own);
    }
    assert!(own.wait().unwrap().success());
    print!("only its own");
}

fn what_is_left() -> Result<(), Skipped> {
    assert_eq!(said(&mut myself("subreaper")), "only its own");
    Ok(())
}

/// Has a worker that runs a job, and a child that runs no other program.
fn forks() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let _runs = pool.submit(call(leave_nothing, ())).unwrap();
    until("the job", || pool.stats().running == 1);
    // SAFETY: the child only waits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            std::thread::sleep(HANG);
        }
    }
    println!("{} {} {child}", pool.worker_pids()[0], pool.fork_server_pid().unwrap());
    loop {
        std::thread::park();
    }
}

fn leave_nothing(_: ()) {
    loop {
        std::thread::park();
    }
}

fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn who_lives_on() -> Result<(), Skipped> {
    let mut program = myself("forks").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let numbers: Vec<i32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [worker, server, child] = numbers[..] else { panic!("{line}") };
    assert!(lives(worker) && lives(server) && lives(child));
    program.kill().unwrap();
    program.wait().unwrap();
    until("the end of the others", || !lives(worker) && !lives(server));
    assert!(lives(child));
    // SAFETY: it was not reaped: it still runs.
    unsafe { libc::kill(child, libc::SIGKILL) };
    Ok(())
}
