//! `compare`: loopool and its peers, side by side. See the README of this package.

use std::fs;
use std::io::Write;

use clap::Parser;
use loopool_benches::options::{Command, Options};
use loopool_benches::{Error, blocked, echo, report, rounds, workloads};

fn main() -> Result<(), Error> {
    let options = Options::parse();
    match options.command {
        Some(Command::Serve(serve)) => echo::server::main(&serve),
        Some(Command::Load(load)) => echo::load::main(&load),
        Some(Command::Single(single)) => workloads::single(&single),
        Some(Command::Blocked(options)) => blocked::main(&options),
        None => {
            let results = report::summarise(&rounds::run(&options)?);
            let table = report::markdown(&results);
            write!(std::io::stdout(), "{table}")?;
            if let Some(path) = &options.json {
                fs::write(path, serde_json::to_string_pretty(&results)? + "\n")?;
            }
            if let Some(path) = &options.markdown {
                fs::write(path, table)?;
            }
            Ok(())
        }
    }
}
