//! Requests over TCP: one process serves, on the runtime that is measured; another one, a single thread
//! over a bare epoll with nothing of any runtime in it, sends and waits.
//!
//! Both are this program again, with hidden commands.
//!
//! | file | holds |
//! |---|---|
//! | `server.rs` | the server's process, and echo |
//! | `http.rs` | the other service: hyper |
//! | `jobs.rs` | what the server computes beside |
//! | `epoll.rs` | a server that is no runtime at all, which shows where the floor is |
//! | `load.rs` | the load's process |
//! | `clients.rs` | its connections |
//! | `calls.rs` | the server's system calls, counted |
//! | `kind.rs` | which traffic there is |

mod calls;
mod clients;
mod epoll;
pub(crate) mod http;
mod jobs;
mod kind;
pub mod load;
pub mod server;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::runtimes::Name;
use crate::workloads::{Effort, Sample};

pub use self::kind::Traffic;

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Sends back what it gets.
    Echo,
    /// Says hello over HTTP.
    Http,
}

impl Service {
    /// The name on the command line.
    fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Http => "http",
        }
    }
}

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
    /// The server's system calls per answer, where they can be counted.
    pub calls: Option<f64>,
}

/// Measures one runtime's server once.
fn measure(runtime: Name, traffic: Traffic, effort: Effort) -> Result<Vec<Sample>, Error> {
    let (server_cpu, load_cpu) = if effort.pin { (Some("0"), Some("1")) } else { (None, None) };
    let service = traffic.service().name();
    let jobs = traffic.jobs();
    let mut serve = this_program("serve")?;
    serve.args(["--runtime", runtime.name(), "--service", service]);
    serve.args(["--jobs", &jobs.to_string()]).stdin(Stdio::piped());
    serve.args(server_cpu.iter().flat_map(|cpu| ["--cpu", cpu]));
    let mut server = Server::start(serve)?;
    let port = server.line()?;
    let mut load = this_program("load")?;
    load.args(["--port", port.trim(), "--service", service]);
    load.args(["--server", &server.process.id().to_string()]);
    load.args(["--connections", &traffic.connections().to_string()]);
    load.args(["--bytes", &traffic.bytes().to_string()]);
    load.args(traffic.pace().iter().flat_map(|pace| ["--pace".to_owned(), pace.to_string()]));
    load.args(["--millis", &(effort.load_millis * traffic.longer()).to_string()]);
    load.args(load_cpu.iter().flat_map(|cpu| ["--cpu", cpu]));
    let (begun, before) = (Instant::now(), server.jobs_done()?);
    let told = load.output()?;
    let jobs_done = server.jobs_done()? - before;
    let seconds = begun.elapsed().as_secs_f64();
    if !told.status.success() {
        return Err(format!("the load generator failed with {}", runtime.name()).into());
    }
    let outcome: Outcome = serde_json::from_slice(&told.stdout)?;
    let mut samples = vec![
        Sample { figure: "cpu", value: outcome.server_cpu, unit: "server CPU µs" },
        Sample { figure: "requests", value: outcome.requests, unit: "requests/s" },
        Sample { figure: "p50", value: outcome.p50, unit: "µs" },
        Sample { figure: "p99", value: outcome.p99, unit: "µs" },
        Sample { figure: "p999", value: outcome.p999, unit: "µs" },
    ];
    if jobs == 0 {
        let calls = outcome.calls;
        samples.extend(calls.map(|value| Sample { figure: "calls", value, unit: "system calls" }));
    } else {
        // What the jobs cost is no request's.
        samples.remove(0);
        if traffic.pace().is_some() {
            // As asked for. And too few requests for the last one in a thousand.
            samples.retain(|sample| !matches!(sample.figure, "requests" | "p999"));
        }
        let value = jobs_done as f64 / seconds;
        samples.push(Sample { figure: "jobs", value, unit: "jobs/s" });
    }
    Ok(samples)
}

fn this_program(command: &str) -> Result<Command, Error> {
    let mut program = Command::new(std::env::current_exe()?);
    program.arg(command).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(program)
}

/// A server process, ended when this is dropped.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> Result<Self, Error> {
        let mut process = command.spawn()?;
        let output = process.stdout.take().expect("its output is a pipe, and just made");
        Ok(Server { process, output: BufReader::new(output) })
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// How many jobs it has finished so far.
    fn jobs_done(&mut self) -> Result<u64, Error> {
        writeln!(self.process.stdin.as_ref().ok_or("the server's input is closed")?)?;
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to tidy up; if it is gone already, so much the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
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
pub(crate) fn allow_descriptors() -> Result<(), Error> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}
