//! [`TcpStream`].

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::reactor::registration::Done;
use crate::reactor::{Direction, Registration, SHORT_READ_DRAINS};

/// As many buffers are moved by one system call at most (`IOV_MAX`); the standard library passes the
/// first so many.
const MOST_BUFFERS: usize = 1024;

/// A TCP connection.
///
/// Reading and writing is by the `futures-io` traits, on the stream or on a reference to it: so one
/// task may read while another writes.
///
/// ```
/// use futures::{AsyncReadExt, AsyncWriteExt};
/// use loopool::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// # loopool::run(async {
/// let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
/// let address = listener.local_addr()?;
/// let echo = loopool::create_task(async move {
///     let (stream, _) = listener.accept().await?;
///     futures::io::copy(&stream, &mut &stream).await
/// });
/// let mut stream = TcpStream::connect(address).await?;
/// stream.write_all(b"hello").await?;
/// let mut answer = [0; 5];
/// stream.read_exact(&mut answer).await?;
/// assert_eq!(&answer, b"hello");
/// drop(stream);
/// assert_eq!(echo.await.unwrap()?, 5);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Cancel safety
/// A read or write that is given up before it was ready has moved no bytes.
#[derive(Debug)]
pub struct TcpStream {
    io: Registration<std::net::TcpStream>,
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    /// What the system says: refused, unreachable, timed out.
    ///
    /// # Cancel safety
    /// Given up, the attempt ends.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = Self::from_std(socket.into())?;
        // Not by its being ready alone: that may be left over from another descriptor.
        let connected =
            |socket: &std::net::TcpStream| match (socket.take_error()?, socket.peer_addr()) {
                (Some(error), _) => Err(error),
                (None, Ok(_)) => Ok(Done { value: (), drained: false }),
                (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                (None, Err(error)) => Err(error),
            };
        stream.io.io(Direction::Write, connected).await?;
        Ok(stream)
    }

    /// Takes over a connection and turns Nagle's algorithm off (`TCP_NODELAY`).
    ///
    /// # Errors
    /// When it can't be put into non-blocking mode.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Refused only for a connection that is gone already; the first operation will say so.
        let _ = stream.set_nodelay(true);
        Ok(TcpStream { io: Registration::new(stream) })
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.get().peer_addr()
    }

    /// The address of this side.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get().local_addr()
    }

    /// Sends small writes at once (`true`, the default) or gathers them.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.io.get().set_nodelay(nodelay)
    }

    /// Closes one direction or both.
    ///
    /// # Errors
    /// What the system says; and [`Forked`](crate::Forked) in a fork of the process that has used it.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.io.check_forked()?;
        self.io.get().shutdown(how)
    }

    fn poll_read_with(
        &self,
        cx: &mut Context<'_>,
        room: usize,
        mut read: impl FnMut(&std::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Read, |stream| {
            let count = read(stream)?;
            Ok(Done { value: count, drained: SHORT_READ_DRAINS && count > 0 && count < room })
        })
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        offered: usize,
        mut write: impl FnMut(&std::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.io.poll_io(cx, Direction::Write, |stream| {
            let count = write(stream)?;
            Ok(Done { value: count, drained: SHORT_READ_DRAINS && count > 0 && count < offered })
        })
    }

    /// Reads into memory that need not be initialised; the first so many bytes are, afterwards.
    #[cfg_attr(not(feature = "hyper"), allow(dead_code, reason = "hyper's traits read so"))]
    pub(crate) fn poll_read_uninit(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [MaybeUninit<u8>],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, buffer.len(), |stream| SockRef::from(stream).recv(buffer))
    }
}

/// As the standard library's, but for SIGPIPE: it sends one piece without, and several with it.
#[cfg(target_os = "linux")]
fn write_vectored(stream: &std::net::TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(stream).send_vectored_with_flags(buffers, libc::MSG_NOSIGNAL)
}

#[cfg(not(target_os = "linux"))]
fn write_vectored(mut stream: &std::net::TcpStream, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    stream.write_vectored(buffers)
}

impl AsyncRead for &TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, buffer.len(), |mut stream| stream.read(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let room = buffers.iter().take(MOST_BUFFERS).map(|buffer| buffer.len()).sum();
        self.poll_read_with(cx, room, |mut stream| stream.read_vectored(buffers))
    }
}

impl AsyncWrite for &TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, bytes.len(), |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        let offered = buffers.iter().map(|buffer| buffer.len()).sum();
        self.poll_write_with(cx, offered, |stream| write_vectored(stream, buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the direction of writing: the other side reads the end.
    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.shutdown(Shutdown::Write) {
            // The other side was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        })
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.get().as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.io.get().as_raw_fd()
    }
}
