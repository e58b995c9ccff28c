//! The load generator's connections: one thread, one epoll, one request on its way per connection.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Service, http, kind};
use crate::Error;
use crate::options::Load;

/// Events taken in one wait.
const BATCH: usize = 512;

/// Without an answer for so long, the server is stuck.
const PATIENCE: u16 = 5_000;

/// What is asked, and what must come back.
struct Dialogue {
    service: Service,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Dialogue {
    fn echo(bytes: usize) -> Self {
        // Not all the same, so that what is lost or comes twice shows.
        let request: Vec<u8> = (0..bytes).map(|place| (place % 251) as u8).collect();
        Dialogue { service: Service::Echo, answer: request.clone(), request }
    }

    /// The server is asked once for its answer.
    fn http(server: SocketAddr) -> Result<Self, Error> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(http::REQUEST)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.ends_with(http::BODY) {
            match stream.read(&mut buffer)? {
                0 => return Err("the server hung up".into()),
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(Dialogue { service: Service::Http, request: http::REQUEST.to_vec(), answer })
    }

    /// Whether `bytes` are those that follow on the first `received` ones of an answer. Between its first
    /// line and its body an answer over HTTP has the time, which goes on.
    fn goes_on(&self, received: usize, bytes: &[u8]) -> bool {
        let Some(expected) = self.answer.get(received..received + bytes.len()) else {
            return false;
        };
        let hello = self.service == Service::Http
            && expected.len() == self.answer.len()
            && bytes.starts_with(http::OK)
            && bytes.ends_with(http::BODY);
        expected == bytes || hello
    }
}

struct Client {
    stream: TcpStream,
    sent: Instant,
    received: usize,
}

pub(super) struct Clients {
    epoll: Epoll,
    clients: Vec<Client>,
    dialogue: Dialogue,
    buffer: Vec<u8>,
}

impl Clients {
    pub(super) fn connect(options: &Load) -> Result<Self, Error> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let dialogue = match options.service {
            Service::Echo => Dialogue::echo(options.bytes),
            Service::Http => Dialogue::http(server)?,
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut clients = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            clients.push(Client { stream, sent: Instant::now(), received: 0 });
        }
        Ok(Clients { epoll, clients, dialogue, buffer: vec![0; 2 * kind::LARGE] })
    }

    /// Keeps a request on its way on every connection for `time`, then waits for what is still on its
    /// way. How long each one took, in nanoseconds.
    pub(super) fn drive(&mut self, time: Duration) -> Result<Vec<u32>, Error> {
        let mut latencies = Vec::with_capacity(1 << 20);
        let end = Instant::now() + time;
        for client in &mut self.clients {
            client.send(&self.dialogue.request)?;
        }
        let mut outstanding = self.clients.len();
        let mut events = [EpollEvent::empty(); BATCH];
        while outstanding > 0 {
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE)) {
                // By a process that was stopped and goes on, for one.
                Err(Errno::EINTR) => continue,
                waited => waited?,
            };
            if count == 0 {
                return Err(format!("{outstanding} requests were never answered").into());
            }
            for event in &events[..count] {
                let client = &mut self.clients[event.data() as usize];
                let answer = client.receive(&self.dialogue, &mut self.buffer)?;
                let Some(latency) = answer else { continue };
                latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
                if Instant::now() < end {
                    client.send(&self.dialogue.request)?;
                } else {
                    outstanding -= 1;
                }
            }
        }
        Ok(latencies)
    }
}

impl Client {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.sent = Instant::now();
        self.received = 0;
        // A request always fits into the empty buffer of a socket.
        self.stream.write_all(request)
    }

    /// The time since the request, once all of the answer is there.
    fn receive(
        &mut self,
        dialogue: &Dialogue,
        buffer: &mut [u8],
    ) -> Result<Option<Duration>, Error> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the server hung up".into()),
            Ok(count) if dialogue.goes_on(self.received, &buffer[..count]) => {
                self.received += count;
                Ok((self.received == dialogue.answer.len()).then(|| self.sent.elapsed()))
            }
            Ok(_) => Err("the server answers something else".into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
