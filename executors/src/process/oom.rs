//! Whether the system has killed a process for want of memory.
//!
//! The kernel sends the same signal as anybody who kills, but counts: for each control group, and for the whole
//! machine. A worker that was killed, and not by us, while a count went up that no other worker accounts for,
//! ran out of memory. (The count is taken when a worker comes, and when it is given a job and has no other.)

use std::fs;

/// A count of such kills.
#[derive(Debug)]
pub(super) struct OomKills {
    path: Option<String>,
    /// As far as this, every one was some worker's.
    accounted: u64,
}

impl OomKills {
    /// The count nearest to this process.
    pub(super) fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::of(candidates(&groups).into_iter().find(|path| read(path).is_some()))
    }

    pub(super) fn of(path: Option<String>) -> Self {
        OomKills { path, accounted: 0 }
    }

    /// Where the count stands.
    pub(super) fn now(&self) -> u64 {
        self.path.as_deref().and_then(read).unwrap_or(0)
    }

    /// Whether one that was killed, and lived when the count stood at `since`, was killed for memory.
    pub(super) fn accounts_for(&mut self, since: u64) -> bool {
        self.accounts_for_at(since, self.now())
    }

    fn accounts_for_at(&mut self, since: u64, now: u64) -> bool {
        let known = self.accounted.max(since);
        let is_new = now > known;
        if is_new {
            self.accounted = known + 1;
        }
        is_new
    }
}

/// The files that may hold a count, for a process in these groups.
fn candidates(groups: &str) -> Vec<String> {
    let group = |mark: &str| {
        groups.lines().find_map(|line| {
            let (before, path) = line.split_once(mark)?;
            before
                .chars()
                .all(|digit| digit.is_ascii_digit())
                .then(|| path.trim_end_matches('/').to_owned())
        })
    };
    let unified = group("::").map(|path| format!("/sys/fs/cgroup{path}/memory.events"));
    let memory = group(":memory:");
    let memory = memory.map(|path| format!("/sys/fs/cgroup/memory{path}/memory.oom_control"));
    let machine = Some("/proc/vmstat".to_owned());
    [unified, memory, machine].into_iter().flatten().collect()
}

fn read(path: &str) -> Option<u64> {
    count(&fs::read_to_string(path).ok()?)
}

/// The number in the line `oom_kill N`.
pub(super) fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        assert_eq!(count("low 0\noom 4\noom_kill 3\noom_group_kill 1\n"), Some(3));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), Some(0));
        assert_eq!(count("nothing"), None);
    }

    #[test]
    fn the_nearest_count_comes_first() {
        assert_eq!(
            candidates("4:memory:/a/b\n0::/c\n"),
            [
                "/sys/fs/cgroup/c/memory.events",
                "/sys/fs/cgroup/memory/a/b/memory.oom_control",
                "/proc/vmstat"
            ]
        );
        assert_eq!(candidates("0::/\n"), ["/sys/fs/cgroup/memory.events", "/proc/vmstat"]);
        assert_eq!(candidates(""), ["/proc/vmstat"]);
    }

    #[test]
    fn this_machine_has_a_count() {
        let kills = OomKills::find();
        assert!(kills.path.is_some(), "neither control groups nor /proc/vmstat can be read here");
    }

    #[test]
    fn each_kill_is_one_workers() {
        let mut kills = OomKills { path: None, accounted: 0 };
        assert!(!kills.accounts_for_at(5, 5), "the count has not moved");
        assert!(kills.accounts_for_at(5, 6));
        assert!(!kills.accounts_for_at(5, 6), "that was the other's");
        assert!(kills.accounts_for_at(5, 7));
        assert!(!kills.accounts_for_at(8, 8));
    }
}
