//! CPython's pool of threads: a process of its own does one round and tells what it cost.

use std::process::Command;

use crate::Error;
use crate::meter::Cost;

/// What it runs.
const PROGRAM: &str = include_str!("cpython.py");

/// So many operations of one of the workloads that the program knows, after some that are not timed.
///
/// # Errors
/// When there is no CPython, or the program fails.
pub(crate) fn measure(workload: &str, warm_up: u64, ops: u64) -> Result<Cost, Error> {
    let [warm_up, ops] = [warm_up, ops].map(|ops| ops.to_string());
    Cost::told_by(Command::new("python3").args(["-c", PROGRAM, workload, &warm_up, &ops]))
}

/// Its version, if there is one.
pub(crate) fn version() -> Option<String> {
    let told = Command::new("python3").arg("--version").output().ok()?;
    let version = String::from_utf8(told.stdout).ok()?;
    Some(version.trim().strip_prefix("Python ")?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_program_knows_the_workloads_and_no_others() {
        if version().is_none() {
            let _ = writeln!(std::io::stderr(), "skipped: there is no python3 that starts");
            return;
        }
        for workload in ["blocking_lat", "blocking_tput", "blocking_map", "blocking_naps"] {
            let cost = measure(workload, 1, 20).unwrap();
            assert!(cost.wall > Duration::ZERO && cost.cpu > Duration::ZERO);
        }
        assert!(measure("spawn_join", 1, 20).is_err());
    }
}
