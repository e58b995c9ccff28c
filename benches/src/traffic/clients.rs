//! The load generator's connections: one thread, one epoll, one request on its way per connection.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::{Service, http, kind};
use crate::Error;
use crate::options::Load;

/// Events taken in one wait.
const BATCH: usize = 512;

/// Without an answer for so long, the server is stuck.
const PATIENCE: u16 = 5_000;

/// How often requests are sent that have a pace.
const TICKS: u32 = 1_000;

/// The tick among the events, whose others have numbers of connections.
const TICK: u64 = u64::MAX;

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
    /// When the request on its way was due: sent, unless the one before was not answered then.
    due: Option<Instant>,
    /// The same of those that wait for that.
    backlog: VecDeque<Instant>,
    received: usize,
}

/// Sends requests in turn over the connections, so many at a time, whether or not others were answered.
struct Pace {
    timer: TimerFd,
    at_a_time: u64,
    next: usize,
}

impl Pace {
    fn new(per_second: u32, epoll: &Epoll) -> Result<Self, Error> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TICK))?;
        Ok(Pace { timer, at_a_time: u64::from(per_second / TICKS), next: 0 })
    }

    fn start(&self) -> io::Result<()> {
        let tick = TimeSpec::from_duration(Duration::from_secs(1) / TICKS);
        Ok(self.timer.set(Expiration::Interval(tick), TimerSetTimeFlags::empty())?)
    }

    /// How many requests are due.
    fn due(&self) -> io::Result<u64> {
        let mut ticks = [0; 8];
        nix::unistd::read(&self.timer, &mut ticks)?;
        Ok(u64::from_ne_bytes(ticks) * self.at_a_time)
    }
}

pub(super) struct Clients {
    epoll: Epoll,
    clients: Vec<Client>,
    pace: Option<Pace>,
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
            clients.push(Client { stream, due: None, backlog: VecDeque::new(), received: 0 });
        }
        let pace = options.pace.map(|per_second| Pace::new(per_second, &epoll)).transpose()?;
        Ok(Clients { epoll, clients, pace, dialogue, buffer: vec![0; 2 * kind::LARGE] })
    }

    /// Keeps a request on its way on every connection for `time`, or the pace, then waits for what is
    /// still on its way. How long each one took, in nanoseconds.
    pub(super) fn drive(&mut self, time: Duration) -> Result<Vec<u32>, Error> {
        let mut latencies = Vec::with_capacity(1 << 20);
        let end = Instant::now() + time;
        let request = &self.dialogue.request;
        match &self.pace {
            Some(pace) => pace.start()?,
            None => self.clients.iter_mut().try_for_each(|client| client.ask(request))?,
        }
        let mut outstanding = if self.pace.is_some() { 0 } else { self.clients.len() };
        let mut ticking = self.pace.is_some();
        let mut events = [EpollEvent::empty(); BATCH];
        while outstanding > 0 || ticking {
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE)) {
                // By a process that was stopped and goes on, for one.
                Err(Errno::EINTR) => continue,
                waited => waited?,
            };
            if count == 0 {
                return Err(format!("{outstanding} requests were never answered").into());
            }
            for event in &events[..count] {
                if let (TICK, Some(pace)) = (event.data(), &mut self.pace) {
                    let due = pace.due()?;
                    ticking = Instant::now() < end;
                    if !ticking {
                        pace.timer.unset()?;
                        continue;
                    }
                    for _ in 0..due {
                        self.clients[pace.next].ask(request)?;
                        pace.next = (pace.next + 1) % self.clients.len();
                        outstanding += 1;
                    }
                    continue;
                }
                let client = &mut self.clients[event.data() as usize];
                let answer = client.receive(&self.dialogue, &mut self.buffer)?;
                let Some(latency) = answer else { continue };
                latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
                outstanding -= 1;
                if self.pace.is_some() {
                    client.ask_next(request)?;
                } else if Instant::now() < end {
                    client.ask(request)?;
                    outstanding += 1;
                }
            }
        }
        Ok(latencies)
    }
}

impl Client {
    /// Sends a request, or does so once the one before is answered.
    fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.backlog.push_back(Instant::now());
        if self.due.is_none() { self.ask_next(request) } else { Ok(()) }
    }

    fn ask_next(&mut self, request: &[u8]) -> io::Result<()> {
        self.due = self.backlog.pop_front();
        if self.due.is_none() {
            return Ok(());
        }
        self.received = 0;
        // A request always fits into the empty buffer of a socket.
        self.stream.write_all(request)
    }

    /// The time since the request was due, once all of the answer is there.
    fn receive(
        &mut self,
        dialogue: &Dialogue,
        buffer: &mut [u8],
    ) -> Result<Option<Duration>, Error> {
        match self.stream.read(buffer) {
            Ok(0) => Err("the server hung up".into()),
            Ok(count) if dialogue.goes_on(self.received, &buffer[..count]) => {
                self.received += count;
                let all = self.received == dialogue.answer.len();
                Ok(if all { self.due.take().map(|due| due.elapsed()) } else { None })
            }
            Ok(_) => Err("the server answers something else".into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
