//! The service over HTTP: hyper says hello.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use crate::Error;

/// What is asked.
pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// How the answer begins.
pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// What is said.
pub(super) const BODY: &[u8] = b"Hello, world!";

/// The same answer without any thought, as long as hyper's.
pub(super) const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, world!";

/// Serves a connection until it ends.
///
/// # Errors
/// When it ends badly.
pub(crate) async fn serve<S: Read + Write + Unpin + Send>(stream: S) -> Result<(), Error> {
    let hello = service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(BODY))))
    });
    Ok(http1::Builder::new().serve_connection(stream, hello).await?)
}
