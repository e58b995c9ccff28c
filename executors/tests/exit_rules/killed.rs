//! A program that is killed.

use super::*;

pub(super) fn victim() -> ExitCode {
    let survivor = |parent: u32| {
        until("the end of the program", || nix::unistd::getppid().as_raw() as u32 != parent);
        println!("the other lives on");
    };
    let daemon = Process::new(sleep_for_ever, ()).daemon(true).start().unwrap();
    let other = Process::new(survivor, std::process::id()).start().unwrap();
    println!("{} {}", daemon.pid(), other.pid());
    park()
}

pub(super) fn a_killed_program_leaves_only_those_that_are_no_daemons() {
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
