//! What lies between the program and a worker, the same on both sides.
//!
//! | file | holds |
//! |---|---|
//! | `board.rs` | the memory that both share: head, ring, room for arguments and results |
//! | `ring.rs` | the slots in which jobs and answers lie, and who may do what with one |
//! | `body.rs` | arguments and results as bytes, short and long |
//! | `arena.rs` | the file of one side for bodies that are too long for the board |
//! | `sealed.rs`, `files.rs` | blobs that nobody can write to any more, handed over as descriptors |
//! | `wire.rs` | the messages |
//! | `socket.rs` | the socket that carries them, and descriptors |
//! | `foreign.rs` | descriptors that nobody knows, and how they are closed |
//! | `mapping.rs`, `futex.rs` | memory of a file, and sleeping on a word of it |
//!
//! Nothing here believes the other side (rule 2 of the process pool).

pub(super) mod arena;
pub(super) mod board;
pub(super) mod body;
pub(super) mod files;
pub(super) mod foreign;
pub(super) mod futex;
pub(super) mod mapping;
pub(super) mod ring;
pub(super) mod sealed;
pub(super) mod socket;
pub(super) mod wire;
