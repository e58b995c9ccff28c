//! How large a program becomes by what it runs on: hello world, without symbols.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Error;
use crate::report::Summary;
use crate::runtimes::Name;

/// The example that says hello without anything: the floor.
const FLOOR: (&str, &str) = ("std", "hello_std");

/// Builds the examples that say hello and measures them.
///
/// # Errors
/// When `cargo` or `strip` can't be run or fails.
pub fn measure(runtimes: &[Name]) -> Result<Vec<Summary>, Error> {
    let programs = runtimes.iter().filter_map(|&runtime| Some((runtime.name(), example(runtime)?)));
    let mut results = Vec::new();
    for (runtime, example) in programs.chain([FLOOR]) {
        let size = size(&build(example)?)? as f64;
        let (workload, unit) = ("binary_size".to_owned(), "bytes");
        let word = None;
        results.push(Summary { workload, runtime, median: size, min: size, max: size, unit, word });
    }
    Ok(results)
}

/// Its example; the number of threads changes nothing about it.
fn example(runtime: Name) -> Option<&'static str> {
    match runtime {
        Name::Loopool => Some("hello_loopool"),
        Name::TokioMulti => Some("hello_tokio"),
        Name::Smol => Some("hello_smol"),
        Name::Rayon => Some("hello_rayon"),
        Name::Monoio => Some("hello_monoio"),
        _ => None,
    }
}

/// Where cargo puts the example.
fn build(example: &str) -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--message-format=json", "--example", example])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8(built.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let program = messages
        .filter(|message: &serde_json::Value| message["target"]["name"] == example)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| format!("cargo did not build {example}").into())
}

/// In bytes, without symbols.
fn size(program: &Path) -> Result<u64, Error> {
    let stripped = program.with_extension("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(program).status()?;
    if !status.success() {
        return Err(format!("strip failed with {}", program.display()).into());
    }
    Ok(fs::metadata(stripped)?.len())
}
