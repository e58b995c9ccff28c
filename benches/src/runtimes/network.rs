//! What a server may ask of a runtime.

use std::future::Future;
use std::io;
use std::net;

use crate::Error;

/// TCP on one runtime.
///
/// Buffers are handed over and come back, because a kernel that fills them on its own must own them.
pub trait Network: 'static {
    /// A socket that takes connections.
    type Listener: Send + Sync + 'static;
    /// A connection.
    type Stream: Send + 'static;

    /// Takes a listening socket over; inside a task only.
    ///
    /// # Errors
    /// What the runtime says.
    fn listen(listener: net::TcpListener) -> io::Result<Self::Listener>;

    /// Takes one side of a connection over; inside a task only.
    ///
    /// # Errors
    /// What the runtime says.
    fn adopt(stream: net::TcpStream) -> io::Result<Self::Stream>;

    /// Waits for a connection and turns Nagle's algorithm off.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Reads what there is: how many bytes, and the buffer that begins with them.
    fn read(
        stream: &mut Self::Stream,
        buffer: Vec<u8>,
    ) -> impl Future<Output = io::Result<(usize, Vec<u8>)>> + Send;

    /// Writes the first `count` bytes of `buffer`, which comes back.
    fn write_all(
        stream: &mut Self::Stream,
        buffer: Vec<u8>,
        count: usize,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Serves a connection with hyper until it ends.
    fn serve_http(stream: Self::Stream) -> impl Future<Output = Result<(), Error>> + Send;
}
