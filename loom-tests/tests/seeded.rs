//! The models find bugs: each is run against sources with one bug put in, and must fail.
//!
//! A copy of this crate and of the files it includes is built in a directory of its own, and the
//! model runs as a process of its own, because it ends by aborting.

#[path = "seeded/bugs.rs"]
mod bugs;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use self::bugs::{BUGS, Bug};

/// Of the tasks, of parking and of the promises: one each, to be run always.
const QUICK: [&str; 3] = [
    "a wake by reference during a poll is not noted",
    "a push for one loop has no fence (F1)",
    "the other waker is put into the cell after the lock was given back",
];

/// The directories that the models include files from.
const SOURCES: [&str; 16] = [
    "executors/src",
    "executors/src/exit",
    "executors/src/jobs",
    "executors/src/process/transport",
    "executors/src/promise",
    "runtime/src",
    "runtime/src/cancel",
    "runtime/src/runtime",
    "runtime/src/task",
    "runtime/src/scheduler",
    "runtime/src/reactor",
    "runtime/src/sync",
    "runtime/src/sync/mpsc",
    "runtime/src/sync/oneshot",
    "runtime/src/sync/permits",
    "runtime/src/time",
];

/// Where the models are.
const TESTS: &str = "loom-tests/tests";

/// The directories of this package.
const OWN: [&str; 5] = [
    "loom-tests",
    "loom-tests/src",
    "loom-tests/tests",
    "loom-tests/tests/sync",
    "loom-tests/tests/task",
];

#[test]
fn every_bug_has_its_place() {
    for bug in BUGS {
        let directory = Path::new(bug.file).parent();
        let is_copied =
            SOURCES.iter().chain(&OWN).any(|copied| directory == Some(Path::new(copied)));
        assert!(is_copied, "{} is not in the copy", bug.file);
        seed(bug, &read(&root().join(bug.file)));
    }
    for what in QUICK {
        assert!(BUGS.iter().any(|bug| bug.what == what), "there is no bug \"{what}\"");
    }
}

/// Without one nobody knows whether the model can fail.
#[test]
fn every_model_has_a_bug() {
    let models = models();
    for (test, model) in &models {
        let has_bug = BUGS.iter().any(|bug| bug.test == test && bug.model == model);
        assert!(has_bug, "no bug is to be found by {model} in {test}.rs");
    }
    for bug in BUGS {
        let is_there = models.iter().any(|(test, model)| bug.test == test && bug.model == model);
        assert!(
            is_there,
            "there is no {} in {}.rs, which is to find \"{}\"",
            bug.model, bug.test, bug.what
        );
    }
}

#[test]
fn a_few_bugs_are_found() {
    expect_found(BUGS.iter().filter(|bug| QUICK.contains(&bug.what)));
}

#[test]
#[ignore = "takes minutes: one build per bug"]
fn every_bug_is_found() {
    let part = std::env::var("LOOPOOL_LOOM_BUG").unwrap_or_default();
    expect_found(BUGS.iter().filter(|bug| bug.what.contains(&part)));
}

fn expect_found<'a>(bugs: impl Iterator<Item = &'a Bug>) {
    // One copy, used by one at a time.
    static COPY: Mutex<()> = Mutex::new(());
    let _copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = make_copy();
    let missed: Vec<_> = bugs.filter(|bug| !is_found(bug, &copy)).map(|bug| bug.what).collect();
    assert!(missed.is_empty(), "no model fails although {missed:#?}");
}

fn is_found(bug: &Bug, copy: &Path) -> bool {
    let file = copy.join(bug.file);
    let sound = read(&file);
    write(&file, &seed(bug, &sound));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--offline", "--quiet", "--test", bug.test, "--", "--exact", bug.model])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env_remove("LOOPOOL_LOOM_FULL")
        .output()
        .expect("cargo runs");
    write(&file, &sound);
    let text = String::from_utf8_lossy(&output.stderr);
    let report = text.lines().find(|line| line.contains(": FAILED: "));
    let passed = text.lines().any(|line| line.contains(" executions in "));
    assert!(report.is_some() || passed, "\"{}\" was not run:\n{text}", bug.what);
    say(&format!("{}: {}", bug.what, if report.is_some() { bug.model } else { "MISSED" }));
    report.is_some() && !output.status.success()
}

/// The file and the name of every model, as the table has them.
fn models() -> Vec<(String, String)> {
    let mut models = Vec::new();
    for directory in OWN.iter().filter(|directory| directory.starts_with(TESTS)) {
        for entry in fs::read_dir(root().join(directory)).expect("a directory of this package") {
            let path = entry.expect("an entry").path();
            if path.is_dir() || path.ends_with("seeded.rs") {
                continue;
            }
            let file = path.file_stem().expect("a name").to_str().expect("UTF-8");
            // `task/requests.rs` is the module `requests` of the test `task`.
            let (test, module) = match directory.strip_prefix(TESTS).expect("filtered") {
                "" => (file, String::new()),
                test => (&test[1..], format!("{file}::")),
            };
            for name in names_of_tests(&read(&path)) {
                models.push((test.to_owned(), format!("{module}{name}")));
            }
        }
    }
    models
}

fn names_of_tests(source: &str) -> impl Iterator<Item = &str> {
    source.split("#[test]\n").skip(1).map(|test| {
        let (_, name) = test.split_once("fn ").expect("a test is a function");
        name.split('(').next().expect("a first part")
    })
}

/// The source with the bug.
fn seed(bug: &Bug, source: &str) -> String {
    let places = source.matches(bug.find).count();
    assert_eq!(places, 1, "the place of \"{}\" in {} is not clear", bug.what, bug.file);
    source.replace(bug.find, bug.replace)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn make_copy() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded");
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members = ")).expect("members");
    let manifest = manifest.replace(members, "members = [\"loom-tests\"]");
    let manifest = manifest.split("[profile.").next().expect("a first part");
    // Quick to build, and the models take seconds at most.
    let profile = "[profile.test]\nopt-level = 1\ndebug = false\nincremental = false\n\
                   [profile.test.package.\"*\"]\nopt-level = 3\n";
    write(&copy.join("Cargo.toml"), &format!("{manifest}{profile}"));
    write(&copy.join("Cargo.lock"), &read(&root().join("Cargo.lock")));
    for directory in SOURCES.iter().chain(&OWN) {
        for entry in fs::read_dir(root().join(directory)).expect("a directory of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name");
                write(&copy.join(directory).join(name), &read(&path));
            }
        }
    }
    // Not its own models.
    let _ = fs::remove_file(copy.join("loom-tests/tests/seeded.rs"));
    copy
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Leaves a file alone that has this content already, so that nothing is built for it.
fn write(path: &Path, content: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == content) {
        return;
    }
    let written = || -> io::Result<()> {
        fs::create_dir_all(path.parent().expect("a file lies in a directory"))?;
        fs::write(path, content)
    };
    written().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Past the test harness's capture: the table takes minutes.
fn say(message: &str) {
    use io::Write;
    let _ = writeln!(io::stderr(), "{message}");
}
