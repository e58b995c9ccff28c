//! The thumbnail service. `--help` tells what it takes.

use std::io::{self, Write};
use std::process::ExitCode;

use loopool_examples::options::{Options, Stop};
use loopool_examples::server;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        Err(Stop::Asked(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(sentence)) => {
            complain(&sentence);
            return ExitCode::from(2);
        }
    };
    log_to_standard_error();
    match server::run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(jobs) => {
            tracing::warn!(jobs, "threads go on with jobs that were given up, and are left behind");
            signal_hook::low_level::exit(0)
        }
        Err(sentence) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error why the service does not run. If nobody can read that, the exit code tells.
fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "service: {sentence}");
}

/// `RUST_LOG` chooses what is logged; warnings and errors if it is not set or makes no sense.
fn log_to_standard_error() {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(wanted)).init();
}
