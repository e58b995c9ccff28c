//! Which traffic there is.

use super::Service;
use crate::Error;
use crate::runtimes::Name;
use crate::workloads::{Effort, Sample};

/// Requests over so many connections, one on its way on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Messages there and back.
    Echo {
        /// Over so many connections.
        connections: usize,
        /// Of so many bytes.
        bytes: usize,
    },
    /// hyper says hello.
    Http,
    /// Echo while the server computes.
    Mixed,
    /// The same at a fixed pace, which leaves the rest of the machine to what is computed.
    Saturated,
}

/// A message that fits anywhere.
pub(super) const SMALL: usize = 64;

/// A message that must be copied.
pub(super) const LARGE: usize = 16 * 1024;

/// Connections for HTTP, as many as others measure it with.
const HTTP_CONNECTIONS: usize = 64;

/// Connections while the server computes.
const MIXED_CONNECTIONS: usize = 50;

/// Requests a second, where they are not as many as can be had: a fraction of that.
const PACE: u32 = 10_000;

/// Jobs that compute while others wait for their answers: twice as many as the machine has CPUs.
const MIXED_JOBS: usize = 4;

impl Traffic {
    /// In the order of the table.
    pub const ALL: [Traffic; 11] = [
        Traffic::Echo { connections: 1, bytes: SMALL },
        Traffic::Echo { connections: 50, bytes: SMALL },
        Traffic::Echo { connections: 500, bytes: SMALL },
        Traffic::Echo { connections: 2_000, bytes: SMALL },
        Traffic::Echo { connections: 1, bytes: LARGE },
        Traffic::Echo { connections: 50, bytes: LARGE },
        Traffic::Echo { connections: 500, bytes: LARGE },
        Traffic::Echo { connections: 2_000, bytes: LARGE },
        Traffic::Http,
        Traffic::Mixed,
        Traffic::Saturated,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> String {
        match self {
            Traffic::Echo { connections, bytes } => format!("echo_{connections}_{bytes}"),
            Traffic::Http => "http".to_owned(),
            Traffic::Mixed => "mixed".to_owned(),
            Traffic::Saturated => "saturated".to_owned(),
        }
    }

    /// Whether `runtime` can do it.
    pub fn runs_on(self, runtime: Name) -> bool {
        match runtime {
            _ if self == Traffic::Saturated => runtime.is_runtime() && runtime.is_ranked(),
            Name::Rayon | Name::CPython => false,
            _ if runtime.is_for_processes() => false,
            Name::Monoio => self != Traffic::Http,
            Name::Epoll => self != Traffic::Mixed,
            _ => true,
        }
    }

    /// Measures it once.
    ///
    /// # Errors
    /// When one of the processes does not start or breaks.
    pub fn measure(self, runtime: Name, effort: Effort) -> Result<Vec<Sample>, Error> {
        super::measure(runtime, self, effort)
    }

    pub(super) fn service(self) -> Service {
        if self == Traffic::Http { Service::Http } else { Service::Echo }
    }

    pub(super) fn connections(self) -> usize {
        match self {
            Traffic::Echo { connections, .. } => connections,
            Traffic::Http => HTTP_CONNECTIONS,
            Traffic::Mixed | Traffic::Saturated => MIXED_CONNECTIONS,
        }
    }

    /// Of a message; HTTP has its own.
    pub(super) fn bytes(self) -> usize {
        if let Traffic::Echo { bytes, .. } = self { bytes } else { SMALL }
    }

    pub(super) fn jobs(self) -> usize {
        if matches!(self, Traffic::Mixed | Traffic::Saturated) { MIXED_JOBS } else { 0 }
    }

    /// How many times as long as the others it takes, since it has fewer requests in that time.
    pub(super) fn longer(self) -> u64 {
        if self.pace().is_some() { 2 } else { 1 }
    }

    /// Requests a second; else as many as are answered.
    pub(super) fn pace(self) -> Option<u32> {
        (self == Traffic::Saturated).then_some(PACE)
    }
}
