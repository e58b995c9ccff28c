//! A shared library, loaded by a program that knows nothing of us.

use super::copies::scratch;
use super::*;

pub(crate) const SCENARIOS: [(&str, Scenario); 1] =
    [("a_shared_library_makes_no_pool", a_shared_library)];

/// The compiler that the linker needs in any case.
const COMPILER: &str = "cc";

fn a_shared_library() -> Result<(), Skipped> {
    // Where this test is, examples are next door.
    let mut library = std::env::current_exe().unwrap();
    library.pop();
    library.pop();
    library.push("examples/libplugin.so");
    if !library.exists() {
        return skip(format!(
            "{} was not built: test the whole package, or build its examples",
            library.display()
        ));
    }
    let host = scratch("host");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/starting/host.c");
    let compiled = Command::new(COMPILER).arg("-o").arg(&host).arg(source).arg("-ldl").output();
    match compiled {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return skip(format!("there is no {COMPILER}: {error}")),
    }
    let said = said(Command::new(&host).arg(&library).stdin(Stdio::null()));
    std::fs::remove_file(&host).unwrap();
    assert_eq!(said, "1", "not refused as what it is");
    Ok(())
}
