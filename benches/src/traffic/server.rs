//! The server: a task per connection.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::thread;

use nix::sys::socket::{Backlog, listen};

use super::{Service, allow_descriptors, epoll, jobs, kind, stay_on};
use crate::Error;
use crate::options::Serve;
use crate::runtimes::{Job, Name, Peer, THREADS};

/// More than a message, as a server has it that does not know how much will come.
pub(super) const BUFFER: usize = 2 * kind::LARGE;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Serves until standard input ends, and says how many jobs have ended for each line of it.
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
        for _ in io::stdin().lock().lines().map_while(Result::ok) {
            // Nobody is there to be told otherwise.
            let _ = writeln!(io::stdout(), "{}", jobs::done());
        }
        process::exit(0)
    })?;
    let service = options.service;
    match options.runtime {
        Name::Epoll => Ok(epoll::serve(&listener, service, THREADS)?),
        runtime => runtime.dispatch(Listen { listener, service, jobs: options.jobs }),
    }
}

struct Listen {
    listener: TcpListener,
    service: Service,
    jobs: usize,
}

impl Job for Listen {
    type Output = Result<(), Error>;

    fn on<P: Peer>(self, threads: usize) -> Self::Output {
        Ok(P::start(threads)?.run(accept::<P>(self))?)
    }
}

async fn accept<P: Peer>(Listen { listener, service, jobs }: Listen) -> io::Result<()> {
    jobs::start::<P>(jobs);
    let listener = P::listen(listener)?;
    loop {
        let stream = P::accept(&listener).await?;
        // When the other side is gone, so is its task.
        match service {
            Service::Echo => P::spawn_detached(async move {
                let _ = echo::<P>(stream).await;
            }),
            Service::Http => P::spawn_detached(async move {
                let _ = P::serve_http(stream).await;
            }),
        }
    }
}

/// Sends back what it gets, until the other side hangs up.
pub(crate) async fn echo<P: Peer>(mut stream: P::Stream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match P::read(&mut stream, buffer).await? {
            (0, _) => return Ok(()),
            (count, read) => buffer = P::write_all(&mut stream, read, count).await?,
        }
    }
}
