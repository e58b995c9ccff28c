//! What a workload may ask of a runtime, and each runtime's answer.
//!
//! | file | holds |
//! |---|---|
//! | `peer.rs` | what there is to ask of tasks, timers and threads: [`Peer`] |
//! | `primitives.rs` | … of channels and locks: [`Primitives`] |
//! | `network.rs` | … of sockets: [`Network`] |
//! | `name.rs` | who takes part: [`Name`] |
//! | `loopool/` | ours, with two loops and with one |
//! | `tokio/` | tokio's two schedulers |
//! | `smol/` | async-executor and async-io, put together as smol does |
//! | `monoio/` | monoio, on one thread |
//! | `cpython.rs` | CPython's pool of threads, in a process of its own |
//! | `rayon.rs` | rayon's pool, for itself and for those that have none of their own |
//! | `flag.rs` | an event for the runtimes that have event-listener instead |

pub(crate) mod cpython;
mod flag;
mod loopool;
mod monoio;
mod name;
mod network;
mod peer;
mod primitives;
pub(crate) mod rayon;
mod smol;
mod tokio;

pub use self::loopool::Loopool;
pub use self::monoio::Monoio;
pub use self::name::{Job, Name};
pub use self::network::Network;
pub use self::peer::Peer;
pub use self::primitives::Primitives;
pub use self::smol::Smol;
pub use self::tokio::Tokio;

/// Threads of every runtime that has several; the machine that the tables come from has two CPUs.
pub const THREADS: usize = 2;
