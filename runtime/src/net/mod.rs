//! Sockets that wait on the loops.
//!
//! A socket belongs to the loop on which its first operation had to wait, or to the one that has
//! fewest sockets if that is many fewer; its wakes run there. Names are not resolved here: give
//! addresses, or resolve with [`to_thread`](crate::to_thread).

mod listener;
mod stream;

pub use self::listener::TcpListener;
pub use self::stream::TcpStream;
