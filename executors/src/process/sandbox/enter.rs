//! Putting the sandbox on: the worker's side.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::files::{self, InForce};
use super::filter::{self, Circumstances};
use super::support::without_landlock;
use super::{Enforced, Sandbox, trap};

/// Confines this process for good and says what is in force, limits included. The error says what could not
/// be enforced although it is required, or what is wrong with the profile.
pub(in crate::process) fn enter(sandbox: Option<&Sandbox>) -> Result<Enforced, String> {
    let mut enforced = limits();
    let Some(sandbox) = sandbox else { return Ok(enforced) };
    let mut missing = Vec::new();
    // Before Landlock: this may look into /proc.
    let others = has_other_threads();
    let landlock = match files::restrict(sandbox, others, &mut missing) {
        Ok(landlock) => landlock,
        Err(why) if sandbox.is_best_effort => {
            missing.push(why);
            None
        }
        Err(why) => return Err(why),
    };
    match landlock {
        None => missing.extend(without_landlock(sandbox)),
        Some(InForce { in_all_threads: false, .. }) if !sandbox.has_no_files() => missing.push(
            "files, and the memory of other processes: this kernel's Landlock does not reach the threads \
             that the initializer has started; start them in the first job"
                .to_owned(),
        ),
        Some(_) => {}
    }
    enforced.landlock_abi = landlock.map(|in_force| in_force.abi);
    if sandbox.kills {
        trap::report_denials();
    }
    let circumstances = Circumstances {
        pid: std::process::id(),
        signals_are_scoped: landlock.is_some_and(InForce::scopes_signals),
        truncation_is_kept: landlock.is_some_and(InForce::keeps_truncation),
    };
    if let Err(why) = no_new_privs().and_then(|()| filter::install(sandbox, &circumstances)) {
        missing.push(why);
    } else {
        enforced.seccomp = true;
    }
    enforced.no_new_privs = has_no_new_privs();
    if !missing.is_empty() && !sandbox.is_best_effort {
        return Err(missing.join("; "));
    }
    enforced.missing = missing;
    Ok(enforced)
}

/// The limits this process has.
fn limits() -> Enforced {
    let limit = |resource| match getrlimit(resource) {
        Ok((soft, _)) if soft != RLIM_INFINITY => Some(soft),
        _ => None,
    };
    Enforced {
        memory_limit: limit(Resource::RLIMIT_AS),
        open_files: limit(Resource::RLIMIT_NOFILE),
        no_new_privs: has_no_new_privs(),
        ..Enforced::default()
    }
}

/// Whether the initializer has left threads. Where that can't be found out it has.
fn has_other_threads() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() != 1)
}

fn no_new_privs() -> Result<(), String> {
    // SAFETY: a plain setting of this process.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(format!("no_new_privs: {}", std::io::Error::last_os_error())),
    }
}

fn has_no_new_privs() -> bool {
    // SAFETY: a plain question.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}
