//! The only worker is killed while it works: until the next job's result is there.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::jobs::{hold, nap};
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::report::percentile;

/// Workers that are killed.
pub(super) const OPS: u64 = 10;

/// Longer than any worker takes to begin with a job.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn measure<P: Pool>(ops: u64) -> Result<Told, Error> {
    let pool = P::start(1)?;
    let begun = Begun(env::temp_dir().join(format!("loopool-benches-{}", process::id())));
    let mut worker = pool.call(nap, 0)?;
    let mut times = Vec::new();
    for _ in 0..ops {
        let job = pool.submit(hold, begun.0.clone())?;
        begun.wait()?;
        let killed = Instant::now();
        kill(Pid::from_raw(i32::try_from(worker)?), Signal::SIGKILL)?;
        if P::result(job).is_ok() {
            return Err("a job has ended though its worker was killed".into());
        }
        let next = pool.call(nap, 0)?;
        times.push(killed.elapsed());
        if std::mem::replace(&mut worker, next) == next {
            return Err("a worker works on though it was killed".into());
        }
    }
    pool.end();
    times.sort_unstable();
    Ok(Told::figures([("", percentile(&times, 0.5).as_secs_f64() * 1e6)]))
}

/// A file that a job makes when it has begun.
struct Begun(PathBuf);

impl Begun {
    fn wait(&self) -> Result<(), Error> {
        let asked = Instant::now();
        while fs::remove_file(&self.0).is_err() {
            if asked.elapsed() > PATIENCE {
                return Err("a job does not begin".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // It is there only if something went wrong in between.
        let _ = fs::remove_file(&self.0);
    }
}
