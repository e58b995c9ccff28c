//! System calls by what they are for.

/// A number, and a name with `SYS_` before it.
pub(super) type Call = (libc::c_long, &'static str);

macro_rules! calls {
    ($($number:ident)*) => {
        &[$((libc::$number, stringify!($number))),*]
    };
}

/// What serves administrators, debuggers and attackers: never allowed.
pub(super) const ADMINISTRATION: &[Call] = calls! {
    SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_ptrace SYS_process_vm_readv
    SYS_process_vm_writev SYS_process_madvise SYS_pidfd_getfd SYS_kcmp SYS_bpf SYS_userfaultfd
    SYS_perf_event_open SYS_keyctl SYS_add_key SYS_request_key SYS_mount SYS_umount2
    SYS_pivot_root SYS_chroot SYS_unshare SYS_setns SYS_move_mount SYS_open_tree SYS_fsopen
    SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_open_by_handle_at SYS_kexec_load
    SYS_init_module SYS_finit_module SYS_delete_module SYS_reboot SYS_swapon SYS_swapoff
    SYS_acct SYS_syslog SYS_quotactl SYS_settimeofday SYS_clock_settime SYS_adjtimex
    SYS_clock_adjtime SYS_sethostname SYS_setdomainname SYS_move_pages SYS_migrate_pages
    SYS_vhangup
};

/// What makes a connection; pairs of connected sockets are none.
pub(super) const NETWORK: &[Call] = calls! {
    SYS_socket SYS_connect SYS_bind SYS_listen
};

/// Starting programs.
pub(super) const PROGRAMS: &[Call] = calls! {
    SYS_execve SYS_execveat
};

/// Leaving the worker's group, and on some machines making processes; for `clone` see the filter.
pub(super) const PROCESSES: &[Call] = calls! {
    SYS_setsid SYS_setpgid
};

/// Signals to processes: allowed to oneself.
pub(super) const SIGNALS: &[Call] = calls! {
    SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo
};

/// Signals to processes that can't be told from those to oneself.
pub(super) const SIGNALS_BY_DESCRIPTOR: &[Call] = calls! {
    SYS_pidfd_send_signal
};

/// What changes files by name.
pub(super) const FILE_WRITES: &[Call] = calls! {
    SYS_truncate SYS_mknodat SYS_symlinkat SYS_linkat SYS_unlinkat SYS_renameat2
    SYS_mkdirat
};

/// Owner, mode, times and attributes of files: Landlock does not know them. For some it is enough that the file is
/// open for reading.
pub(super) const FILE_ATTRIBUTES: &[Call] = calls! {
    SYS_fchmodat SYS_fchownat SYS_setxattr SYS_lsetxattr SYS_removexattr SYS_lremovexattr
    SYS_utimensat SYS_fchmod SYS_fchown SYS_fsetxattr SYS_fremovexattr
};

/// The same, of kernels that are younger than the C library's crate. All machines have these numbers.
pub(super) const NEW_FILE_ATTRIBUTES: &[Call] = &[
    (452, "SYS_fchmodat2"),
    (463, "SYS_setxattrat"),
    (466, "SYS_removexattrat"),
    (469, "SYS_file_setattr"),
];

/// Where, when and how soon a process or thread runs: allowed to oneself. The first argument says whose.
pub(super) const SCHEDULING: &[Call] = calls! {
    SYS_sched_setaffinity SYS_sched_setscheduler SYS_sched_setparam SYS_sched_setattr
};

/// The same, of processes, groups or users: the first argument says which of them, the second whose.
pub(super) const PRIORITIES: &[Call] = calls! {
    SYS_setpriority SYS_ioprio_set
};

/// What looks for files by name, and does no harm once Landlock watches.
pub(super) const FILE_READS: &[Call] = calls! {
    SYS_openat SYS_openat2 SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_chdir
    SYS_fchdir SYS_statfs SYS_getxattr SYS_lgetxattr SYS_listxattr SYS_llistxattr
    SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch
};

/// What a job needs that computes: memory, threads, clocks, what is open already.
pub(super) const COMPUTING: &[Call] = calls! {
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev
    SYS_preadv2 SYS_pwritev2 SYS_close SYS_close_range SYS_fstat SYS_newfstatat SYS_statx
    SYS_lseek SYS_getdents64 SYS_fstatfs SYS_mmap SYS_munmap SYS_mprotect SYS_mremap SYS_madvise
    SYS_brk SYS_msync SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock SYS_membarrier SYS_rseq
    SYS_mbind SYS_get_mempolicy SYS_set_mempolicy SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
    SYS_futex SYS_futex_waitv SYS_set_robust_list SYS_get_robust_list SYS_set_tid_address
    SYS_clone SYS_clone3 SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity
    SYS_sched_getparam SYS_sched_getscheduler SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_getcpu SYS_getpriority SYS_clock_gettime SYS_clock_getres
    SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday SYS_times SYS_getrusage SYS_sysinfo
    SYS_uname SYS_getrandom SYS_getpid SYS_getcwd SYS_gettid SYS_getppid SYS_getpgid SYS_getsid SYS_getuid
    SYS_geteuid SYS_getgid SYS_getegid SYS_getgroups SYS_getresuid SYS_getresgid SYS_umask
    SYS_prlimit64 SYS_rt_sigaction SYS_rt_sigprocmask
    SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigsuspend SYS_sigaltstack
    SYS_restart_syscall SYS_exit SYS_exit_group SYS_kill SYS_tkill SYS_tgkill
    SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_prctl SYS_ppoll SYS_pselect6 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4 SYS_pipe2
    SYS_socketpair SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_sendto SYS_recvfrom
    SYS_shutdown SYS_getsockopt SYS_setsockopt SYS_getsockname SYS_getpeername SYS_accept
    SYS_accept4 SYS_dup SYS_dup3 SYS_fcntl SYS_ioctl SYS_flock SYS_memfd_create SYS_ftruncate
    SYS_fallocate SYS_fsync SYS_fdatasync SYS_fadvise64 SYS_splice SYS_tee SYS_vmsplice
    SYS_sendfile SYS_copy_file_range SYS_timer_create SYS_timer_settime SYS_timer_gettime
    SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime
    SYS_timerfd_gettime SYS_setitimer SYS_getitimer SYS_wait4 SYS_waitid SYS_seccomp
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
};

/// All lists, those of the older machines' own calls included.
const ALL: &[&[Call]] = &[
    ADMINISTRATION,
    NETWORK,
    PROGRAMS,
    PROCESSES,
    SIGNALS,
    SIGNALS_BY_DESCRIPTOR,
    FILE_WRITES,
    FILE_ATTRIBUTES,
    NEW_FILE_ATTRIBUTES,
    FILE_READS,
    SCHEDULING,
    PRIORITIES,
    COMPUTING,
    old::ADMINISTRATION,
    old::PROCESSES,
    old::FILE_WRITES,
    old::FILE_ATTRIBUTES,
    old::FILE_READS,
    old::COMPUTING,
];

/// What a call is named; none for those that are on no list.
pub(super) fn name_of(number: i64) -> Option<&'static str> {
    let known = ALL.iter().flat_map(|list| list.iter()).find(|(known, _)| *known == number);
    known.and_then(|(_, name)| name.strip_prefix("SYS_"))
}

