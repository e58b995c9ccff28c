//! This process and all that descend from it: the program, its workers, and whoever helps them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::Error;

/// Processes.
pub(super) struct Family(Vec<Pid>);

impl Family {
    /// Those that are there now; this one comes first.
    pub(super) fn now() -> Result<Self, Error> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // It may end meanwhile.
            if let Some(parent) = parent(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut family = vec![Pid::this().as_raw()];
        let mut known = 0;
        while let Some(pid) = family.get(known).copied() {
            family.extend(children.remove(&pid).unwrap_or_default());
            known += 1;
        }
        Ok(Family(family.into_iter().map(Pid::from_raw).collect()))
    }

    /// All but this one.
    pub(super) fn others(&self) -> &[Pid] {
        &self.0[1..]
    }

    /// CPU time of all of them since they were started.
    pub(super) fn cpu(&self) -> Result<Duration, Error> {
        let mut sum = Duration::ZERO;
        for &pid in &self.0 {
            sum += Duration::from(clock_gettime(clock_getcpuclockid(pid)?)?);
        }
        Ok(sum)
    }
}

/// None for one that has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name is in parentheses, and may have some itself.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

/// A process's memory, in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// What it has for itself, and its share of what it shares.
    pub(super) proportional: u64,
    /// What it has for itself and has written to.
    pub(super) private: u64,
}

impl Memory {
    /// What `pid` has now.
    pub(super) fn of(pid: Pid) -> Result<Self, Error> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name: &str| -> Result<u64, Error> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(value.ok_or("smaps_rollup has other fields than it should")?.parse()?)
        };
        Ok(Memory { proportional: field("Pss:")?, private: field("Private_Dirty:")? })
    }
}

/// How many descriptors this process has.
pub(super) fn descriptors() -> Result<usize, Error> {
    // One is that of the listing.
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// Bytes of this process that are in memory.
pub(super) fn resident() -> Result<usize, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS")?;
    Ok(kilobytes.parse::<usize>()? * 1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_belongs_to_it_until_it_has_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        let family = Family::now().unwrap();
        assert!(family.others().contains(&pid) && !family.others().contains(&Pid::this()));
        // Other tests' children may end meanwhile.
        assert!(Family(vec![Pid::this(), pid]).cpu().unwrap() > Duration::ZERO);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!Family::now().unwrap().others().contains(&pid));
        let memory = Memory::of(Pid::this()).unwrap();
        assert!(memory.proportional >= memory.private && memory.private > 0);
        assert!(resident().unwrap() as u64 / 1024 >= memory.private);
        assert!(descriptors().unwrap() >= 3);
    }
}
