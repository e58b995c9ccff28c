//! Two processes that answer each other, with nothing else around it: where the floor is for a pool.

use std::process::{Child, Command};

use crate::Error;
use crate::runtimes::Name;

/// One side's view of the two.
pub(super) trait Duplex: Sized {
    /// Starts the other process.
    fn start() -> Result<Self, Error>;

    /// Sends a number and waits for the answer.
    fn ask(&mut self, number: u64) -> Result<u64, Error>;
}

/// The other process. It is killed when this is dropped.
pub(super) struct Other(Child);

impl Other {
    /// This program again; the way to it is its standard input.
    pub(super) fn start(runtime: Name, way: impl Into<std::process::Stdio>) -> Result<Self, Error> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args(["answer", "--runtime", runtime.name()]).stdin(way);
        Ok(Other(program.spawn()?))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It has nothing to tidy up; if it is gone already, so much the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