/// Calls that only older machines have, beside the newer ones that do the same.
#[cfg(target_arch = "x86_64")]
pub(super) mod old {
    use super::Call;

    pub(in super::super) const ADMINISTRATION: &[Call] = calls! {
        SYS_iopl SYS_ioperm SYS_modify_ldt SYS_kexec_file_load
    };

    pub(in super::super) const PROCESSES: &[Call] = calls! {
        SYS_fork SYS_vfork
    };

    pub(in super::super) const FILE_WRITES: &[Call] = calls! {
        SYS_renameat SYS_creat SYS_mknod SYS_symlink SYS_link SYS_unlink SYS_rename SYS_mkdir SYS_rmdir
    };

    pub(in super::super) const FILE_ATTRIBUTES: &[Call] = calls! {
        SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
    };

    pub(in super::super) const FILE_READS: &[Call] = calls! {
        SYS_open SYS_readlink SYS_access SYS_inotify_init
    };

    pub(in super::super) const COMPUTING: &[Call] = calls! {
        SYS_getrlimit SYS_setrlimit SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_pipe SYS_dup2
        SYS_arch_prctl SYS_time SYS_alarm SYS_pause SYS_stat SYS_lstat SYS_getpgrp
    };
}

/// There are few here, and the C library's crate does not name them.
#[cfg(target_arch = "aarch64")]
pub(super) mod old {
    use super::Call;

    pub(in super::super) const ADMINISTRATION: &[Call] = &[];
    pub(in super::super) const PROCESSES: &[Call] = &[];
    pub(in super::super) const FILE_WRITES: &[Call] = &[(38, "SYS_renameat")];
    pub(in super::super) const FILE_ATTRIBUTES: &[Call] = &[];
    pub(in super::super) const FILE_READS: &[Call] = &[];
    pub(in super::super) const COMPUTING: &[Call] =
        &[(163, "SYS_getrlimit"), (164, "SYS_setrlimit")];
}

/// There are none here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) mod old {
    use super::Call;

    pub(in super::super) const ADMINISTRATION: &[Call] = &[];
    pub(in super::super) const PROCESSES: &[Call] = &[];
    pub(in super::super) const FILE_WRITES: &[Call] = &[];
    pub(in super::super) const FILE_ATTRIBUTES: &[Call] = &[];
    pub(in super::super) const FILE_READS: &[Call] = &[];
    pub(in super::super) const COMPUTING: &[Call] = &[];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_name() {
        assert_eq!(name_of(libc::SYS_openat), Some("openat"));
        assert_eq!(name_of(libc::SYS_socket), Some("socket"));
        assert_eq!(name_of(1 << 20), None);
    }

    #[test]
    fn what_computing_needs_is_on_no_list_of_what_is_denied() {
        let denied = [ADMINISTRATION, NETWORK, PROGRAMS, PROCESSES, FILE_WRITES, FILE_ATTRIBUTES];
        for (number, name) in denied.iter().flat_map(|list| list.iter()) {
            assert!(!COMPUTING.iter().any(|(other, _)| other == number), "{name}");
        }
    }
}
