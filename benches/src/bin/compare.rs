//! `compare`: loopool and its peers, side by side. See the README of this package.

use std::fs;
use std::io::Write;

use clap::Parser;
use loopool_benches::options::{Command, Options};
use loopool_benches::report::{self, Summary};
use loopool_benches::{Error, binary_size, blocked, plots, provenance, rounds, traffic, workloads};

fn main() -> Result<(), Error> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Serve(serve)) => traffic::server::main(serve),
        Some(Command::Load(load)) => traffic::load::main(load),
        Some(Command::Single(single)) => workloads::single(single),
        Some(Command::Blocked(options)) => blocked::main(options),
        Some(Command::BinarySize) => {
            write(&options, 1, &binary_size::measure(&options.runtimes())?)
        }
        None => write(&options, options.rounds, &report::summarise(&rounds::run(&options)?)),
    }
}

/// Where the user wants them.
fn write(options: &Options, rounds: usize, results: &[Summary]) -> Result<(), Error> {
    let table = provenance::describe(rounds) + "\n" + &report::markdown(results);
    write!(std::io::stdout(), "{table}")?;
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(results)? + "\n")?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, table)?;
    }
    if let Some(directory) = &options.plots {
        plots::write(directory, results)?;
    }
    Ok(())
}
