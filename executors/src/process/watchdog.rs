//! The limit of resident memory, and what becomes of workers that are killed for memory by others.
//!
//! Where a control group was delegated to the program, each worker gets one of its own inside, and the kernel
//! sees to the limit ([`cgroup`](super::cgroup)). Elsewhere the manager looks at the workers that run a job,
//! every [`INTERVAL`], and kills those that have more; and at those that were asked to end. It looks only while there is
//! a limit and a job runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::cgroup::{Group, Home};
use super::death::Remains;
use super::manager::Manager;
use super::oom::OomKills;
use super::report::CrashCause;
use super::sandbox::MemoryGuard;
use super::worker_handle::{Phase, WorkerHandle};

/// Between two looks. In that time a job can get hold of some tens of MiB; a look takes some microseconds for
/// each worker.
const INTERVAL: Duration = Duration::from_millis(10);

/// So long a count of the system's kills is good for jobs that begin. (To read it takes 10 to 20 µs.)
const COUNT_HOLDS: Duration = Duration::from_millis(100);

/// A pool's limit of resident memory, and how it is kept.
pub(super) struct MemoryWatch {
    limit: Option<u64>,
    home: Option<Home>,
    /// `/proc` as it was when the pool was made, if workers' memory is looked at: a program may change its root.
    proc: Option<OwnedFd>,
    next: Option<Instant>,
    kills: OomKills,
    /// What the system had counted when.
    counted: Option<(Instant, u64)>,
}

/// What is known of one worker's memory.
#[derive(Default)]
pub(super) struct Watched {
    statm: Option<File>,
    group: Option<Group>,
    /// The system's count of kills when it came, or when it was given a job and had none.
    kills: u64,
}

impl MemoryWatch {
    /// With a limit for jobs; and with one for workers that have none, if they have to be `looked_at`.
    pub(super) fn new(limit: Option<u64>, looked_at: bool) -> io::Result<Self> {
        let home = limit.and_then(|_| Home::detect());
        let needs_proc = looked_at || (limit.is_some() && home.is_none());
        let proc = if needs_proc { Some(open_proc()?) } else { None };
        Ok(MemoryWatch { limit, home, proc, next: None, kills: OomKills::find(), counted: None })
    }

    /// The limit, and who sees to it.
    pub(super) fn guard(&self) -> Option<(u64, MemoryGuard)> {
        let guard =
            if self.home.is_some() { MemoryGuard::ControlGroup } else { MemoryGuard::Program };
        self.limit.map(|limit| (limit, guard))
    }

    /// A worker is known by its process from now on. When it can't be watched it is not to live.
    fn welcome(&self, pid: i32) -> io::Result<Watched> {
        let mut watched = Watched { kills: self.kills.now(), ..Watched::default() };
        if let (Some(home), Some(limit)) = (&self.home, self.limit) {
            watched.group = Some(home.group_for(pid, limit)?);
        }
        if let Some(proc) = &self.proc {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            let statm = openat(proc.as_fd(), &*format!("{pid}/statm"), flags, Mode::empty())?;
            watched.statm = Some(statm.into());
        }
        Ok(watched)
    }
}

fn open_proc() -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open("/proc", flags, Mode::empty())?)
}

impl Watched {
    /// The resident memory now, in bytes; none when the process has ended.
    pub(super) fn resident(&self) -> Option<u64> {
        let mut buffer = [0; 128];
        let len = self.statm.as_ref()?.read_at(&mut buffer, 0).ok()?;
        resident_pages(&buffer[..len]).map(|pages| pages.saturating_mul(page_size()))
    }
}

