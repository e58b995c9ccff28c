//! Sockets.

use std::io;
use std::net;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};

use super::Loopool;
use crate::Error;
use crate::runtimes::Network;
use crate::traffic::http;

impl Network for Loopool {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn listen(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }

    fn adopt(stream: net::TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream)
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        // Nagle's algorithm is off by default.
        Ok(listener.accept().await?.0)
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
        http::serve(stream).await
    }
}
