//! Attacks a process pool with everything that its jobs may do, and counts what came of it.
//!
//! A hundredth of the jobs each: abort, touch memory that is not theirs, are killed from outside, overflow
//! their stack, take more memory than they may, never end. Others panic, exit or are cancelled, waiting or
//! running; the rest are honest, small and large. They come from threads and from tasks of event loops.
//!
//! The last line on standard output is one object in JSON. The exit code is 0 only if no job was lost, each
//! had the right result or the error with the right cause, the pool came back to its full size, and
//! descriptors, threads, memory and children are as before. `--help` tells what it takes.

mod fate;
mod herald;
mod options;
mod storm;
mod system;
mod tally;
mod work;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;
use crate::system::System;

fn main() -> ExitCode {
    let options = Options::parse();
    // The backtrace of a fault takes longer than the fault, and one of a want of memory has none itself.
    // SAFETY: there is no other thread yet.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    // What a program has only once (threads of the library, the allocator's pools) is there afterwards.
    storm::run(&Options { jobs: 20, ..options.clone() })?;
    let before = System::look()?;
    let report = storm::run(options)?;
    let after = System::settle(&before)?;
    let mut complaints = report.tally.complaints();
    complaints.extend(report.complaints);
    complaints.extend(after.complaints(&before));
    let mut stderr = io::stderr();
    for line in &complaints {
        let _ = writeln!(stderr, "chaos: {line}");
    }
    let line = serde_json::json!({
        "jobs": options.jobs,
        "seed": options.seed,
        "right": report.tally.right(),
        "wrong": report.tally.wrong(),
        "lost": report.tally.lost(),
        "by_cause": report.tally.by_cause(),
        "workers": options.workers(),
        "workers_at_the_end": report.workers_at_the_end,
        "seconds": report.seconds,
        "descriptors": { "before": before.descriptors, "peaks": report.peaks.descriptors(), "after": after.descriptors },
        "threads": { "before": before.threads, "after": after.threads },
        "rss_kib": { "before": before.rss_kib, "peaks": report.peaks.rss_kib(), "after": after.rss_kib },
        "children_left": after.children,
        "ok": complaints.is_empty(),
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(complaints.is_empty())
}
