//! Sockets.

use std::io;
use std::net;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Tokio;
use crate::Error;
use crate::runtimes::Network;
use crate::traffic::http;

impl Network for Tokio {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn listen(listener: net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    fn adopt(stream: net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn read(stream: &mut TcpStream, mut buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        let count = stream.read(&mut buffer).await?;
        Ok((count, buffer))
    }

    async fn write_all(
        stream: &mut TcpStream,
        buffer: Vec<u8>,
        count: usize,
    ) -> io::Result<Vec<u8>> {
        stream.write_all(&buffer[..count]).await?;
        Ok(buffer)
    }

    async fn serve_http(stream: TcpStream) -> Result<(), Error> {
        http::serve(TokioIo::new(stream)).await
    }
}
