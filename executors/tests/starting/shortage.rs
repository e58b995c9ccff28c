//! Programs that are short of descriptors or processes.

use nix::sys::resource::{Resource, setrlimit};

use super::*;
use loopool_executors::ProcessPoolError;

pub(crate) const ROLES: [(&str, fn()); 2] =
    [("few-descriptors", few_descriptors), ("few-processes", few_processes)];

pub(crate) const SCENARIOS: [(&str, Scenario); 2] = [
    ("without_descriptors_the_system_refuses", || {
        let said = said(&mut myself("few-descriptors"));
        assert!(said.starts_with("Spawn(") && said.ends_with("no children"), "{said}");
        Ok(())
    }),
    ("without_processes_the_system_refuses", || {
        if !is_root() {
            return skip(NEEDS_ROOT);
        }
        let said = said(&mut myself("few-processes"));
        assert!(said.starts_with("Spawn(") && said.ends_with("no children"), "{said}");
        Ok(())
    }),
];

/// Whatever is missing, nothing is left of the attempt, and more makes up for it.
fn few_descriptors() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
    let (before, old) = (open(), nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).unwrap());
    let mut refusals = 0;
    for more in 0..64 {
        setrlimit(Resource::RLIMIT_NOFILE, before + more, old.1).unwrap();
        let builder = ProcessPoolExecutor::builder().workers(1);
        // One more that is opened first.
        let made = builder.rss_limit(1 << 40).max_worker_memory(1 << 40).build();
        setrlimit(Resource::RLIMIT_NOFILE, old.0, old.1).unwrap();
        match made {
            Ok(pool) => {
                check(&pool);
                assert!(refusals > 2, "the limit was none");
                pool.shutdown(true, false);
                drop(pool);
                break;
            }
            Err(error) => {
                assert!(!matches!(error, ProcessPoolError::NoProc), "{error:?} at {more} more");
                assert_eq!(open(), before, "{error:?} at {more} more");
                refusals += 1;
            }
        }
    }
    setrlimit(Resource::RLIMIT_NOFILE, before + 1, old.1).unwrap();
    try_to_make_a_pool();
}

/// The limit does not bind root.
fn few_processes() {
    let (user, group) = (NOBODY.into(), NOBODY.into());
    nix::unistd::setgid(group).unwrap();
    nix::unistd::setuid(user).unwrap();
    setrlimit(Resource::RLIMIT_NPROC, 0, 0).unwrap();
    try_to_make_a_pool();
}
