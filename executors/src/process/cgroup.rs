//! Control groups, version 2: a limit of memory that the kernel itself sees to.
//!
//! Only where a group was *delegated* to the program, and it has room for groups beside the program's own: a
//! group that has processes can't have groups with limits. That is what systemd makes of
//! `Delegate=yes` with `DelegateSubgroup=main`:
//!
//! ```text
//! loopool.service        delegated: belongs to us, or is marked as such
//! ├── main               the program
//! ├── loopool-4711       a worker: memory.max, memory.oom.group
//! └── loopool-4712       another
//! ```
//!
//! Being allowed to write somewhere is no delegation: root may write everywhere.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::oom;
use crate::timekeeper::{self, Alarm};

/// How often it is tried to remove a group, and how long after the first time; each pause is twice the one before. So
/// for about 4 s in all.
const REMOVALS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(8);

/// A delegated group in which workers get theirs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Home(PathBuf);

impl Home {
    /// The one of this process, if there is one.
    pub(super) fn detect() -> Option<Home> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = directory(&groups, &mounts)?;
        Home::above(&own, is_delegated)
    }

    fn above(own: &Path, is_delegated: impl Fn(&Path) -> bool) -> Option<Home> {
        let home = own.parent()?;
        if !is_delegated(home) {
            return None;
        }
        let has_memory = |file: &str| {
            let text = fs::read_to_string(home.join(file)).unwrap_or_default();
            text.split_ascii_whitespace().any(|controller| controller == "memory")
        };
        if !has_memory("cgroup.controllers") {
            return None;
        }
        if !has_memory("cgroup.subtree_control") {
            fs::write(home.join("cgroup.subtree_control"), "+memory").ok()?;
        }
        Some(Home(home.to_owned()))
    }

    /// Makes a group for a worker and moves it there.
    pub(super) fn group_for(&self, pid: i32, limit: u64) -> io::Result<Group> {
        let group = Group(self.new_directory(pid)?);
        fs::write(group.0.join("memory.max"), limit.to_string())?;
        // What can't be kept in memory is not to go on in the swap space; where there is none, there is no file.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        fs::write(group.0.join("memory.oom.group"), "1")?;
        fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }
}

