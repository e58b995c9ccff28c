//! Sockets.

use std::io;
use std::net;

use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol_hyper::rt::FuturesIo;

use super::Smol;
use crate::Error;
use crate::runtimes::Network;
use crate::traffic::http;

impl Network for Smol {
    type Listener = Async<net::TcpListener>;
    type Stream = Async<net::TcpStream>;

    fn listen(listener: net::TcpListener) -> io::Result<Self::Listener> {
        Async::new(listener)
    }

    fn adopt(stream: net::TcpStream) -> io::Result<Self::Stream> {
        Async::new(stream)
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(stream)
    }

    async fn read(stream: &mut Self::Stream, mut buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        let count = stream.read(&mut buffer).await?;
        Ok((count, buffer))
    }

    async fn write_all(
        stream: &mut Self::Stream,
        buffer: Vec<u8>,
        count: usize,
    ) -> io::Result<Vec<u8>> {
        stream.write_all(&buffer[..count]).await?;
        Ok(buffer)
    }

    async fn serve_http(stream: Self::Stream) -> Result<(), Error> {
        http::serve(FuturesIo::new(stream)).await
    }
}
