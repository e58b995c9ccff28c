//! [`Environment`]: the variables that workers start with.

use std::ffi::OsString;

/// What becomes of the program's environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    pub(super) is_cleared: bool,
    pub(super) added: Vec<(OsString, OsString)>,
}

/// By what the usual numeric libraries are told how many threads to use.
pub(super) const THREAD_COUNTS: [&str; 7] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

impl Environment {
    /// As it is now. What was added last holds.
    pub(super) fn of_now(&self) -> Vec<(OsString, OsString)> {
        let mut all: Vec<_> =
            if self.is_cleared { Vec::new() } else { std::env::vars_os().collect() };
        for (name, value) in &self.added {
            all.retain(|(other, _)| other != name);
            all.push((name.clone(), value.clone()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_last_holds() {
        let added = [("A", "1"), ("B", "2"), ("A", "3")];
        let added = added.map(|(name, value)| (name.into(), value.into())).to_vec();
        let environment = Environment { is_cleared: true, added };
        let all = environment.of_now();
        assert_eq!(all, [("B".into(), "2".into()), ("A".into(), "3".into())]);
    }
}
