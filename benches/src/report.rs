//! From many runs to a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::rounds::Run;
use crate::runtimes::Name;

/// One runtime's figure in one workload, over all rounds.
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
}

/// Whether more of `unit` is better: of rates it is; of all others, less is.
fn more_is_better(unit: &str) -> bool {
    unit.ends_with("/s")
}

/// A ratio that is printed as 1.00 is not a win.
const TIE: f64 = 0.005;

/// One entry per workload, figure and runtime, in the order of measuring.
pub fn summarise(runs: &[Run]) -> Vec<Summary> {
    let mut order = Vec::new();
    let mut values: BTreeMap<(String, &'static str), Vec<f64>> = BTreeMap::new();
    for run in runs {
        for sample in &run.samples {
            let workload = match sample.figure {
                "" => run.workload.name(),
                figure => format!("{}_{figure}", run.workload.name()),
            };
            let key = (workload, run.runtime.name());
            if !values.contains_key(&key) {
                order.push((key.clone(), sample.unit));
            }
            values.entry(key).or_default().push(sample.value);
        }
    }
    let summary = |((workload, runtime), unit): ((String, &'static str), &'static str)| {
        let mut values = values[&(workload.clone(), runtime)].clone();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (values[0], values[values.len() - 1]);
        Summary { workload, runtime, median: median(&values), min, max, unit }
    };
    order.into_iter().map(summary).collect()
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

/// The table: a row per figure, a column per runtime, and ours divided by the best rival's and by the
/// plain epoll server's.
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
    table.push_str(" ours ÷ best | ours ÷ epoll |\n|---|---|");
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
            .map(|result| result.median);
        let best =
            if more_is_better(unit) { rivals.reduce(f64::max) } else { rivals.reduce(f64::min) };
        let ours = of(Name::Loopool.name()).map(|result| result.median);
        let floor = of(Name::Epoll.name()).map(|result| result.median);
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
    let won = if more_is_better(unit) { ratio > 1.0 + TIE } else { ratio < 1.0 - TIE };
    let mark = if won { "**" } else { "" };
    format!("{mark}{ratio:.2}{mark}")
}

fn cell(result: &Summary) -> String {
    format!("{} ({}–{})", number(result.median), number(result.min), number(result.max))
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
    use super::*;
    use crate::traffic::Traffic;
    use crate::workloads::{Sample, Timed, Workload};

    const JOIN: Workload = Workload::Timed(Timed::SpawnJoin);
    const ECHO: Workload = Workload::Traffic(Traffic::Echo { connections: 50, bytes: 64 });

    fn run(workload: Workload, runtime: Name, figure: &'static str, value: f64) -> Run {
        let unit = if figure == "requests" { "requests/s" } else { "CPU ns" };
        Run { workload, runtime, samples: vec![Sample { figure, value, unit }] }
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
