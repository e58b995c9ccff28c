//! Loops that are blocked: who does their work, who is blamed, and what it costs when nothing happens.
//!
//! | file | shows |
//! |---|---|
//! | `blocked.rs` | what waits for a blocked loop is done by others |
//! | `spare_workers.rs` | how many spare workers there are, how they end, what of theirs stays |
//! | `in_place.rs` | `block_in_place` |
//! | `reports.rs` | who is blamed, and who is not |
//! | `the_end.rs` | a runtime ends though something in it is blocked |
//! | `idle.rs` | nothing happens when nothing is done |

#![cfg_attr(loopool_portable_reactor, allow(unused, reason = "what only sockets need"))]

mod blocked;
#[cfg(target_os = "linux")]
mod idle;
mod in_place;
mod reports;
mod spare_workers;
mod support;
mod the_end;
