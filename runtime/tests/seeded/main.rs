//! The tests of cancellation find bugs: each rule is broken in a copy of the sources, and a test must
//! fail.
//!
//! The copy is built in a directory of its own. The table is `bugs.rs`; each text in it must be found
//! exactly once, so it cannot get out of date unnoticed. That is checked always; the rest takes minutes.

mod bugs;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::bugs::{BUGS, Bug};

/// A test that hangs because of a bug has found it.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_bug_has_its_place() {
    for bug in BUGS {
        seed(bug, &read(&root().join(bug.file)));
    }
}

/// Or none of them could be tried.
#[test]
fn the_copy_is_a_workspace() {
    let copy = make_copy();
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(copy)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `LOOPOOL_SEEDED_BUG` is a part of the name of those that are tried.
#[test]
#[ignore = "takes minutes: one build per bug"]
fn every_bug_is_found() {
    let part = std::env::var("LOOPOOL_SEEDED_BUG").unwrap_or_default();
    let copy = make_copy();
    assert!(passes(&copy, None), "the tests fail without a bug");
    let missed: Vec<_> = BUGS
        .iter()
        .filter(|bug| bug.what.contains(&part))
        .filter(|bug| !is_found(bug, &copy))
        .map(|bug| bug.what)
        .collect();
    assert!(missed.is_empty(), "no test fails although {missed:#?}");
}

fn is_found(bug: &Bug, copy: &Path) -> bool {
    let file = copy.join(bug.file);
    let sound = read(&file);
    write(&file, &seed(bug, &sound));
    let found = !passes(copy, Some(bug.test));
    write(&file, &sound);
    say(&format!("{}: {}", bug.what, if found { bug.test } else { "MISSED" }));
    found
}

/// Whether this test of `cancel` passes, or all.
fn passes(copy: &Path, test: Option<&str>) -> bool {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["test", "--offline", "--quiet", "-p", "loopool", "--test", "cancel"])
            .args(arguments)
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", copy.join("target"));
        command
    };
    let built = cargo(&["--no-run"]).output().expect("cargo runs");
    assert!(
        built.status.success(),
        "it does not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let exact = test.map_or(vec!["--"], |test| vec!["--", "--exact", test]);
    let mut child =
        cargo(&exact).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("cargo runs");
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().expect("our child") {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Of a test that hangs only cargo is killed; the test sees no one that reads and ends with us.
    child.kill().and_then(|()| child.wait()).expect("our child");
    false
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
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeded-cancel");
    let manifest = read(&root().join("Cargo.toml"));
    let members = manifest.lines().find(|line| line.starts_with("members = ")).expect("members");
    let manifest = manifest.replace(members, "members = [\"runtime\", \"executors\"]");
    let manifest = manifest.split("[profile.").next().expect("a first part");
    write(&copy.join("Cargo.toml"), &format!("{manifest}[profile.dev]\ndebug = false\n"));
    write(&copy.join("Cargo.lock"), &read(&root().join("Cargo.lock")));
    for file in ["README.md", "runtime/Cargo.toml", "executors/Cargo.toml"] {
        let mut text = read(&root().join(file));
        // Tests and examples that a manifest names are not in the copy.
        for kind in ["[[test]]", "[[example]]"] {
            while let Some(begin) = text.find(kind) {
                let end = text[begin..].find("\n[").map_or(text.len(), |length| begin + length + 1);
                text.replace_range(begin..end, "");
            }
        }
        write(&copy.join(file), &text);
    }
    for directory in ["runtime/src", "executors/src", "runtime/tests/cancel"] {
        copy_directory(&root().join(directory), &copy.join(directory));
    }
    copy
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_directory(&path, &to);
        } else {
            write(&to, &read(&path));
        }
    }
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
    let _ = writeln!(io::stderr(), "{message}");
}
