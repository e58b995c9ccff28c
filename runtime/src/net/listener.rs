//! [`TcpListener`].

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};

use super::stream::TcpStream;
use crate::reactor::registration::Done;
use crate::reactor::{Direction, Registration};

/// How many connections may wait to be accepted; the system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A socket that takes connections.
///
/// ```
/// use loopool::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// # loopool::run(async {
/// let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
/// let address = listener.local_addr()?;
/// let client = loopool::create_task(TcpStream::connect(address));
/// let (_server_side, peer) = listener.accept().await?;
/// assert_eq!(client.await.unwrap()?.local_addr()?, peer);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    io: Registration<std::net::TcpListener>,
}

impl TcpListener {
    /// Listens on `address`; port 0 picks a free one. The address may be used again at once after a
    /// program that listened on it has ended (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// When the system refuses, for example because somebody listens there.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::from_std(socket.into())
    }

    /// Takes over a listening socket.
    ///
    /// # Errors
    /// When it can't be put into non-blocking mode.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener { io: Registration::new(listener) })
    }

    /// Waits for a connection. Nagle's algorithm is off on it (`TCP_NODELAY`).
    ///
    /// # Errors
    /// What the system says of the listener: too many open files, for example. (The connection goes on waiting then,
    /// so the next call fails at once: sleep for a moment before it.) A connection that was gone before it was
    /// accepted is passed over. And when there is no running loop of ours on this thread.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.io.io(Direction::Read, accept).await
    }

    /// As [`accept`](Self::accept), for who writes futures by hand.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.io.poll_io(cx, Direction::Read, accept)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get().local_addr()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.get().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.io.get().as_raw_fd()
    }
}

fn accept(listener: &std::net::TcpListener) -> io::Result<Done<(TcpStream, SocketAddr)>> {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = TcpStream::from_std(stream)?;
                return Ok(Done { value: (stream, peer), drained: false });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
