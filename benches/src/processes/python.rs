//! Python's pools: CPython's own, loky's and pebble's, in whatever environment `python3` is of.

use std::process::Command;
use std::sync::LazyLock;

use super::row::Row;
use crate::runtimes::Name;

/// Where the module lies that measures. A file, since workers import it.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/processes");

/// Measures, and writes a line of JSON.
const PROGRAM: &str = "import loopool_bench_pools as pools; pools.main()";

/// Says which version of a package there is, without the time that it takes to import it.
const VERSION: &str =
    "import sys; from importlib.metadata import version; print(version(sys.argv[1]))";

/// What is to be called to measure it.
pub(super) fn program(runtime: Name, row: Row) -> Command {
    let mut python = Command::new("python3");
    // Nothing is written beside the sources.
    python.args(["-B", "-c", PROGRAM, "--runtime", runtime.name(), "--row", row.name()]);
    python.env("PYTHONPATH", DIRECTORY).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// Which version is installed, if any.
pub(crate) fn version(runtime: Name) -> Option<String> {
    static LOKY: LazyLock<Option<String>> = LazyLock::new(|| installed("loky"));
    static PEBBLE: LazyLock<Option<String>> = LazyLock::new(|| installed("pebble"));
    match runtime {
        Name::CPython => crate::runtimes::cpython::version(),
        Name::Loky => LOKY.clone(),
        Name::Pebble => PEBBLE.clone(),
        _ => None,
    }
}

fn installed(package: &str) -> Option<String> {
    let told = Command::new("python3").args(["-c", VERSION, package]).output().ok()?;
    let version = String::from_utf8(told.stdout).ok()?;
    (told.status.success()).then(|| version.trim().to_owned())
}
