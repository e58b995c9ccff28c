//! The Landlock rules of a profile: which files, and that other processes are out of reach.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::Sandbox;

/// The interface these rules were written for. What a kernel with an older one lacks is left out.
const INTERFACE: ABI = ABI::V6;

/// From here on signals to processes outside can be kept back.
const SCOPES_SIGNALS: u32 = 6;

/// From here on nothing is truncated that may not be.
const KEEPS_TRUNCATION: u32 = 3;

/// What of Landlock is in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce {
    pub(super) abi: u32,
    /// Also in the threads that were there before.
    pub(super) in_all_threads: bool,
}

impl InForce {
    /// Whether nothing is truncated that may not be. (In threads that it does not reach, nothing is kept at all.)
    pub(super) fn keeps_truncation(self) -> bool {
        self.abi >= KEEPS_TRUNCATION
    }

    /// Whether signals can't leave.
    pub(super) fn scopes_signals(self) -> bool {
        self.abi >= SCOPES_SIGNALS && self.in_all_threads
    }
}

/// Restricts this thread and those it will start; where the kernel can, and there are `others`, those too. None
/// where the kernel has no Landlock. Paths that can't be allowed are left out, which takes more away than was
/// asked for, and added to what is `missing`.
pub(super) fn restrict(
    sandbox: &Sandbox,
    others: bool,
    missing: &mut Vec<String>,
) -> Result<Option<InForce>, String> {
    let status = ruleset(sandbox, others, missing).map_err(|error| format!("Landlock: {error}"))?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else { return Ok(None) };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Ok(None);
    }
    let in_all_threads = !others || status.all_threads;
    Ok(Some(InForce { abi: effective_abi as u32, in_all_threads }))
}

type Status = landlock::RestrictionStatus;

fn ruleset(
    sandbox: &Sandbox,
    others: bool,
    missing: &mut Vec<String>,
) -> Result<Status, landlock::RulesetError> {
    let mut ruleset =
        Ruleset::default().handle_access(handled(sandbox))?.scope(Scope::from_all(INTERFACE))?;
    if sandbox.denies_network {
        ruleset = ruleset.handle_access(AccessNet::from_all(INTERFACE))?;
    }
    let mut created = ruleset.create()?;
    if let Some(files) = &sandbox.files {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        for (paths, access) in [(&files.read, read), (&files.write, read | write())] {
            for path in paths {
                let fd = match PathFd::new(path) {
                    Ok(fd) => fd,
                    Err(error) => {
                        missing.push(format!("files: {}: {error}", path.display()));
                        continue;
                    }
                };
                let access = if path.is_dir() { access } else { access & of_a_file() };
                created = created.add_rule(PathBeneath::new(fd, access))?;
            }
        }
    }
    Ok(if others {
        created.all_threads(true)?.restrict_self()?
    } else {
        created.restrict_self()?
    })
}

/// Which kinds of access are looked at. Device nodes are always: with any rule in force, the memory of
/// processes outside is out of reach.
fn handled(sandbox: &Sandbox) -> BitFlags<AccessFs> {
    if sandbox.files.is_some() {
        AccessFs::from_all(INTERFACE)
    } else {
        AccessFs::MakeChar | AccessFs::MakeBlock
    }
}

/// What writing may do.
fn write() -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    AccessFs::from_write(INTERFACE) & !devices
}

/// What can be done with a file that is no directory.
fn of_a_file() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate
}

/// The kernel's interface version; none when it has no Landlock, or has it switched off.
pub(super) fn version() -> Option<u32> {
    const ASK_VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel reads no memory and makes no descriptor.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, ASK_VERSION) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Why a path can't be in a profile.
pub(super) fn problem(path: &Path) -> Option<String> {
    PathFd::new(path).err().map(|error| format!("files: {}: {error}", path.display()))
}
