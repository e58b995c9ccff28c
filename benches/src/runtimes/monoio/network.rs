//! Sockets.

use std::io;
use std::net;

use monoio::buf::IoBuf;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};

use super::{Monoio, OneThread};
use crate::Error;
use crate::runtimes::Network;

impl Network for Monoio {
    type Listener = OneThread<TcpListener>;
    type Stream = OneThread<TcpStream>;

    fn listen(listener: net::TcpListener) -> io::Result<Self::Listener> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(OneThread::new)
    }

    fn adopt(stream: net::TcpStream) -> io::Result<Self::Stream> {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream).map(OneThread::new)
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        OneThread::new(async {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(OneThread::new(stream))
        })
        .await
    }

    async fn read(stream: &mut Self::Stream, buffer: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        OneThread::new(async {
            let (count, buffer) = stream.read(buffer).await;
            Ok((count?, buffer))
        })
        .await
    }

    async fn write_all(
        stream: &mut Self::Stream,
        buffer: Vec<u8>,
        count: usize,
    ) -> io::Result<Vec<u8>> {
        OneThread::new(async {
            let (written, buffer) = stream.write_all(buffer.slice(..count)).await;
            written.map(|_| buffer.into_inner())
        })
        .await
    }

    async fn serve_http(_: Self::Stream) -> Result<(), Error> {
        Err("hyper is not measured on monoio, whose sockets are none of those that hyper takes"
            .into())
    }
}
