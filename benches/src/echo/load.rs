//! The load generator: one thread, one epoll, one request on its way per connection.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{MESSAGE, Outcome, allow_descriptors, stay_on};
use crate::Error;
use crate::options::Load;
use crate::report::percentile;

/// Load before the measured time, so that sockets, queues and buffers have their sizes.
const WARM_UP: Duration = Duration::from_millis(200);

/// Events taken in one wait.
const BATCH: usize = 512;

/// Without an answer for so long, the server is stuck.
const PATIENCE: u16 = 5_000;

/// Connects, loads the server, and writes the [`Outcome`] to standard output.
///
/// # Errors
/// When a connection breaks or the server answers nothing or nonsense.
pub fn main(options: &Load) -> Result<(), Error> {
    stay_on(options.cpu)?;
    allow_descriptors()?;
    let mut clients = Clients::connect(options.port, options.connections)?;
    clients.drive(WARM_UP)?;
    clients.latencies.clear();
    let cpu = cpu_nanos(options.server)?;
    let begun = Instant::now();
    clients.drive(Duration::from_millis(options.millis))?;
    let elapsed = begun.elapsed();
    let cpu = cpu_nanos(options.server)?.saturating_sub(cpu);
    let mut latencies = clients.latencies;
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err("the server answered nothing".into());
    }
    let answers = latencies.len() as f64;
    let micros = |share| f64::from(percentile(&latencies, share)) / 1_000.0;
    let outcome = Outcome {
        requests: answers / elapsed.as_secs_f64(),
        p50: micros(0.5),
        p99: micros(0.99),
        p999: micros(0.999),
        server_cpu: cpu as f64 / answers / 1_000.0,
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    Ok(())
}

/// The CPU time of all threads of a process, as the scheduler counts it.
fn cpu_nanos(process: u32) -> Result<u64, Error> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let line = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos = line.split_whitespace().next().ok_or("schedstat is empty")?;
        sum += nanos.parse::<u64>()?;
    }
    Ok(sum)
}

struct Client {
    stream: TcpStream,
    sent: Instant,
    received: usize,
}

struct Clients {
    epoll: Epoll,
    clients: Vec<Client>,
    /// In nanoseconds.
    latencies: Vec<u32>,
}

impl Clients {
    fn connect(port: u16, count: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            clients.push(Client { stream, sent: Instant::now(), received: 0 });
        }
        Ok(Clients { epoll, clients, latencies: Vec::with_capacity(1 << 20) })
    }

    /// Sends on every connection and on each again as soon as it is answered; after `time` what is
    /// still on its way is waited for.
    fn drive(&mut self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        for client in &mut self.clients {
            client.send()?;
        }
        let mut outstanding = self.clients.len();
        let mut events = [EpollEvent::empty(); BATCH];
        while outstanding > 0 {
            let count = self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE))?;
            if count == 0 {
                return Err(format!("{outstanding} requests were never answered").into());
            }
            for event in &events[..count] {
                let client = &mut self.clients[event.data() as usize];
                let Some(latency) = client.receive()? else { continue };
                self.latencies.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
                if Instant::now() < end {
                    client.send()?;
                } else {
                    outstanding -= 1;
                }
            }
        }
        Ok(())
    }
}

impl Client {
    fn send(&mut self) -> io::Result<()> {
        self.sent = Instant::now();
        self.received = 0;
        // A message always fits into the empty buffer of a socket.
        self.stream.write_all(&[b'x'; MESSAGE])
    }

    /// The time since the request, once all of the answer is there.
    fn receive(&mut self) -> io::Result<Option<Duration>> {
        let mut buffer = [0; MESSAGE];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.received += count;
                Ok((self.received == MESSAGE).then(|| self.sent.elapsed()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
