//! What becomes of the executable while the program runs, and workers that are entered explicitly.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::copies::{changed_copy, copy_without_the_constructor, scratch};
use super::*;
use loopool_executors::StartMethod;

pub(crate) const ROLES: [(&str, fn()); 2] =
    [("stays", a_program_that_stays), ("explicit-entry", explicit_entry)];

pub(crate) const SCENARIOS: [(&str, Scenario); 5] = [
    ("an_executable_may_be_replaced_while_the_program_runs", replaced),
    ("an_executable_may_be_removed_while_the_program_runs", removed),
    ("a_program_without_the_constructor_enters_explicitly", entered_explicitly),
    ("workers_may_enter_in_main_though_there_is_the_constructor", entered_in_main),
    ("under_valgrind_the_program_is_not_what_it_seems", under_valgrind),
];

/// Makes a pool before the change and one after it.
fn a_program_that_stays() {
    let early = ProcessPoolExecutor::new(1).unwrap();
    check(&early);
    let spawn = ProcessPoolExecutor::builder().workers(1).start_method(StartMethod::Spawn);
    let spawned = spawn.build().unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    check(&early);
    replace_the_fork_server(&early);
    check(&early);
    // The first worker is started now.
    check(&spawned);
    replace_the_fork_server(&spawned);
    check(&spawned);
    try_to_make_a_pool();
}

fn change_while_it_runs(name: &str, change: impl FnOnce(&Path)) {
    let copy = changed_copy(name, |_| {});
    let mut program =
        in_role(&copy, "stays").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    change(&copy);
    program.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    line.clear();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "a pool that works");
    assert!(program.wait().unwrap().success());
}

fn replaced() -> Result<(), Skipped> {
    change_while_it_runs("replaced", |path| {
        let other = scratch("other");
        std::fs::copy("/bin/true", &other).unwrap();
        std::fs::rename(&other, path).unwrap();
    });
    std::fs::remove_file(scratch("replaced")).unwrap();
    Ok(())
}

fn removed() -> Result<(), Skipped> {
    change_while_it_runs("removed", |path| std::fs::remove_file(path).unwrap());
    Ok(())
}

/// Whether `main` has begun, in the fork server of a worker, too.
static MAIN_HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// In a worker the second line does not return.
fn explicit_entry() {
    MAIN_HAS_BEGUN.store(true, Relaxed);
    loopool_executors::worker_main();
    let refused = ProcessPoolExecutor::new(1).err();
    let pool = ProcessPoolExecutor::builder().workers(1).explicit_entry().build().unwrap();
    check(&pool);
    replace_the_fork_server(&pool);
    check(&pool);
    let has_begun = |()| MAIN_HAS_BEGUN.load(Relaxed);
    assert!(pool.submit(call(has_begun, ())).unwrap().result(HANG).unwrap());
    let spawn = ProcessPoolExecutor::builder().workers(1).start_method(StartMethod::Spawn);
    let spawned = spawn.explicit_entry().build().unwrap();
    check(&spawned);
    assert!(spawned.submit(call(has_begun, ())).unwrap().result(HANG).unwrap());
    print!("{refused:?} without, a pool that works with");
}

fn entered_in_main() -> Result<(), Skipped> {
    let said = said(&mut in_role(std::env::current_exe().unwrap(), "explicit-entry"));
    assert_eq!(said, "None without, a pool that works with");
    Ok(())
}

fn entered_explicitly() -> Result<(), Skipped> {
    let Some(copy) = copy_without_the_constructor("explicit") else {
        return skip("how to return is not known for this architecture");
    };
    let said = said(&mut in_role(&copy, "explicit-entry"));
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(said, "Some(HookMissing) without, a pool that works with");
    Ok(())
}

/// There `/proc/self/exe` is valgrind's.
fn under_valgrind() -> Result<(), Skipped> {
    if cfg!(loopool_plain_memory) {
        return skip("AddressSanitizer and valgrind do not go together");
    }
    let mut command = in_role("valgrind", "make-a-pool");
    let program = std::env::current_exe().unwrap();
    let output = match command.args(["--quiet", "--tool=none"]).arg(program).output() {
        Ok(output) => output,
        Err(error) => return skip(format!("there is no valgrind: {error}")),
    };
    let said = text(&output);
    assert!(said.starts_with("NotAWorker") && said.ends_with("no children"), "{output:?}");
    Ok(())
}