/// The second number of `/proc/PID/statm`.
fn resident_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn page_size() -> u64 {
    // SAFETY: a plain question.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Whether it may have a job, if only one that was asked to end.
fn runs(worker: &WorkerHandle) -> bool {
    worker.phase == Phase::Busy || worker.kill_at.is_some()
}

impl Manager {
    /// Begins to watch a worker's memory; says why that can't be done.
    pub(super) fn watch(&mut self, serial: u64) -> io::Result<()> {
        let Some(worker) = self.workers.get_mut(&serial) else { return Ok(()) };
        if let Some(process) = &worker.process {
            worker.watched = self.memory.welcome(process.pid)?;
        }
        Ok(())
    }

    /// A worker that had no job has been given one: what the system has killed until now was not this one.
    pub(super) fn note_earlier_kills(&mut self, serial: u64, now: Instant) {
        let memory = &mut self.memory;
        let holds = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) < COUNT_HOLDS;
        let (at, kills) = memory.counted.filter(holds).unwrap_or_else(|| (now, memory.kills.now()));
        memory.counted = Some((at, kills));
        if let Some(worker) = self.workers.get_mut(&serial) {
            worker.watched.kills = kills;
        }
    }

    /// Kills workers whose jobs have too much memory.
    pub(super) fn watch_memory(&mut self, now: Instant) {
        let (Some(limit), None) = (self.memory.limit, &self.memory.home) else { return };
        if !self.workers.values().any(runs) {
            self.memory.next = None;
            return;
        }
        if self.memory.next.is_some_and(|next| next > now) {
            return;
        }
        self.memory.next = Some(now + INTERVAL);
        let has_too_much = |(serial, worker): (&u64, &WorkerHandle)| {
            let resident = runs(worker).then(|| worker.watched.resident()).flatten()?;
            (resident > limit).then_some((*serial, resident))
        };
        let greedy: Vec<(u64, u64)> = self.workers.iter().filter_map(has_too_much).collect();
        for (serial, resident) in greedy {
            if let Some(worker) = self.workers.get_mut(&serial) {
                let pid = worker.pid();
                tracing::warn!(
                    pid,
                    resident,
                    limit,
                    "a job has too much memory; its worker is killed"
                );
                worker.evidence.verdict = Some(CrashCause::OutOfMemory);
                worker.kill_at = None;
            }
            self.put_down(serial);
        }
    }

    /// When [`watch_memory`](Self::watch_memory) is to be called again.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        if self.memory.limit.is_none() || self.memory.home.is_some() {
            return None;
        }
        let runs = self.workers.values().any(runs);
        runs.then(|| self.memory.next.unwrap_or(now + INTERVAL))
    }

    /// Finds out whether a worker that was killed, and not by us, was killed for its memory.
    pub(super) fn judge(&mut self, worker: &mut WorkerHandle, remains: &Remains) {
        if worker.is_ours || worker.evidence.verdict.is_some() || !remains.was_killed() {
            return;
        }
        let in_its_group = worker.watched.group.as_ref().is_some_and(Group::had_kills);
        if self.memory.kills.accounts_for(worker.watched.kills) || in_its_group {
            worker.evidence.verdict = Some(CrashCause::OutOfMemory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{ProcessPoolExecutor, shared::Shared};
    use crate::{Executor, call};

    /// Writes a count down, if there is one, and dies.
    fn die((path, count): (String, Option<u64>)) {
        if let Some(count) = count {
            std::fs::write(path, format!("oom_kill {count}\n")).unwrap();
        }
        // SAFETY: a signal to this process itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }

    #[test]
    fn a_worker_that_was_killed_had_been_out_of_memory_like_others_before_its_job() {
        const HANG: Duration = Duration::from_secs(60);
        let path = std::env::temp_dir().join(format!("loopool-kills-{}", std::process::id()));
        let path = path.display().to_string();
        let count = |count: u64| std::fs::write(&path, format!("oom_kill {count}\n")).unwrap();
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let forget = |shared: &Shared| shared.turn().as_mut().unwrap().memory.counted = None;
        count(5);
        pool.shared().turn().as_mut().unwrap().memory.kills = OomKills::of(Some(path.clone()));
        pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
        // Somebody else is killed.
        count(6);
        forget(pool.shared());
        let cause = |count| {
            let mut job = pool.submit(call(die, (path.clone(), count))).unwrap();
            job.result(HANG).unwrap_err().crash().unwrap().cause
        };
        assert_eq!(cause(None), CrashCause::Signal);
        assert_eq!(cause(Some(7)), CrashCause::OutOfMemory);
        assert_eq!(cause(None), CrashCause::Signal);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn resident_memory_is_the_second_number() {
        assert_eq!(resident_pages(b"5000 120 30 4 0 60 0\n"), Some(120));
        assert_eq!(resident_pages(b""), None);
        assert_eq!(resident_pages(b"a b"), None);
    }

    #[test]
    fn this_process_has_resident_memory() {
        let watch = MemoryWatch::new(None, true).unwrap();
        let watched = watch.welcome(std::process::id() as i32).unwrap();
        assert!(watched.resident().unwrap() > 100 * 1024);
    }
}
