//! Where a table comes from: which commit, which machine, which peers.

use std::fs;
use std::process::Command;

use crate::processes::python;
use crate::runtimes::{Name, THREADS, cpython};

/// Versions as they are locked.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Those whose versions matter to a reader.
const PEERS: [&str; 10] = [
    "tokio",
    "async-executor",
    "async-io",
    "blocking",
    "monoio",
    "rayon",
    "hyper",
    "async-channel",
    "local-sync",
    "procspawn",
];

/// A paragraph for above the table. What the machine does not tell is called unknown.
pub fn describe(rounds: usize) -> String {
    let unknown = || "unknown".to_owned();
    let mut versions: Vec<_> = PEERS.iter().filter_map(|peer| locked(peer)).collect();
    versions.push(match cpython::version() {
        Some(version) => format!("CPython {version}"),
        None => "no CPython, for there is no `python3` that starts: skipped".to_owned(),
    });
    for package in [Name::Loky, Name::Pebble] {
        let name = package.name();
        versions.push(match python::version(package) {
            Some(version) => format!("{name} {version}"),
            None => format!("no {name}, for that `python3` has none: missing"),
        });
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| unknown());
    let load: Vec<_> = load.split_whitespace().take(3).collect();
    format!(
        "loopool at {}, rounds: {rounds}, {} on {} CPUs ({THREADS} threads each), Linux {}; {}. Load \
         average before, over 1, 5 and 15 minutes: {}.\n",
        commit().unwrap_or_else(unknown),
        processor().unwrap_or_else(unknown),
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel.trim(),
        versions.join(", "),
        load.join(", "),
    )
}

/// The commit that is checked out where this was built, and whether files differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(commit.trim().to_owned() + if changed { " with changes" } else { "" })
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A package with its version.
fn locked(package: &str) -> Option<String> {
    let after = LOCK.split_once(&format!("name = \"{package}\"\nversion = \""))?.1;
    Some(format!("{package} {}", after.split_once('"')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_locked() {
        assert!(PEERS.iter().all(|peer| locked(peer).is_some()));
    }
}
