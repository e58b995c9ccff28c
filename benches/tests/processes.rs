//! The workloads of the pools of processes, for a moment, on everybody who takes part. Each verifies its results
//! itself. By the program, since each pool is measured in a process of its own.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

use loopool_benches::processes::Row;
use loopool_benches::runtimes::Name;
use serde_json::Value;

/// Each has one operation, or a few.
const DIVISOR: &str = "1000";

/// All but the one that needs 2 GiB, which is another one's code with another number.
fn rows() -> impl Iterator<Item = Row> {
    Row::ALL.into_iter().filter(|&row| row != Row::StartLarge)
}

/// The table of these pools, as a list.
fn compare(pools: &str, path: Option<&str>) -> Vec<Value> {
    let rows: Vec<_> = rows().map(Row::name).collect();
    let list = List(env::temp_dir().join(format!("loopool-benches-{}-{pools}", process::id())));
    let mut compare = Command::new(env!("CARGO_BIN_EXE_compare"));
    compare.args(["--rounds", "1", "--divisor", DIVISOR, "--only", &rows.join(",")]);
    compare.args(["--runtimes", pools, "--json"]).arg(&list.0);
    if let Some(path) = path {
        compare.env("PATH", path);
    }
    let told = compare.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&fs::read(&list.0).unwrap()).unwrap()
}

/// A file that is removed again.
struct List(PathBuf);

impl Drop for List {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What `list` has for a figure: its number, or its word.
fn cell(list: &[Value], pool: Name, row: Row, figure: &str) -> Option<Result<f64, String>> {
    let name = match figure {
        "" => row.name().to_owned(),
        figure => format!("{}_{figure}", row.name()),
    };
    let entry =
        list.iter().find(|entry| entry["workload"] == name && entry["runtime"] == pool.name())?;
    let word = || entry["word"].as_str().unwrap_or("nothing").to_owned();
    Some(entry["median"].as_f64().ok_or_else(word))
}

/// Figures that no other pool has.
fn is_ours_alone(figure: &str) -> bool {
    figure == "worker" || figure.starts_with("sealed_")
}

#[test]
fn pools_that_are_rust_do_all_that_they_can() {
    let pools = [Name::Loopool, Name::Procspawn, Name::SocketPair, Name::Ring];
    let list = compare(&pools.map(Name::name).join(","), None);
    for row in rows() {
        for pool in pools.into_iter().filter(|&pool| row.runs_on(pool)) {
            for &(figure, _) in row.figures() {
                let cell = cell(&list, pool, row, figure);
                if is_ours_alone(figure) && pool != Name::Loopool {
                    assert_eq!(cell, None);
                } else {
                    let number = cell.unwrap().unwrap_or_else(|word| {
                        panic!("{} {figure} with {}: {word}", row.name(), pool.name())
                    });
                    assert!(number > 0.0);
                }
            }
        }
    }
}

#[test]
fn pools_of_python_do_all_that_they_can_or_are_missing() {
    let pools = [Name::CPython, Name::Loky, Name::Pebble];
    let list = compare(&pools.map(Name::name).join(","), None);
    for pool in pools {
        let numbers = cell(&list, pool, Row::RoundTrips, "warm_p50").unwrap();
        if numbers.is_err() {
            let _ = writeln!(std::io::stderr(), "skipped: python3 has no {}", pool.name());
        }
        for row in rows() {
            for &(figure, _) in row.figures().iter().filter(|(figure, _)| !is_ours_alone(figure)) {
                let cell = cell(&list, pool, row, figure).unwrap();
                match &numbers {
                    Err(word) => assert_eq!((cell, &**word), (Err(word.clone()), "missing")),
                    Ok(_) if row == Row::Kill && pool != Name::Pebble => {
                        assert_eq!(cell, Err("breaks".to_owned()));
                    }
                    Ok(_) => assert!(cell.unwrap() > 0.0),
                }
            }
        }
    }
}

#[test]
fn without_python_its_pools_are_named_as_missing() {
    let nowhere = env::temp_dir().join("loopool-benches-nothing-here");
    let list = compare("cpython,loky,pebble", nowhere.to_str());
    for pool in [Name::CPython, Name::Loky, Name::Pebble] {
        for row in rows() {
            let (figure, _) = row.figures()[0];
            assert_eq!(cell(&list, pool, row, figure), Some(Err("missing".to_owned())));
        }
    }
}
