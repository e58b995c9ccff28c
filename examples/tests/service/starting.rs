//! How the service starts, or says why it does not.

use std::net::TcpListener;

use crate::harness::{Service, command, stderr_of};

/// Runs the program to its end; its exit code, and what it said on standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = command(arguments).spawn().unwrap();
    let said = stderr_of(&mut child);
    (child.wait().unwrap().code(), said)
}

#[test]
fn an_address_in_use_is_one_sentence_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = run(&["--listen", &address]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn bad_arguments_are_one_sentence_and_exit_code_2() {
    for arguments in [&["--listen", "nowhere"][..], &["--queue", "0"], &["--unknown"], &["surplus"]]
    {
        let (code, said) = run(arguments);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
    }
}

#[test]
fn help_is_on_standard_output() {
    let output = command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--listen",
        "--processes",
        "--threads",
        "--queue",
        "--job-timeout",
        "--cpu-limit",
        "--worker-memory",
        "--require-sandbox",
        "--max-body",
        "--faults",
    ] {
        assert!(text.contains(option), "{option} is not in the help");
    }
}

#[test]
fn two_services_run_side_by_side() {
    let services = [Service::start(&[]), Service::start(&[])];
    assert_ne!(services[0].address(), services[1].address());
    for service in &services {
        assert_eq!(service.get("/healthz").status, 200);
    }
}
