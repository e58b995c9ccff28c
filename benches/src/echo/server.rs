//! The server: a task per connection, which reads what there is and writes it back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::thread;

use nix::sys::socket::{Backlog, listen};

use super::{MESSAGE, allow_descriptors, epoll, stay_on};
use crate::Error;
use crate::options::Serve;
use crate::runtimes::{Job, Name, Peer, THREADS};

/// More than a message, as a server has it that does not know how much will come.
pub(super) const BUFFER: usize = 16 * MESSAGE;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Serves until standard input ends.
///
/// # Errors
/// When the port, the runtime or a connection can't be had.
pub fn main(options: &Serve) -> Result<(), Error> {
    stay_on(options.cpu)?;
    allow_descriptors()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // More than the standard library asks for: a connection that finds no room is tried again after a
    // second.
    listen(&listener, Backlog::new(BACKLOG)?)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    thread::Builder::new().name("stdin".to_owned()).spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0)
    })?;
    match options.runtime {
        Name::Epoll => Ok(epoll::serve(&listener, THREADS)?),
        runtime => runtime.dispatch(Listen(listener)),
    }
}

struct Listen(TcpListener);

impl Job for Listen {
    type Output = Result<(), Error>;

    fn on<P: Peer>(self) -> Self::Output {
        Ok(P::start()?.run(accept::<P>(self.0))?)
    }
}

async fn accept<P: Peer>(listener: TcpListener) -> io::Result<()> {
    let listener = P::listen(listener)?;
    loop {
        let stream = P::accept(&listener).await?;
        P::spawn_detached(async move {
            // The other side is gone: so is its task.
            let _ = echo::<P>(stream).await;
        });
    }
}

async fn echo<P: Peer>(mut stream: P::Stream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        match P::read(&mut stream, &mut buffer).await? {
            0 => return Ok(()),
            count => P::write_all(&mut stream, &buffer[..count]).await?,
        }
    }
}
