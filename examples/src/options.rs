//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

/// Makes thumbnails of pictures that people upload, over HTTP.
///
/// Pictures are decoded in a pool of processes, so one that crashes its decoder costs nothing but the
/// request that brought it.
#[derive(Debug, Clone, Parser)]
#[command(name = "service", version, max_term_width = 100)]
pub struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,

    /// Event loops, each with a thread [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = count)]
    pub loops: Option<usize>,

    /// Worker processes of each of the two pools [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = count)]
    pub processes: Option<usize>,

    /// Threads of the thread pool [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = count)]
    pub threads: Option<usize>,

    /// The most jobs that may wait in each pool; one more is answered 503
    #[arg(long, value_name = "N", default_value = "64", value_parser = count)]
    pub queue: usize,

    /// How long a job may run; then it is answered 504, and killed if it runs in a process
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub job_timeout: Duration,

    /// The most processor time of a job in the strict pool; one that takes more is killed
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub cpu_limit: Duration,

    /// The most memory a worker process may have, in MiB, and in the strict pool a quarter of it; a job that
    /// wants more ends it
    #[arg(long, value_name = "MIB", default_value = "2048", value_parser = count)]
    pub worker_memory: usize,

    /// The largest picture that is taken; a larger one is answered 413
    #[arg(long, value_name = "BYTES", default_value = "20971520", value_parser = bytes)]
    pub max_body: usize,

    /// Don't start where the kernel can't enforce all of the workers' sandbox; else the page tells what is missing
    #[arg(long)]
    pub require_sandbox: bool,

    /// Serve what does harm on purpose: POST /faults/NAME crashes a worker or blocks a loop, DELETE /jobs/ID
    /// cancels somebody's job
    #[arg(long)]
    pub faults: bool,
}

/// Why the program does not start: what to print, where, and the exit code.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for: the text for standard output.
    Asked(String),
    /// The arguments make no sense: a sentence for standard error.
    Wrong(String),
}

impl Options {
    /// Reads the arguments, the program's name first.
    ///
    /// # Errors
    /// [`Stop`], when the service is not to be started.
    pub fn read(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, Stop> {
        Self::try_parse_from(arguments).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Asked(error.to_string()),
            _ => {
                // Below its first line clap repeats the usage; a sentence is what scripts log best.
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                let first = first.strip_prefix("error: ").unwrap_or(first);
                Stop::Wrong(format!("{first}; --help tells what there is"))
            }
        })
    }

    /// How many event loops.
    pub fn loops(&self) -> usize {
        self.loops.unwrap_or_else(cpus)
    }

    /// How many worker processes.
    pub fn processes(&self) -> usize {
        self.processes.unwrap_or_else(cpus)
    }

    /// How many threads the thread pool has.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(cpus)
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| "not an address with a port, such as 127.0.0.1:8080".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=100_000) => Ok(number),
        _ => Err("not a whole number from 1 to 100000".to_owned()),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=0x4000_0000) => Ok(number),
        _ => Err("not a number of bytes from 1 to 1073741824".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.001..=86_400.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err("not a number of seconds from 0.001 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, Stop> {
        Options::read(std::iter::once(&"service").chain(arguments).map(Into::into))
    }

    #[test]
    fn nothing_need_be_said() {
        let options = read(&[]).unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((options.processes(), options.threads()), (cpus(), cpus()));
        assert_eq!(options.job_timeout, Duration::from_secs(10));
        assert!(!options.faults);
    }

    #[test]
    fn everything_can_be_said() {
        let options = read(&[
            "--listen=[::1]:0",
            "--processes=3",
            "--threads=4",
            "--queue=5",
            "--job-timeout=0.25",
            "--cpu-limit=0.5",
            "--require-sandbox",
            "--max-body=1000",
            "--faults",
        ])
        .unwrap();
        assert_eq!(options.listen.to_string(), "[::1]:0");
        assert_eq!((options.processes(), options.threads(), options.queue), (3, 4, 5));
        assert_eq!((options.job_timeout, options.max_body), (Duration::from_millis(250), 1000));
        assert_eq!(options.cpu_limit, Duration::from_millis(500));
        assert!(options.faults && options.require_sandbox);
    }

    #[test]
    fn a_name_is_looked_up() {
        assert_eq!(read(&["--listen", "localhost:81"]).unwrap().listen.port(), 81);
    }

    #[test]
    fn nonsense_is_refused_in_one_sentence() {
        for arguments in [
            &["--listen", "8080"][..],
            &["--listen", ":8080"],
            &["--listen", "127.0.0.1:70000"],
            &["--processes", "0"],
            &["--threads", "-1"],
            &["--queue", "many"],
            &["--queue", "0"],
            &["--job-timeout", "0"],
            &["--job-timeout", "NaN"],
            &["--job-timeout", "inf"],
            &["--cpu-limit", "0"],
            &["--max-body", "1e6"],
            &["--unknown"],
            &["surplus"],
            &["--queue"],
            &["--queue", "1", "--queue", "2"],
        ] {
            match read(arguments) {
                Err(Stop::Wrong(sentence)) => {
                    assert_eq!(sentence.lines().count(), 1, "{arguments:?}: {sentence}");
                }
                other => panic!("{arguments:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_is_no_error() {
        assert!(
            matches!(read(&["--help"]), Err(Stop::Asked(text)) if text.contains("--job-timeout"))
        );
    }
}
