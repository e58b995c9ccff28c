//! Programs whose executable has rights that its starter has not.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use super::copies::changed_copy;
use super::*;

pub(crate) const ROLES: [(&str, fn()); 2] =
    [("make-a-pool", try_to_make_a_pool), ("ordinary", || print!("{}", is_secure()))];

pub(crate) const SCENARIOS: [(&str, Scenario); 3] = [
    ("a_set_user_id_program_makes_no_pool", set_user_id),
    ("a_program_with_capabilities_makes_no_pool", capabilities),
    ("an_unreadable_executable_will_do", unreadable),
];

/// What the kernel tells a program about its rights.
fn is_secure() -> &'static str {
    // SAFETY: reads a word the kernel left for the process.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 { "privileged" } else { "ordinary" }
}

fn as_nobody(program: &Path, role: &str) -> Command {
    let mut command = in_role(program, role);
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Both sides refuse: no pool is made, and nothing is taken over, however well it is forged.
fn check_that_it_is_refused(copy: &Path) -> Result<(), Skipped> {
    let name = || format!("loopool-worker {}", "0123456789abcdef".repeat(2));
    let (_ours, theirs) = nix::sys::socket::socketpair(
        nix::sys::socket::AddressFamily::Unix,
        nix::sys::socket::SockType::SeqPacket,
        None,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
    )
    .unwrap();
    let outcome = if said(&mut as_nobody(copy, "ordinary")) == "ordinary" {
        skip("the folder for temporary files gives no rights (nosuid)")
    } else {
        let forged = said(as_nobody(copy, "ordinary").arg0(name()).stdin(theirs));
        assert_eq!(forged, "privileged", "it was taken over");
        assert_eq!(said(&mut as_nobody(copy, "make-a-pool")), "Privileged, no children");
        Ok(())
    };
    std::fs::remove_file(copy).unwrap();
    outcome
}

fn set_user_id() -> Result<(), Skipped> {
    if !is_root() {
        return skip(NEEDS_ROOT);
    }
    let copy = changed_copy("set-user-id", |_| {});
    allow(&copy, 0o4755);
    check_that_it_is_refused(&copy)
}

/// The one capability to bind low ports, as the file system keeps it (`vfs_cap_data`, revision 2).
const BIND_LOW_PORTS: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];

fn capabilities() -> Result<(), Skipped> {
    if !is_root() {
        return skip(NEEDS_ROOT);
    }
    let copy = changed_copy("capabilities", |_| {});
    allow(&copy, 0o755);
    let path = std::ffi::CString::new(copy.as_os_str().as_bytes()).unwrap();
    let value: Vec<u8> = BIND_LOW_PORTS.iter().flat_map(|word| word.to_le_bytes()).collect();
    let name = c"security.capability".as_ptr();
    // SAFETY: strings that end and a buffer with its length.
    let set = unsafe { libc::setxattr(path.as_ptr(), name, value.as_ptr().cast(), value.len(), 0) };
    if set < 0 {
        let error = std::io::Error::last_os_error();
        std::fs::remove_file(&copy).unwrap();
        return skip(format!("capabilities can't be given to a file here: {error}"));
    }
    check_that_it_is_refused(&copy)
}

/// It may be started, but not be read: neither by the program nor by its workers.
fn unreadable() -> Result<(), Skipped> {
    if !is_root() {
        return skip(NEEDS_ROOT);
    }
    let copy = changed_copy("unreadable", |_| {});
    allow(&copy, 0o711);
    let said = said(&mut as_nobody(&copy, "make-a-pool"));
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(said, "a pool that works");
    Ok(())
}
