//! What clients of the example service notice when its loops are blocked.
//!
//! The service is a process of its own, with its fault switch on. Over many connections requests are
//! sent at a fixed pace, whether or not the ones before were answered, and each is timed from when it
//! was due: so a server that does not answer for a while shows as long as it lasts. Meanwhile the
//! service is asked to block one of its loops, then all of them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::Error;
use crate::options::Blocked;
use crate::report::percentile;

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: service\r\n\r\n";

/// The end of every answer to it.
const END: &[u8] = b"\r\n\r\nok\n";

/// Each connection sends as often.
const EVERY: Duration = Duration::from_millis(50);

/// After the time for requests, so long for what is still not answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Measures undisturbed, with one loop blocked, and with all of them blocked, and prints a table.
///
/// # Errors
/// When the service does not start or breaks.
pub fn main(options: &Blocked) -> Result<(), Error> {
    let service = Service::start(&program(options)?, options.loops)?;
    let time = Duration::from_millis(options.millis);
    let mut out = std::io::stdout();
    writeln!(out, "| blocked | requests | answered meanwhile | p50 | p99 | p99.9 | longest |")?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    let all = format!("all {} loops", options.loops);
    let cases = [("none", None), ("one loop", Some("block-loop")), (&all, Some("block-all-loops"))];
    for (name, fault) in cases {
        let mut latencies = Vec::new();
        let mut late = 0;
        for _ in 0..options.rounds {
            let round = measure(service.address, options.connections, time, fault)?;
            late += round.iter().filter(|request| request.due + request.took > time).count();
            latencies.extend(round.iter().map(|request| request.took));
        }
        latencies.sort_unstable();
        let millis = |share| percentile(&latencies, share).as_secs_f64() * 1e3;
        writeln!(
            out,
            "| {name} | {} | {} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms |",
            latencies.len(),
            latencies.len() - late,
            millis(0.5),
            millis(0.99),
            millis(0.999),
            millis(1.0),
        )?;
    }
    Ok(())
}

/// The service beside this program, unless another one was named.
fn program(options: &Blocked) -> Result<PathBuf, Error> {
    let program = match &options.service {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("service"),
    };
    if !program.exists() {
        let shown = program.display();
        return Err(format!("there is no {shown}: build it, or name it with --service").into());
    }
    Ok(program)
}

struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start(program: &Path, loops: usize) -> Result<Self, Error> {
        let mut child = Command::new(program)
            .args(["--listen=127.0.0.1:0", "--faults", "--processes=1"])
            .arg(format!("--loops={loops}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("listening on http://").unwrap_or_default();
        let address = address.parse().map_err(|_| format!("the service said {line:?}"));
        // Built first, so that the process is ended whatever it said.
        let mut service = Service { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        service.address = address?;
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request that was answered.
struct Request {
    /// When it was to be sent, from the beginning.
    due: Duration,
    /// From then to the end of its answer.
    took: Duration,
}

struct Client {
    stream: TcpStream,
    /// The requests that were due and are not answered; the first one is on its way.
    due: VecDeque<Instant>,
    answer: Vec<u8>,
}

/// Requests that were due while the loops that `fault` says were blocked, for `time`.
fn measure(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    fault: Option<&'static str>,
) -> Result<Vec<Request>, Error> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut clients = Vec::new();
    for number in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // The first answer is not measured: the connection has found its place then.
        stream.write_all(REQUEST)?;
        let mut answer = Vec::new();
        while !answer.ends_with(END) {
            read_some(&mut stream, &mut answer)?;
        }
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        clients.push(Client { stream, due: VecDeque::new(), answer: Vec::new() });
    }
    let blocking = fault.map(|fault| thread::spawn(move || block(address, fault, time)));
    let requests = drive(&epoll, &mut clients, time)?;
    if let Some(blocking) = blocking {
        blocking.join().map_err(|_| "the thread that blocks panicked")??;
    }
    Ok(requests)
}

/// Asks the service to block loops, and waits until it has.
fn block(address: SocketAddr, fault: &str, time: Duration) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address)?;
    let time = time.as_millis();
    write!(
        stream,
        "POST /faults/{fault}?milliseconds={time} HTTP/1.1\r\nhost: service\r\n\
         connection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(format!("the service did not block: {answer}").into()),
    }
}

fn drive(epoll: &Epoll, clients: &mut [Client], time: Duration) -> Result<Vec<Request>, Error> {
    let begun = Instant::now();
    let pause = EVERY / clients.len() as u32;
    let total = (time.as_nanos() / pause.as_nanos()) as u32;
    let mut requests = Vec::with_capacity(total as usize);
    let mut sent = 0;
    let mut events = [EpollEvent::empty(); 256];
    while requests.len() < total as usize {
        let now = Instant::now();
        while sent < total && begun + pause * sent <= now {
            let client = &mut clients[sent as usize % clients.len()];
            client.due.push_back(begun + pause * sent);
            if client.due.len() == 1 {
                client.stream.write_all(REQUEST)?;
            }
            sent += 1;
        }
        if now > begun + time + PATIENCE {
            let missing = total as usize - requests.len();
            return Err(format!("{missing} requests were never answered").into());
        }
        let wait = match sent < total {
            true => (begun + pause * sent).saturating_duration_since(Instant::now()),
            false => Duration::from_millis(100),
        };
        // Rounded up, so what is measured is up to a millisecond too much; a loop that spins until it
        // is time would take a CPU from the service.
        let wait = EpollTimeout::from(u16::try_from(wait.as_micros().div_ceil(1_000))?);
        let count = epoll.wait(&mut events, wait)?;
        for event in &events[..count] {
            let client = &mut clients[event.data() as usize];
            read_some(&mut client.stream, &mut client.answer)?;
            if !client.answer.ends_with(END) {
                continue;
            }
            client.answer.clear();
            if let Some(due) = client.due.pop_front() {
                requests.push(Request { due: due - begun, took: due.elapsed() });
            }
            if !client.due.is_empty() {
                client.stream.write_all(REQUEST)?;
            }
        }
    }
    Ok(requests)
}

fn read_some(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<(), Error> {
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer)? {
        0 => Err("the service hung up".into()),
        count => {
            answer.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}
