//! [`System`]: what the program has of the system.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(crate) struct System {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) rss_kib: u64,
    pub(crate) children: usize,
}

/// What the allocator may keep of what it had in the meantime.
const KEPT_KIB: u64 = 64 << 10;

/// What ends takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);

impl System {
    pub(crate) fn look() -> io::Result<Self> {
        // One of them is that of the folder itself.
        let descriptors = descriptors()?;
        let mut threads = 0;
        let mut children = 0;
        for thread in fs::read_dir("/proc/self/task")? {
            threads += 1;
            // A thread may end while it is looked at.
            let list = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            children += list.split_whitespace().count();
        }
        let status = fs::read_to_string("/proc/self/status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss_kib = rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok());
        Ok(System { descriptors, threads, children, rss_kib: rss_kib.unwrap_or(0) })
    }

    /// Looks until everything is as before, but not for ever.
    pub(crate) fn settle(before: &System) -> io::Result<Self> {
        let start = Instant::now();
        loop {
            let now = Self::look()?;
            if now.complaints(before).is_empty() || start.elapsed() > PATIENCE {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What there is more of than before.
    pub(crate) fn complaints(&self, before: &System) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut compare = |what: &str, before: u64, after: u64| {
            if after > before {
                complaints.push(format!("{before} {what} before, {after} after"));
            }
        };
        compare("descriptors", before.descriptors as u64, self.descriptors as u64);
        compare("threads", before.threads as u64, self.threads as u64);
        compare("children", 0, self.children as u64);
        compare("KiB of memory (and what may be kept)", before.rss_kib + KEPT_KIB, self.rss_kib);
        complaints
    }
}

/// How many descriptors are open.
fn descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}
