//! `compare`: loopool and its peers, side by side. See the README of this package.

use std::fs;
use std::io::Write;

use clap::Parser;
use loopool_benches::options::{Command, Options};
use loopool_benches::report::{self, Summary};
use loopool_benches::{
    Error, binary_size, blocked, plots, processes, provenance, rounds, traffic, workloads,
};

fn main() -> Result<(), Error> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Serve(serve)) => traffic::server::main(serve),
        Some(Command::Load(load)) => traffic::load::main(load),
        Some(Command::Single(single)) => workloads::single(single),
        Some(Command::Blocked(options)) => blocked::main(options),
        Some(Command::Pool(pool)) => processes::alone::main(pool),
        Some(Command::Answer(answer)) => processes::alone::answer(answer),
        Some(Command::BinarySize) => {
            let origin = provenance::describe(1);
            write(&options, &origin, &binary_size::measure(&options.runtimes())?)
        }
        None => {
            // Before the run: that's what is measured, whatever happens to the files meanwhile.
            let origin = provenance::describe(options.rounds);
            write(&options, &origin, &report::summarise(&rounds::run(&options)?))
        }
    }
}

/// Where the user wants them.
fn write(options: &Options, origin: &str, results: &[Summary]) -> Result<(), Error> {
    let table = format!("{origin}\n{}", report::markdown(results));
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
