//! Echo over TCP: one process serves, on the runtime that is measured; another one, a single thread
//! over a bare epoll with nothing of any runtime in it, sends and waits.
//!
//! Both are this program again, with hidden commands: `server.rs` and `load.rs`. A server that is no
//! runtime at all, in `epoll.rs`, shows where the floor is.

mod epoll;
pub mod load;
pub mod server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::report::RATE;
use crate::runtimes::Name;
use crate::workloads::{Effort, Sample};

/// Bytes of a request and of its answer.
pub const MESSAGE: usize = 64;

/// What the load generator tells.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers per second.
    pub requests: f64,
    /// Time from request to answer, in microseconds: the middle one.
    pub p50: f64,
    /// The same, slower than 99 of 100.
    pub p99: f64,
    /// The same, slower than 999 of 1000.
    pub p999: f64,
    /// The server's CPU time per answer, in microseconds.
    pub server_cpu: f64,
}

/// Measures one runtime's server once.
///
/// # Errors
/// When one of the processes does not start or breaks.
pub fn measure(runtime: Name, connections: usize, effort: Effort) -> Result<Vec<Sample>, Error> {
    let (server_cpu, load_cpu) = if effort.pin { (Some("0"), Some("1")) } else { (None, None) };
    let mut serve = this_program("serve")?;
    serve.args(["--runtime", runtime.name()]).stdin(Stdio::piped());
    serve.args(server_cpu.iter().flat_map(|cpu| ["--cpu", cpu]));
    let mut server = Server(serve.spawn()?);
    let port = server.first_line()?;
    let mut load = this_program("load")?;
    load.args(["--port", port.trim()]);
    load.args(["--server", &server.0.id().to_string()]);
    load.args(["--connections", &connections.to_string()]);
    load.args(["--millis", &effort.echo_millis.to_string()]);
    load.args(load_cpu.iter().flat_map(|cpu| ["--cpu", cpu]));
    let told = load.output()?;
    if !told.status.success() {
        return Err(format!("the load generator failed with {}", runtime.name()).into());
    }
    let outcome: Outcome = serde_json::from_slice(&told.stdout)?;
    Ok(vec![
        Sample { figure: "cpu", value: outcome.server_cpu, unit: "server CPU µs" },
        Sample { figure: "requests", value: outcome.requests, unit: RATE },
        Sample { figure: "p50", value: outcome.p50, unit: "µs" },
        Sample { figure: "p99", value: outcome.p99, unit: "µs" },
        Sample { figure: "p999", value: outcome.p999, unit: "µs" },
    ])
}

fn this_program(command: &str) -> Result<Command, Error> {
    let mut program = Command::new(std::env::current_exe()?);
    program.arg(command).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(program)
}

/// A server process, ended when this is dropped.
struct Server(Child);

impl Server {
    fn first_line(&mut self) -> Result<String, Error> {
        let stdout = self.0.stdout.take().ok_or("the server's output was taken already")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to tidy up; if it is gone already, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps this process on one CPU.
///
/// # Errors
/// When there is no such CPU for it.
fn stay_on(cpu: Option<usize>) -> Result<(), Error> {
    if let Some(cpu) = cpu {
        let mut set = nix::sched::CpuSet::new();
        set.set(cpu)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    }
    Ok(())
}

/// Lets this process have as many descriptors as the system allows it.
///
/// # Errors
/// What the system says.
fn allow_descriptors() -> Result<(), Error> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}
