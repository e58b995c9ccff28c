//! From many runs to a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::processes::Word;
use crate::rounds::Run;
use crate::runtimes::Name;
use crate::workloads::{Measured, Workload};

/// One runtime's figure in one workload, over all rounds. Where there are no numbers, they are no numbers
/// (`null` in the list), and there is a word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The workload, with the figure's name appended if it has one.
    pub workload: String,
    /// The runtime.
    pub runtime: &'static str,
    /// The middle one of the rounds.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// In what the three are measured.
    pub unit: &'static str,
    /// What is to be said instead of numbers, or beside them if it was so in some rounds only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<Word>,
}

/// Whether more of `unit` is better: of rates it is; of all others, less is.
fn more_is_better(unit: &str) -> bool {
    unit.ends_with("/s")
}

/// A ratio that is printed as 1.00 is not a win.
const TIE: f64 = 0.005;

/// A workload with its figure, and a runtime.
type Key = (String, &'static str);

/// What was found for one of them.
#[derive(Default)]
struct Entry {
    values: Vec<f64>,
    word: Option<Word>,
}

/// One summary per workload, figure and runtime, in the order of measuring.
pub fn summarise(runs: &[Run]) -> Vec<Summary> {
    let mut order = Vec::new();
    let mut entries: BTreeMap<Key, Entry> = BTreeMap::new();
    for run in runs {
        let mut enter = |figure, unit, value: Result<f64, Word>| {
            let workload = match figure {
                "" => run.workload.name(),
                figure => format!("{}_{figure}", run.workload.name()),
            };
            let key = (workload, run.runtime.name());
            if !entries.contains_key(&key) {
                order.push((key.clone(), unit));
            }
            let entry = entries.entry(key).or_default();
            match value {
                Ok(value) => entry.values.push(value),
                Err(word) => entry.word = Some(word),
            }
        };
        match &run.measured {
            Measured::Samples(samples) => {
                for sample in samples {
                    enter(sample.figure, sample.unit, Ok(sample.value));
                }
            }
            &Measured::Word(word) => {
                for &(figure, unit) in figures(run.workload) {
                    enter(figure, unit, Err(word));
                }
            }
        }
    }
    let summary = |(key, unit): (Key, &'static str)| {
        let Entry { mut values, word } = entries.remove(&key).unwrap_or_default();
        let (workload, runtime) = key;
        values.sort_unstable_by(f64::total_cmp);
        let (median, min, max) = match values.as_slice() {
            [] => (f64::NAN, f64::NAN, f64::NAN),
            [min, ..] => (median(&values), *min, values[values.len() - 1]),
        };
        Summary { workload, runtime, median, min, max, unit, word }
    };
    order.into_iter().map(summary).collect()
}

/// Those of a workload in which a word may stand instead.
fn figures(workload: Workload) -> &'static [(&'static str, &'static str)] {
    if let Workload::Processes(row) = workload { row.figures() } else { &[] }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The value below which `share` of the sorted values lie.
///
/// # Panics
/// When there are no values.
pub fn percentile<T: Copy>(sorted: &[T], share: f64) -> T {
    let index = (sorted.len() as f64 * share) as usize;
    sorted[index.min(sorted.len() - 1)]
}

/// The table: a row per figure, a column per runtime, and ours divided by the best rival's and by the floor's.
pub fn markdown(results: &[Summary]) -> String {
    let mut columns: Vec<&str> = Name::ALL.into_iter().map(Name::name).collect();
    columns.retain(|name| results.iter().any(|result| result.runtime == *name));
    for result in results {
        if !columns.contains(&result.runtime) {
            columns.push(result.runtime);
        }
    }
    let mut table = String::from("| workload | unit |");
    for name in &columns {
        let _ = write!(table, " {name} |");
    }
    table.push_str(" ours ÷ best | ours ÷ floor |\n|---|---|");
    table.push_str(&"---:|".repeat(columns.len() + 2));
    table.push('\n');
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for result in results {
        if !rows.contains(&(result.workload.as_str(), result.unit)) {
            rows.push((&result.workload, result.unit));
        }
    }
    for (workload, unit) in rows {
        let of = |name| {
            results.iter().find(|result| result.workload == workload && result.runtime == name)
        };
        let _ = write!(table, "| {workload} | {unit} |");
        for &name in &columns {
            let cell = of(name).map_or("–".to_owned(), cell);
            let _ = write!(table, " {cell} |");
        }
        let rivals = Name::RIVALS
            .into_iter()
            .filter_map(|rival| of(rival.name()))
            .map(|result| result.median)
            .filter(|median| !median.is_nan());
        let best =
            if more_is_better(unit) { rivals.reduce(f64::max) } else { rivals.reduce(f64::min) };
        let ours = of(Name::Loopool.name()).map(|result| result.median);
        let floor = Name::FLOORS.into_iter().find_map(|floor| of(floor.name()));
        let floor = floor.map(|result| result.median);
        let _ = writeln!(table, " {} | {} |", ratio(ours, best, unit), ratio(ours, floor, unit));
    }
    let any = |figure| results.iter().any(|result| result.workload.ends_with(figure));
    if any("_p999") && !any("_calls") {
        table.push_str(
            "\nSystem calls could not be counted: that needs `perf` and its tracepoints.\n",
        );
    }
    table
}

/// Ours divided by theirs, bold where ours is better.
fn ratio(ours: Option<f64>, theirs: Option<f64>, unit: &str) -> String {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return "–".to_owned() };
    let ratio = ours / theirs;
    if !ratio.is_finite() {
        return "–".to_owned();
    }
    let won = if more_is_better(unit) { ratio > 1.0 + TIE } else { ratio < 1.0 - TIE };
    let mark = if won { "**" } else { "" };
    format!("{mark}{ratio:.2}{mark}")
}

