//! Two tasks of one process with a pair of sockets between them: one asks, the other one echoes.
//!
//! What a request costs where nobody has to send it from outside: the same happens each time, so its
//! instructions can be counted. Each message is waited for, on both sides.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::runtimes::Peer;
use crate::traffic::server;

/// As the smaller ones over TCP.
const BYTES: usize = 64;

pub(super) async fn run<P: Peer>(ops: u64) -> io::Result<()> {
    // No TCP, whatever the type says: what is sent here has arrived, at once.
    let (near, far) = UnixStream::pair()?;
    let mut near = P::adopt(TcpStream::from(OwnedFd::from(near)))?;
    let far = P::adopt(TcpStream::from(OwnedFd::from(far)))?;
    let echo = P::spawn(server::echo::<P>(far));
    // With room for more, so that a message does not fill it: who fills it must look for more.
    let mut buffer = vec![0; 2 * BYTES];
    for number in 0..ops {
        buffer[..BYTES].fill(number as u8);
        buffer = P::write_all(&mut near, buffer, BYTES).await?;
        let (count, read) = P::read(&mut near, buffer).await?;
        assert_eq!(read[..count], [number as u8; BYTES]);
        buffer = read;
    }
    drop(near);
    echo.await
}
