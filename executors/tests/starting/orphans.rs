//! Programs to which the kernel gives what dead workers leave.

use std::path::{Path, PathBuf};

use super::copies::scratch;
use super::*;

pub(crate) const ROLES: [(&str, fn()); 1] = [("subreaper", subreaper)];

pub(crate) const SCENARIOS: [(&str, Scenario); 1] =
    [("what_killed_workers_left_to_the_program_was_not_reaped", what_is_left)];

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
