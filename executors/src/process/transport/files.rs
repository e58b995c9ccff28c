//! [`Files`]: the descriptors that come with an answer.

use super::foreign::Foreign;
use super::sealed;
use crate::blob::Blob;

/// What came with an answer.
#[derive(Default)]
pub(crate) struct Files {
    /// A new result file, unchecked.
    pub(crate) results: Option<Foreign>,
    /// The sealed blobs, checked: however many a worker sends, there are no more descriptors than there may be.
    pub(crate) sealed: Vec<Blob>,
}

impl Files {
    /// `has_results` says that the first one is a new result file.
    pub(crate) fn of(has_results: bool, fds: Vec<Foreign>) -> Result<Self, String> {
        let mut fds = fds.into_iter();
        let results = if has_results { fds.next() } else { None };
        Ok(Files { results, sealed: sealed::receive(fds)? })
    }
}
