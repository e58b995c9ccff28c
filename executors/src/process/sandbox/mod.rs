//! [`Sandbox`]: what the jobs of a process pool may not do.
//!
//! It is made of what an unprivileged Linux process can do to itself, each where it is strong:
//!
//! | | by |
//! |---|---|
//! | which files | Landlock (`files`); where there are to be none at all, seccomp too |
//! | which system calls | seccomp (`filter`, from the lists in `calls`) |
//! | memory and signals of other processes | Landlock, seccomp |
//! | no rights by set-user-id programs | `no_new_privs` |
//!
//! A worker puts it on after its initializer and before its first job (`enter`), tells the program what
//! came of it ([`Enforced`]), and can't take it off again.

mod calls;
mod enforced;
mod enter;
mod files;
mod filter;
mod support;
mod system_call;
mod trap;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use enforced::{Enforced, MemoryGuard};
pub(super) use enter::enter;
pub use system_call::SystemCall;
pub(super) use trap::calm;

/// What the jobs of a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor) may not do, enforced by the kernel.
///
/// ```
/// use loopool_executors::{Executor, ProcessPoolExecutor, Sandbox, call};
///
/// fn lines(path: String) -> Option<usize> {
///     std::fs::read_to_string(path).ok().map(|text| text.lines().count())
/// }
///
/// # if !Sandbox::pure().lacks().is_empty() { return Ok(()); }
/// let pool = ProcessPoolExecutor::builder().workers(1).sandbox(Sandbox::pure()).build()?;
/// assert_eq!(pool.submit(call(lines, "/etc/passwd".to_owned()))?.result(None)?, None);
/// assert!(pool.enforced().unwrap().is_complete());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Profiles
/// | | files | network | new processes |
/// |---|---|---|---|
/// | [`no_network`](Self::no_network) | any | no | yes |
/// | [`read_only`](Self::read_only) | those paths, for reading | yes | copies of itself; no programs |
/// | [`pure`](Self::pure) | none | no | no |
///
/// They are compositions of [`deny_network`](Self::deny_network), [`deny_processes`](Self::deny_processes),
/// [`allow_read`](Self::allow_read) and [`allow_write`](Self::allow_write), which can be added to each of
/// them: `Sandbox::pure().allow_read(["/usr/share/fonts"])`. All of them take away the memory of and signals to
/// other processes, the rights of set-user-id programs, and system calls that serve administrators and
/// attackers (`mount`, `bpf`, `ptrace`, `io_uring`…).
///
/// # When
/// After the [initializer](crate::ProcessPoolBuilder::initializer) and before the first job. What the
/// initializer has opened stays open: a model or a font can be loaded first, and a connection that is to be
/// used all the same be made. Threads that it starts are bound as well, except that Landlock does not reach
/// them before Linux 7.0: then the files are reported as not enforced.
///
/// # What a job finds
/// A call that is not allowed fails with "permission denied" (`EPERM` or `EACCES`), as for a user without rights.
/// Or, with [`kill_on_denial`](Self::kill_on_denial), it ends the worker, and the job's
/// [crash report](crate::CrashReport) names the call.
///
/// Panics, threads, locks, clocks, memory and everything else that needs no file work as always. A
/// backtrace has no names where the program's file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a sandbox does nothing until a pool is given it"]
pub struct Sandbox {
    denies_network: bool,
    denies_processes: bool,
    /// None: any file.
    files: Option<Files>,
    kills: bool,
    is_best_effort: bool,
    clears_environment: bool,
}

/// The files a job may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Files {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Files {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }

    /// Whether some may be read, and none written.
    fn are_read_only(&self) -> bool {
        self.write.is_empty() && !self.read.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        self.read.iter().chain(&self.write).map(PathBuf::as_path)
    }
}

impl Sandbox {
    /// What all profiles have in common.
    fn new() -> Self {
        Sandbox {
            denies_network: false,
            denies_processes: false,
            files: None,
            kills: false,
            is_best_effort: false,
            clears_environment: false,
        }
    }

    /// Any file, any program, and no network: no socket of any kind but pairs of connected ones. Unix
    /// sockets count, since the daemons behind them have a network.
    pub fn no_network() -> Self {
        Self::new().deny_network()
    }

