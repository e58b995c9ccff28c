//! [`SystemCall`]: a system call's number with its name.

use std::fmt;

use serde::{Serialize, Serializer};

use super::calls;

/// A system call of the machine's own kind, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SystemCall(u32);

impl SystemCall {
    pub(in crate::process) fn new(number: u32) -> Self {
        SystemCall(number)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name, if it is one that a sandbox knows.
    pub fn name(self) -> Option<&'static str> {
        calls::name_of(i64::from(self.0))
    }
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "system call {}", self.0),
        }
    }
}

impl Serialize for SystemCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
