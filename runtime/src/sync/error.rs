//! Why something was not sent or received.

use std::error::Error;
use std::fmt;

/// Nothing will be received: the sender was dropped, or the channel closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError(());

impl RecvError {
    pub(super) fn new() -> Self {
        RecvError(())
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was sent, and nothing will be: the channel is closed")
    }
}

impl Error for RecvError {}

/// Why there was nothing to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing yet.
    Empty,
    /// Nothing more: every sender was dropped, or the channel is closed, and what was sent was received.
    Closed,
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "nothing was sent yet",
            TryRecvError::Closed => "nothing will be received: the channel is closed",
        })
    }
}

impl Error for TryRecvError {}