impl Home {
    /// One that is new: what the kernel has counted in another worker's says nothing about this one.
    fn new_directory(&self, pid: i32) -> io::Result<PathBuf> {
        let mut path = self.0.join(format!("loopool-{pid}"));
        for number in 1.. {
            match fs::create_dir(&path) {
                // Left by a program that was killed, and whose worker had that number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| path),
            }
            path = self.0.join(format!("loopool-{pid}-{number}"));
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Where the group of version 2 of a process lies. Its own lines of `/proc/PID/cgroup` and `mountinfo`.
fn directory(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        if system.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        // A group at the mount point has none above it.
        (below != Path::new("")).then(|| Path::new(point).join(below))
    })
}

/// Whether a group was given to us: it belongs to this user, or bears the mark of systemd.
fn is_delegated(path: &Path) -> bool {
    let user = nix::unistd::geteuid();
    let is_ours = fs::metadata(path).is_ok_and(|it| !user.is_root() && it.uid() == user.as_raw());
    is_ours || [c"user.delegate", c"trusted.delegate"].iter().any(|name| has_mark(path, name))
}

fn has_mark(path: &Path, name: &std::ffi::CStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut value = [0u8; 8];
    // SAFETY: two C strings, and a buffer of the length given.
    let len = unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    len == 1 && value[0] == b'1'
}

/// A worker's group. It is removed when this is dropped; then the worker has been reaped.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Whether the kernel has killed somebody in it for want of memory.
    pub(super) fn had_kills(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events"));
        events.ok().and_then(|text| oom::count(&text)).is_some_and(|kills| kills > 0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What has left the worker's process group is still here.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        remove(std::mem::take(&mut self.0), REMOVALS);
    }
}

/// Removes a group, if need be later: those that were killed in it may take some milliseconds to die.
fn remove(path: PathBuf, tries: u32) {
    let Err(error) = fs::remove_dir(&path) else { return };
    if error.kind() == io::ErrorKind::NotFound {
        return;
    }
    let again = {
        let path = path.clone();
        move || remove(path, tries - 1)
    };
    let pause = FIRST_PAUSE * (1 << (REMOVALS - tries));
    if tries > 1 && timekeeper::call_at(Instant::now() + pause, again).map(Alarm::forget).is_ok() {
        return;
    }
    tracing::warn!(%error, path = %path.display(), "a control group is still in use and stays");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / /proc rw - proc proc rw
30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw
31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn the_own_group_is_found() {
        let found = directory("4:memory:/x\n0::/user.slice/a.service/main\n", MOUNTS);
        assert_eq!(found, Some("/sys/fs/cgroup/user.slice/a.service/main".into()));
        assert_eq!(directory("0::/\n", MOUNTS), None, "nothing is above it");
        assert_eq!(directory("4:memory:/x\n", MOUNTS), None, "version 1");
        assert_eq!(directory("0::/a/b\n", ""), None);
        let inside = "30 1 0:26 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(directory("0::/a/b\n", inside), Some("/sys/fs/cgroup/b".into()));
        assert_eq!(directory("0::/c\n", inside), None, "outside of what is mounted");
    }

    /// A directory with what detection reads.
    fn fake(name: &str, controllers: &str) -> PathBuf {
        let home =
            std::env::temp_dir().join(format!("loopool-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(home.join("main")).unwrap();
        fs::write(home.join("cgroup.controllers"), controllers).unwrap();
        fs::write(home.join("cgroup.subtree_control"), "").unwrap();
        home
    }

    #[test]
    fn only_a_delegated_group_with_the_memory_controller_is_used() {
        let home = fake("detect", "cpu memory pids\n");
        let own = home.join("main");
        assert_eq!(Home::above(&own, |_| false), None, "writable is not delegated");
        assert_eq!(fs::read_to_string(home.join("cgroup.subtree_control")).unwrap(), "");
        assert_eq!(Home::above(&own, |_| true), Some(Home(home.clone())));
        assert_eq!(fs::read_to_string(home.join("cgroup.subtree_control")).unwrap(), "+memory");
        fs::write(home.join("cgroup.controllers"), "cpu pids\n").unwrap();
        assert_eq!(Home::above(&own, |_| true), None);
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_worker_gets_a_group_with_its_limit() {
        let home = fake("group", "memory\n");
        let group = Home(home.clone()).group_for(4711, 1 << 20).unwrap();
        let read = |file: &str| fs::read_to_string(home.join("loopool-4711").join(file)).unwrap();
        assert_eq!((read("memory.max"), read("cgroup.procs")), ("1048576".into(), "4711".into()));
        assert_eq!(read("memory.oom.group"), "1");
        assert!(!group.had_kills());
        fs::write(home.join("loopool-4711/memory.events"), "oom 1\noom_kill 1\n").unwrap();
        assert!(group.had_kills());
        // One that is left keeps its directory, and the next worker of that number does not get it.
        let next = Home(home.clone()).group_for(4711, 1 << 20).unwrap();
        assert!(!next.had_kills());
        drop((group, next));
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_group_that_is_in_use_is_removed_later() {
        let home = fake("removal", "memory\n");
        let path = home.join("loopool-1");
        // A directory that is not empty can't be removed either.
        fs::create_dir_all(path.join("in use")).unwrap();
        remove(path.clone(), REMOVALS);
        assert!(path.exists());
        fs::remove_dir(path.join("in use")).unwrap();
        let since = Instant::now();
        while path.exists() {
            assert!(since.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
        fs::remove_dir_all(home).unwrap();
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "what is not tested is named")]
    fn this_machine_is_as_it_is() {
        match Home::detect() {
            Some(home) => println!("a control group is delegated to this process: {home:?}"),
            None => println!(
                "no control group is delegated to this process: the real kernel's part is not tested"
            ),
        }
    }
}
