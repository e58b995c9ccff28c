//! A short run of the chaos program, as its users start it.

use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn a_storm_of_faults_costs_nothing_but_the_jobs_that_have_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--jobs", "100", "--workers", "2", "--seed", "6", "--job-timeout", "3000"])
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    let why: Vec<&str> = stderr.lines().filter(|line| line.starts_with("chaos:")).collect();
    assert!(output.status.success(), "{}: {line}\n{}", output.status, why.join("\n"));
    for (what, count) in [
        ("/jobs", 100),
        ("/right", 100),
        ("/wrong", 0),
        ("/lost", 0),
        ("/workers_at_the_end", 2),
        ("/children_left", 0),
    ] {
        assert_eq!(line.pointer(what), Some(&count.into()), "{what}: {line}");
    }
    // A hundredth each. Whether a job that is cancelled early has been run by then, nobody knows.
    for cause in [
        "aborted",
        "segfaulted",
        "killed",
        "overflowed",
        "out_of_memory",
        "timed_out",
        "panicked",
        "exited",
    ] {
        assert_eq!(line["by_cause"][cause], 1, "{cause}: {line}");
    }
    assert_eq!(line["ok"], true);
}

#[test]
fn nonsense_is_refused() {
    for arguments in [["--jobs", "0"], ["--workers", "many"], ["--hope", "1"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_chaos")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
