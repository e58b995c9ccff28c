//! [`hyper::rt`] for our streams, timers and tasks, behind the feature `hyper`.
//!
//! [`TcpStream`] is a connection for hyper as it is, without an adapter around it.
//!
//! ```no_run
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
//! use loopool::hyper_rt::Timer;
//! use loopool::net::TcpListener;
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("hello".to_owned()))
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! loopool::run(async {
//!     let listener = TcpListener::bind("127.0.0.1:8080".parse().unwrap())?;
//!     loop {
//!         let Ok((stream, _)) = listener.accept().await else {
//!             // Too many open files, say: some may be closed soon.
//!             loopool::sleep(Duration::from_millis(100)).await;
//!             continue;
//!         };
//!         loopool::create_task(async move {
//!             let served = http1::Builder::new()
//!                 .timer(Timer::new())
//!                 .serve_connection(stream, service_fn(hello));
//!             if let Err(error) = served.await {
//!                 eprintln!("{error}");
//!             }
//!         });
//!     }
//! })
//! # }
//! ```

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_io::AsyncWrite;
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::net::TcpStream;
use crate::time::Sleep;

impl Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing is de-initialised: the bytes are only handed to a receiving system call.
        let room = unsafe { buffer.as_mut() };
        let count = ready!(self.poll_read_uninit(cx, room))?;
        // SAFETY: the call has initialised so many bytes.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }
}

impl Write for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(self, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, buffers)
    }
}

/// Makes hyper's background futures tasks of the running loop's runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Executor(());

impl Executor {
    /// An executor.
    pub fn new() -> Self {
        Executor(())
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(crate::create_task(future));
    }
}

/// Gives hyper our timers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timer(());

impl Timer {
    /// A timer.
    pub fn new() -> Self {
        Timer(())
    }
}

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(crate::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(crate::sleep_until(deadline))
    }
}

impl hyper::rt::Sleep for Sleep {}
