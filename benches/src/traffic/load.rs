//! The load generator's process.

use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::clients::Clients;
use super::{Outcome, allow_descriptors, calls, stay_on};
use crate::Error;
use crate::options::Load;
use crate::report::percentile;

/// Load before the measured time, so that sockets, queues and buffers have their sizes: that time
/// divided by this.
const WARM_UP: u32 = 5;

/// Load while system calls are counted, after the measured time, which that would disturb: that time
/// divided by this.
const COUNTED: u32 = 5;

/// Connects, loads the server, and writes the [`Outcome`] to standard output.
///
/// # Errors
/// When a connection breaks or the server answers nothing or nonsense.
pub fn main(options: &Load) -> Result<(), Error> {
    stay_on(options.cpu)?;
    allow_descriptors()?;
    let time = Duration::from_millis(options.millis);
    let mut clients = Clients::connect(options)?;
    clients.drive(time / WARM_UP)?;
    let cpu = cpu_nanos(options.server)?;
    let begun = Instant::now();
    let mut latencies = clients.drive(time)?;
    let elapsed = begun.elapsed();
    let cpu = cpu_nanos(options.server)?.saturating_sub(cpu);
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err("the server answered nothing".into());
    }
    let counted = calls::count(options.server, || Ok(clients.drive(time / COUNTED)?.len()))?;
    let answers = latencies.len() as f64;
    let micros = |share| f64::from(percentile(&latencies, share)) / 1_000.0;
    let outcome = Outcome {
        requests: answers / elapsed.as_secs_f64(),
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
        server_cpu: cpu as f64 / answers / 1_000.0,
        calls: counted.map(|(calls, answers)| calls as f64 / answers as f64),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    Ok(())
}

/// The CPU time of all threads of a process, as the scheduler counts it.
fn cpu_nanos(process: u32) -> Result<u64, Error> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let line = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos = line.split_whitespace().next().ok_or("schedstat is empty")?;
        sum += nanos.parse::<u64>()?;
    }
    Ok(sum)
}
