//! A program that a test has started.

use std::process::Child;

/// Killed when the test fails, too.
pub(crate) struct Program(pub(crate) Child);

impl Program {
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
