//! The seccomp filters of a profile.
//!
//! A seccomp program knows one answer besides "allowed", so there are several, and the kernel takes the
//! strictest answer:
//! 1. *guard*: calls of the x32 kind, which have other numbers, are none of ours;
//! 2. *fallback*: `clone3` hides its flags in memory; told that it does not exist (`ENOSYS`), C libraries take
//!    `clone`, whose flags can be read. The same for `openat2` where files are restricted;
//! 3. *quiet*: where, when and how soon others run. Numeric libraries ask for that for their threads, which can't be told
//!    from other processes, and take no for an answer; so this never kills;
//! 4. *profile*: a list of what is allowed for [pure](super::Sandbox::pure) profiles, of what is denied for the
//!    others.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads, sock_filter,
};

use super::calls::{self, Call};
use super::{Files, Sandbox};

/// What to do with some system calls.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The kernel has no number as high: from here on the x32 kind begins.
const X32: u32 = 0x4000_0000;

/// What the filters depend on besides the profile.
pub(super) struct Circumstances {
    /// This process.
    pub(super) pid: u32,
    /// Whether Landlock keeps signals inside, so that children can be given them.
    pub(super) signals_are_scoped: bool,
    /// Whether Landlock sees to it that files are not truncated that may not be written.
    pub(super) truncation_is_kept: bool,
}

/// Puts the filters on all threads of this process. The error says why it can't be done.
pub(super) fn install(sandbox: &Sandbox, circumstances: &Circumstances) -> Result<(), String> {
    for program in programs(sandbox, circumstances)? {
        apply_filter_all_threads(&program).map_err(|error| format!("seccomp: {error}"))?;
    }
    Ok(())
}

/// Whether this kernel has what [`install`] needs.
pub(super) fn is_there() -> bool {
    // SAFETY: the action outlives the call, which only asks.
    let answer = unsafe {
        let action = libc::SECCOMP_RET_TRAP;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    answer == 0 && seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// The filters, in the order in which they are to be installed: what the last denies the others need.
fn programs(sandbox: &Sandbox, circumstances: &Circumstances) -> Result<Vec<BpfProgram>, String> {
    let denial = denial(sandbox);
    let mut programs = vec![guard(&denial)];
    let mut hidden = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    if sandbox.files.is_some() {
        hidden.insert(libc::SYS_openat2, vec![]);
    }
    programs.push(compile(hidden, SeccompAction::Allow, errno(libc::ENOSYS))?);
    programs.push(compile(quiet(circumstances.pid)?, SeccompAction::Allow, errno(libc::EPERM))?);
    let profile = if sandbox.is_pure() {
        compile(allowed(sandbox, circumstances)?, denial, SeccompAction::Allow)
    } else {
        compile(denied(sandbox, circumstances)?, SeccompAction::Allow, denial)
    };
    programs.push(profile?);
    Ok(programs)
}

fn denial(sandbox: &Sandbox) -> SeccompAction {
    if sandbox.kills { SeccompAction::Trap } else { errno(libc::EPERM) }
}

fn errno(code: i32) -> SeccompAction {
    SeccompAction::Errno(code as u32)
}

fn compile(
    rules: Rules,
    mismatch: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, String> {
    let arch = seccompiler::TargetArch::try_from(std::env::consts::ARCH);
    let filter = arch.and_then(|arch| SeccompFilter::new(rules, mismatch, matching, arch));
    filter.and_then(BpfProgram::try_from).map_err(|error| format!("seccomp: {error}"))
}

/// Filter 1. `seccomp_data` begins with the number.
fn guard(denial: &SeccompAction) -> BpfProgram {
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        sock_filter { code: jump as u16, jt: 0, jf: 1, k: X32 },
        statement(libc::BPF_RET | libc::BPF_K, denial.clone().into()),
        statement(libc::BPF_RET | libc::BPF_K, SeccompAction::Allow.into()),
    ]
}

/// A condition on the lower half of an argument.
fn argument(index: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)
        .map_err(|error| format!("seccomp: {error}"))
}

/// A rule for when all conditions hold.
fn when(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions).map_err(|error| format!("seccomp: {error}"))
}

fn add(rules: &mut Rules, lists: &[&[Call]]) {
    for (number, _) in lists.iter().flat_map(|list| list.iter()) {
        rules.insert(*number, Vec::new());
    }
}