    /// Only these files, and what lies in these directories, and those only for reading. No programs can be
    /// started, not even of these files.
    ///
    /// ```
    /// use loopool_executors::Sandbox;
    ///
    /// let sandbox = Sandbox::read_only(["/usr/share", "/etc/localtime"]).deny_network();
    /// # let _ = sandbox;
    /// ```
    pub fn read_only<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { files: Some(Files::default()), ..Self::new() }.allow_read(paths)
    }

    /// No files, no network, no processes: memory, processor time, and what the initializer has opened. Only
    /// system calls that such work needs are allowed at all.
    pub fn pure() -> Self {
        Self { files: Some(Files::default()), ..Self::new() }.deny_network().deny_processes()
    }

    /// Also without network, as in [`no_network`](Self::no_network).
    pub fn deny_network(mut self) -> Self {
        self.denies_network = true;
        self
    }

    /// Also without new processes: neither copies of the worker nor programs. Threads are none.
    pub fn deny_processes(mut self) -> Self {
        self.denies_processes = true;
        self
    }

    /// These files, and what lies in these directories, may be read, and of all others none (unless allowed
    /// by another call). A path is looked up when a worker starts, in the pool's working directory.
    pub fn allow_read<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        let files = self.files.get_or_insert_default();
        files.read.extend(paths.into_iter().map(Into::into));
        self
    }

    /// These files may be read and written; in these directories files and directories may be made, renamed
    /// and removed, too. Owner, mode and times of files stay as they are made; so [`std::fs::copy`], which copies the
    /// mode as well, fails, and [`std::io::copy`] does not.
    pub fn allow_write<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        let files = self.files.get_or_insert_default();
        files.write.extend(paths.into_iter().map(Into::into));
        self
    }

    /// The workers' environment is empty but for what the pool is given by
    /// [`env`](crate::ProcessPoolBuilder::env): passwords and tokens are often there. The initializer finds
    /// none of it either.
    pub fn clear_env(mut self) -> Self {
        self.clears_environment = true;
        self
    }

    /// A call that is not allowed ends the worker, and the job with it, as
    /// [`SandboxDenied`](crate::CrashCause::SandboxDenied).
    ///
    /// That is so for what seccomp denies: network, processes, the system calls themselves, any use of files in
    /// a profile without files, and writing in one with files only to be read. Landlock, which tells one path from
    /// another, can't do it: reading outside of the allowed paths fails with `EACCES` all the same. So does
    /// what libraries do by themselves: looks into `/proc`, `/sys` and `/usr/lib`, and all that is denied while
    /// a panic is printed.
    /// In a process that a job has started the call ends that process.
    ///
    /// ```
    /// use loopool_executors::{CrashCause, Executor, ProcessPoolExecutor, Sandbox, call};
    ///
    /// fn phone_home(_: ()) -> bool {
    ///     std::net::TcpStream::connect("192.0.2.1:80").is_ok()
    /// }
    ///
    /// # if !Sandbox::pure().lacks().is_empty() { return Ok(()); }
    /// let sandbox = Sandbox::pure().kill_on_denial();
    /// let pool = ProcessPoolExecutor::builder().workers(1).sandbox(sandbox).build()?;
    /// let error = pool.submit(call(phone_home, ()))?.result(None).unwrap_err();
    /// let CrashCause::SandboxDenied { syscall: Some(call) } = error.crash().unwrap().cause else {
    ///     panic!("{error}");
    /// };
    /// assert_eq!(call.name(), Some("socket"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_on_denial(mut self) -> Self {
        self.kills = true;
        self
    }

    /// What the kernel can't enforce is left out, and told by
    /// [`ProcessPoolExecutor::enforced`](crate::ProcessPoolExecutor::enforced).
    pub fn best_effort(mut self) -> Self {
        self.is_best_effort = true;
        self
    }

    /// All of it, or nothing: where the kernel can't enforce something, the pool can't be built, and where
    /// that turns out later, jobs fail. The default.
    pub fn require(mut self) -> Self {
        self.is_best_effort = false;
        self
    }

    /// What of this profile can't be enforced here, as far as can be told without trying; usually nothing. A
    /// pool with a profile that [requires](Self::require) all of it is not built then.
    pub fn lacks(&self) -> Vec<String> {
        support::lacks(self)
    }

    pub(super) fn is_best_effort(&self) -> bool {
        self.is_best_effort
    }

    pub(super) fn clears_environment(&self) -> bool {
        self.clears_environment
    }

    /// Whether only what is needed for computing is allowed.
    fn is_pure(&self) -> bool {
        self.denies_network && self.denies_processes && self.files.is_some()
    }

    /// Whether no file at all may be used.
    fn has_no_files(&self) -> bool {
        self.files.as_ref().is_some_and(Files::is_empty)
    }
}
