//! The same server without any runtime: what a program costs that does nothing but echo, or give the
//! same answer to whatever it reads.
//!
//! So many threads, each with an epoll of its own; a further one only accepts, and hands the
//! connections out in turn. A connection is registered once and stays with its thread; what is read
//! goes back from the same buffer, so a small request costs two system calls and no allocation.
//!
//! Edge-triggered; level-triggered was not seen to be faster. A read that does not fill the buffer has emptied
//! the socket, so nothing is asked twice.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd;

use super::server::BUFFER;
use super::{Service, http};

/// Events taken in one wait; as many as ours takes.
const BATCH: usize = 256;

/// Serves until the process ends.
///
/// # Errors
/// When a thread, a descriptor or a connection can't be had.
pub(super) fn serve(listener: &TcpListener, service: Service, threads: usize) -> io::Result<()> {
    let epolls: Vec<_> = (0..threads)
        .map(|_| Ok(Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?)))
        .collect::<io::Result<_>>()?;
    for (number, epoll) in epolls.iter().enumerate() {
        let epoll = epoll.clone();
        let name = format!("epoll-{number}");
        thread::Builder::new().name(name).spawn(move || work(&epoll, service))?;
    }
    for epoll in epolls.iter().cycle() {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        epoll.add(&stream, EpollEvent::new(flags, stream.as_raw_fd() as u64))?;
        // The thread that serves it closes it.
        let _ = stream.into_raw_fd();
    }
    Ok(())
}

fn work(epoll: &Epoll, service: Service) {
    let mut events = [EpollEvent::empty(); BATCH];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => panic!("waiting for events failed: {error}"),
        };
        for event in &events[..count] {
            let fd = event.data() as i32;
            // SAFETY: open until this thread closes it below, after which there are no events for it.
            let connection = unsafe { BorrowedFd::borrow_raw(fd) };
            if answer(connection, service, &mut buffer).is_err() {
                let _ = unistd::close(fd);
            }
        }
    }
}

/// Answers what there is. An error ends the connection, and so does its end.
fn answer(connection: BorrowedFd<'_>, service: Service, buffer: &mut [u8]) -> Result<(), Errno> {
    loop {
        let count = match unistd::read(connection, buffer) {
            Ok(0) => return Err(Errno::EPIPE),
            Ok(count) => count,
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error),
        };
        let answer = match service {
            Service::Echo => &buffer[..count],
            Service::Http => http::ANSWER,
        };
        // One request is on its way at a time, so the answer always fits into the socket.
        if unistd::write(connection, answer)? < answer.len() {
            return Err(Errno::EMSGSIZE);
        }
        if count < buffer.len() {
            return Ok(());
        }
    }
}