/// For when the argument is neither 0 nor this process.
fn others(index: u8, pid: u64) -> Result<SeccompRule, String> {
    let is_not = |value| argument(index, SeccompCmpOp::Ne, value);
    when(vec![is_not(0)?, is_not(pid)?])
}

/// Filter 3: what is denied and does not kill.
fn quiet(pid: u32) -> Result<Rules, String> {
    let pid = u64::from(pid);
    let mut rules = Rules::new();
    for (number, _) in calls::SCHEDULING {
        rules.insert(*number, vec![others(0, pid)?]);
    }
    for (number, of_a_process) in calls::PRIORITIES.iter().map(|(it, _)| *it).zip(OF_A_PROCESS) {
        let of_several = when(vec![argument(0, SeccompCmpOp::Ne, of_a_process)?])?;
        rules.insert(number, vec![of_several, others(1, pid)?]);
    }
    Ok(rules)
}

/// Filter 4 for pure profiles: what is allowed.
fn allowed(sandbox: &Sandbox, circumstances: &Circumstances) -> Result<Rules, String> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let mut rules = Rules::new();
    add(&mut rules, &[calls::COMPUTING, calls::old::COMPUTING]);
    if !sandbox.has_no_files() {
        add(&mut rules, &[calls::FILE_READS, calls::old::FILE_READS]);
    }
    match &sandbox.files {
        Some(files) if files.are_read_only() => {
            let writing = libc::O_ACCMODE | OPENS_TO_CHANGE[0] | OPENS_TO_CHANGE[1];
            for (number, flags) in OPENS {
                let none = argument(*flags, MaskedEq(writing as u64), libc::O_RDONLY as u64)?;
                rules.insert(*number, vec![when(vec![none])?]);
            }
        }
        Some(files) if !files.is_empty() => {
            add(&mut rules, &[calls::FILE_WRITES, calls::old::FILE_WRITES]);
            let mut reading = libc::O_ACCMODE;
            if !circumstances.truncation_is_kept {
                rules.remove(&libc::SYS_truncate);
                reading |= libc::O_TRUNC;
            }
            let modes = [
                (reading, libc::O_RDONLY),
                (libc::O_ACCMODE, libc::O_WRONLY),
                (libc::O_ACCMODE, libc::O_RDWR),
            ];
            for (number, flags) in OPENS {
                let mode = |(mask, mode): (libc::c_int, libc::c_int)| {
                    when(vec![argument(*flags, MaskedEq(mask as u64), mode as u64)?])
                };
                rules.insert(*number, modes.into_iter().map(mode).collect::<Result<_, _>>()?);
            }
        }
        _ => {}
    }
    // Threads only. (The second number is the flags on all machines of ours.)
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![when(vec![argument(0, MaskedEq(thread), thread)?])?]);
    let pid = u64::from(circumstances.pid);
    for (number, _) in calls::SIGNALS.iter().filter(|(number, _)| *number != libc::SYS_tkill) {
        rules.insert(*number, vec![when(vec![argument(0, Eq, pid)?])?]);
    }
    // It takes a thread, and which ones are ours nobody can tell here.
    rules.remove(&libc::SYS_tkill);
    let me = |value| when(vec![argument(0, Eq, value)?]);
    rules.insert(libc::SYS_prlimit64, vec![me(0)?, me(pid)?]);
    // Descriptors can send signals to whoever is said to own them.
    let harmless = [F_SETOWN, F_SETSIG, F_SETOWN_EX];
    let harmless: Result<Vec<_>, _> =
        harmless.into_iter().map(|command| argument(1, Ne, command)).collect();
    rules.insert(libc::SYS_fcntl, vec![when(harmless?)?]);
    let ioctls: Result<Vec<_>, _> =
        IOCTLS.into_iter().map(|request| when(vec![argument(1, Eq, request)?])).collect();
    rules.insert(libc::SYS_ioctl, ioctls?);
    // A pair of another kind can be connected again, to somebody else.
    let kinds = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET];
    let kinds: Result<Vec<_>, _> = kinds
        .into_iter()
        .map(|kind| {
            let of_this_kind = argument(1, MaskedEq(SOCKET_KIND), kind as u64)?;
            when(vec![argument(0, Eq, libc::AF_UNIX as u64)?, of_this_kind])
        })
        .collect();
    rules.insert(libc::SYS_socketpair, kinds?);
    Ok(rules)
}

