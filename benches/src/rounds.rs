//! Who runs when.

use std::io::{IsTerminal, Write};

use crate::Error;
use crate::options::Options;
use crate::runtimes::{Name, cpython};
use crate::workloads::{Effort, Measured, Workload};

/// What one runtime did in one workload, in one round.
#[derive(Debug)]
pub struct Run {
    /// The workload.
    pub workload: Workload,
    /// The runtime.
    pub runtime: Name,
    /// Its figures.
    pub measured: Measured,
}

/// Measures everything that `options` ask for.
///
/// Within a round each workload is measured on all runtimes before the next one is, so that what is
/// compared is measured within seconds; each round begins with another runtime.
///
/// # Errors
/// When a name is unknown or a run breaks.
pub fn run(options: &Options) -> Result<Vec<Run>, Error> {
    let workloads = options.workloads()?;
    let mut runtimes = options.runtimes();
    // Where pools of processes are compared each cell says so; for the rest the paragraph above the table does.
    let is_there = |workload, runtime| {
        runtime != Name::CPython
            || matches!(workload, Workload::Processes(_))
            || cpython::version().is_some()
    };
    let mut effort =
        if options.quick { Effort::quick(options.pin) } else { Effort::full(options.pin) };
    if let Some(divisor) = options.divisor {
        effort = Effort { divisor, process_divisor: divisor, ..effort };
    }
    // Progress is for who waits, and nobody waits before a file or a pipe.
    let mut terminal = Some(std::io::stderr()).filter(IsTerminal::is_terminal);
    let mut results = Vec::new();
    for round in 1..=options.rounds {
        for &workload in &workloads {
            let runs =
                |runtime: &&Name| workload.runs_on(**runtime) && is_there(workload, **runtime);
            for &runtime in runtimes.iter().filter(runs) {
                if let Some(terminal) = &mut terminal {
                    let (rounds, workload, runtime) =
                        (options.rounds, workload.name(), runtime.name());
                    // One that is gone meanwhile is no reason to stop.
                    let _ = write!(
                        terminal,
                        "\r\x1b[Kround {round} of {rounds}: {workload} on {runtime}"
                    );
                }
                let measured = workload.measure(runtime, effort)?;
                results.push(Run { workload, runtime, measured });
            }
        }
        runtimes.rotate_left(1);
    }
    if let Some(terminal) = &mut terminal {
        let _ = write!(terminal, "\r\x1b[K");
    }
    Ok(results)
}