fn cell(result: &Summary) -> String {
    let numbers =
        format!("{} ({}–{})", number(result.median), number(result.min), number(result.max));
    match result.word {
        None => numbers,
        Some(word) if result.median.is_nan() => word.to_string(),
        Some(word) => format!("{numbers}, {word}"),
    }
}

/// Three digits, more or less.
pub(crate) fn number(value: f64) -> String {
    match value {
        100_000.0.. => format!("{:.0}k", value / 1_000.0),
        10_000.0.. => format!("{:.1}k", value / 1_000.0),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::processes::Row;
    use crate::traffic::Traffic;
    use crate::workloads::{Sample, Timed};

    const JOIN: Workload = Workload::Timed(Timed::SpawnJoin);
    const ECHO: Workload = Workload::Traffic(Traffic::Echo { connections: 50, bytes: 64 });

    fn run(workload: Workload, runtime: Name, figure: &'static str, value: f64) -> Run {
        let unit = if figure == "requests" { "requests/s" } else { "CPU ns" };
        let measured = Measured::Samples(vec![Sample { figure, value, unit }]);
        Run { workload, runtime, measured }
    }

    #[test]
    fn words_stand_where_there_are_no_numbers_and_win_nothing() {
        let workload = Workload::Processes(Row::Kill);
        let mut runs = vec![run(workload, Name::Loopool, "", 10.0)];
        for (runtime, word) in [(Name::CPython, Word::Breaks), (Name::Loky, Word::Missing)] {
            runs.push(Run { workload, runtime, measured: Measured::Word(word) });
        }
        runs.push(run(workload, Name::Pebble, "", 20.0));
        let hangs = Measured::Word(Word::Hangs);
        runs.push(Run { workload, runtime: Name::Pebble, measured: hangs });
        let results = summarise(&runs);
        let table = markdown(&results);
        let row = table.lines().find(|line| line.starts_with("| proc_kill")).unwrap();
        assert!(row.contains("| breaks | missing | 20.0 (20.0–20.0), hangs | **0.50** |"), "{row}");
        let list = serde_json::to_value(&results).unwrap();
        assert_eq!((&list[1]["median"], &list[1]["word"]), (&Value::Null, &"breaks".into()));
        assert_eq!(list[0].get("word"), None);
    }

    #[test]
    fn medians_ranges_and_ratios() {
        let mut runs = Vec::new();
        for value in [10.0, 30.0, 20.0] {
            runs.push(run(JOIN, Name::Loopool, "", value));
        }
        runs.push(run(JOIN, Name::Smol, "", 80.0));
        runs.push(run(JOIN, Name::TokioMulti, "", 40.0));
        runs.push(run(JOIN, Name::TokioCurrent, "", 1.0));
        runs.push(run(ECHO, Name::Loopool, "requests", 90.0));
        runs.push(run(ECHO, Name::TokioMulti, "requests", 100.0));
        runs.push(run(ECHO, Name::Epoll, "requests", 60.0));
        let results = summarise(&runs);
        assert_eq!((results[0].median, results[0].min, results[0].max), (20.0, 10.0, 30.0));
        assert_eq!(results[4].workload, "echo_50_64_requests");
        let table = markdown(&results);
        let row = |name| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(row("| spawn_join").ends_with("| **0.50** | – |"), "{table}");
        assert!(row("| echo_50_64_requests").ends_with("| 0.90 | **1.50** |"), "{table}");
    }
}