/// Filter 4 for the others: what is denied.
fn denied(sandbox: &Sandbox, circumstances: &Circumstances) -> Result<Rules, String> {
    use SeccompCmpOp::{MaskedEq, Ne};
    let mut rules = Rules::new();
    add(&mut rules, &[calls::ADMINISTRATION, calls::old::ADMINISTRATION]);
    let pid = u64::from(circumstances.pid);
    rules.insert(libc::SYS_prlimit64, vec![others(0, pid)?]);
    // In a user namespace of its own a process may do to the kernel what only administrators may otherwise.
    let namespace = libc::CLONE_NEWUSER as u64;
    let mut clones = vec![when(vec![argument(0, MaskedEq(namespace), namespace)?])?];
    if sandbox.denies_network {
        add(&mut rules, &[calls::NETWORK]);
        // Such a one can be connected again, to somebody else. (Of a raw one the kernel makes one of datagrams.)
        let mut pairs = vec![when(vec![argument(0, Ne, libc::AF_UNIX as u64)?])?];
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            pairs.push(when(vec![argument(1, MaskedEq(SOCKET_KIND), kind as u64)?])?);
        }
        rules.insert(libc::SYS_socketpair, pairs);
    }
    if sandbox.denies_processes {
        add(&mut rules, &[calls::PROGRAMS, calls::PROCESSES, calls::old::PROCESSES]);
        let no_thread = argument(0, MaskedEq(libc::CLONE_THREAD as u64), 0)?;
        clones.push(when(vec![no_thread])?);
    }
    rules.insert(libc::SYS_clone, clones);
    if sandbox.denies_processes || !circumstances.signals_are_scoped {
        for (number, _) in calls::SIGNALS {
            rules.insert(*number, vec![when(vec![argument(0, Ne, pid)?])?]);
        }
        rules.insert(libc::SYS_tkill, Vec::new());
        add(&mut rules, &[calls::SIGNALS_BY_DESCRIPTOR]);
        let owners = [F_SETOWN, F_SETSIG, F_SETOWN_EX];
        let owners: Result<Vec<_>, _> = owners
            .into_iter()
            .map(|command| when(vec![argument(1, SeccompCmpOp::Eq, command)?]))
            .collect();
        rules.insert(libc::SYS_fcntl, owners?);
        deny_ioctls(&mut rules, &OWNERS)?;
    }
    deny_ioctls(&mut rules, &TYPING)?;
    if let Some(files) = &sandbox.files {
        deny_files(&mut rules, files, circumstances)?;
    }
    Ok(rules)
}

