//! What of a profile this kernel can't enforce, told before anything is tried.

use super::{Files, Sandbox, files, filter};

/// What is missing, in words.
pub(super) fn lacks(sandbox: &Sandbox) -> Vec<String> {
    let mut missing = Vec::new();
    if !filter::is_there() {
        missing
            .push("system calls: this kernel has no seccomp for this kind of program".to_owned());
    }
    if files::version().is_none() {
        missing.extend(without_landlock(sandbox));
    }
    let paths = sandbox.files.iter().flat_map(Files::all);
    missing.extend(paths.filter_map(files::problem));
    missing
}

/// What is missing when there are no Landlock rules.
pub(super) fn without_landlock(sandbox: &Sandbox) -> Option<String> {
    // Without files, seccomp denies both, /proc/PID/mem being one.
    let needs_it = sandbox.files.as_ref().is_none_or(|files| !files.is_empty());
    needs_it.then(|| {
        "files, and the memory of other processes: this kernel has no Landlock, or has it switched off"
            .to_owned()
    })
}