/// What Landlock does not know, or can't kill for.
fn deny_files(
    rules: &mut Rules,
    files: &Files,
    circumstances: &Circumstances,
) -> Result<(), String> {
    add(rules, &[calls::PROGRAMS, calls::FILE_ATTRIBUTES, calls::old::FILE_ATTRIBUTES]);
    add(rules, &[calls::NEW_FILE_ATTRIBUTES]);
    deny_ioctls(rules, &FLAGS)?;
    // Which bits of the flags are looked at, and what they must not be.
    let mut flags = vec![(libc::O_ACCMODE, NEITHER)];
    if files.are_read_only() {
        add(rules, &[calls::FILE_WRITES, calls::old::FILE_WRITES]);
        flags.extend([libc::O_WRONLY, libc::O_RDWR].map(|mode| (libc::O_ACCMODE, mode)));
        flags.extend(OPENS_TO_CHANGE.map(|flag| (flag, flag)));
    } else if !circumstances.truncation_is_kept {
        rules.insert(libc::SYS_truncate, Vec::new());
        flags.push((libc::O_ACCMODE | libc::O_TRUNC, libc::O_RDONLY | libc::O_TRUNC));
    }
    for (number, index) in OPENS {
        let denied = |(mask, value): &(libc::c_int, libc::c_int)| {
            when(vec![argument(*index, SeccompCmpOp::MaskedEq(*mask as u64), *value as u64)?])
        };
        // Without any files, all of them.
        let flags = if files.is_empty() { &[] } else { &flags[..] };
        rules.insert(*number, flags.iter().map(denied).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// Besides what is denied already.
fn deny_ioctls(rules: &mut Rules, requests: &[u64]) -> Result<(), String> {
    let denied = rules.entry(libc::SYS_ioctl).or_default();
    for request in requests {
        denied.push(when(vec![argument(1, SeccompCmpOp::Eq, *request)?])?);
    }
    Ok(())
}

/// A mode in which a file is open neither for reading nor for writing, but for `ioctl`; Landlock asks for no right.
const NEITHER: libc::c_int = libc::O_WRONLY | libc::O_RDWR;

/// What changes something even when a file is opened for reading.
const OPENS_TO_CHANGE: [libc::c_int; 2] = [libc::O_TRUNC, libc::O_CREAT];

/// Calls that open files, and which argument has the flags.
#[cfg(target_arch = "x86_64")]
const OPENS: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

const F_SETOWN: u64 = 8;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// FIOSETOWN and SIOCSPGRP: the same for sockets.
const OWNERS: [u64; 2] = [0x8901, 0x8902];

/// TIOCSTI and TIOCLINUX: typing in the program's terminal.
const TYPING: [u64; 2] = [0x5412, 0x541c];

/// FS_IOC_SETFLAGS, its form for 32 bits, and FS_IOC_FSSETXATTR: attributes of a file that is open in any way.
const FLAGS: [u64; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];

/// What [`calls::PRIORITIES`] take for a single process: PRIO_PROCESS and IOPRIO_WHO_PROCESS.
const OF_A_PROCESS: [u64; 2] = [0, 1];

/// TCGETS (whether it is a terminal), FIONBIO, FIONREAD, FIOCLEX and FIONCLEX: numbers, whose type is not the same in
/// all C libraries.
const IOCTLS: [u64; 5] = [0x5401, 0x5421, 0x541b, 0x5451, 0x5450];

/// The kind of a socket, without its flags.
const SOCKET_KIND: u64 = 0xf;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_profiles_compile() {
        let profiles = [
            Sandbox::no_network(),
            Sandbox::read_only(["/usr"]),
            Sandbox::pure(),
            Sandbox::pure().allow_read(["/usr"]).allow_write(["/tmp"]),
            Sandbox::no_network().deny_processes(),
            Sandbox { files: Some(Files::default()), ..Sandbox::new() },
        ];
        for profile in profiles {
            for sandbox in [profile.clone(), profile.kill_on_denial()] {
                for yes in [false, true] {
                    let circumstances = Circumstances {
                        pid: 1234,
                        signals_are_scoped: yes,
                        truncation_is_kept: yes,
                    };
                    let programs = programs(&sandbox, &circumstances).unwrap();
                    assert!(programs.iter().all(|program| program.len() < 4096), "{sandbox:?}");
                }
            }
        }
    }

    /// How each of some calls ends in a worker with a profile whose Landlock rules are not in force: 0, or an error's
    /// number.
    fn ways_to_empty((path, is_pure): (String, bool)) -> [i32; 4] {
        let sandbox = if is_pure { Sandbox::pure() } else { Sandbox::new() };
        let sandbox = sandbox.allow_read(["/"]).allow_write(["/nowhere"]);
        let circumstances = Circumstances {
            pid: std::process::id(),
            signals_are_scoped: true,
            truncation_is_kept: false,
        };
        let path = std::ffi::CString::new(path).unwrap();
        let open = |flags| {
            // SAFETY: a plain system call with a C string.
            unsafe { libc::open(path.as_ptr(), flags) }
        };
        // SAFETY: a plain setting of this process.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        install(&sandbox, &circumstances).unwrap();
        // SAFETY: as above.
        let truncated = unsafe { libc::truncate(path.as_ptr(), 0) };
        let error = |result: i32| match result {
            ..0 => std::io::Error::last_os_error().raw_os_error().unwrap(),
            _ => 0,
        };
        let truncated = error(truncated);
        let flags = [libc::O_RDONLY | libc::O_TRUNC, NEITHER, libc::O_WRONLY | libc::O_TRUNC];
        let [emptied, neither, written] = flags.map(|flags| error(open(flags)));
        [truncated, emptied, neither, written]
    }

    #[test]
    fn where_landlock_does_not_know_of_truncation_files_are_not_emptied() {
        use crate::{Executor, ProcessPoolExecutor, call};
        let path = std::env::temp_dir().join(format!("loopool-empty-{}", std::process::id()));
        let name = path.to_str().unwrap().to_owned();
        for is_pure in [false, true] {
            std::fs::write(&path, "precious").unwrap();
            let pool = ProcessPoolExecutor::new(1).unwrap();
            let mut job = pool.submit(call(ways_to_empty, (name.clone(), is_pure))).unwrap();
            // The last one is what Landlock does know of.
            assert_eq!(job.result(None).unwrap(), [libc::EPERM, libc::EPERM, libc::EPERM, 0]);
        }
        std::fs::remove_file(path).unwrap();
    }
}
