//! The life of the service: listening, serving connections, and stopping without breaking a promise.
//!
//! # Stopping
//! 1. The first SIGTERM or SIGINT sets [`Stop`]. Who had connected by then is still served, then the
//!    listener is closed.
//! 2. Every connection finishes the request it is at, tells its client `connection: close`, and ends.
//!    Streams of events end.
//! 3. When no connection is left, the workers are ended, and the process exits with code 0. Jobs that were given up and that
//!    threads go on with are left behind, for a thread can't be ended.
//! 4. A second signal ends the process in the signal handler itself, so also when a loop is stuck.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::poll_once;
use loopool::Runtime;
use loopool::net::{TcpListener, TcpStream};
use loopool::signal::{SIGINT, SIGTERM, Signal};

use crate::options::Options;
use crate::pools::Pools;
use crate::routes::App;

mod connection;
mod stop;

pub use connection::Connections;
pub use stop::Stop;

/// How long the accept loop rests when the system has no descriptor or memory for a connection.
const REST: Duration = Duration::from_millis(100);

/// How long the last requests may take when the service stops. Uploads and jobs have limits of their
/// own; this is for a client that does not take its answer.
const DRAIN: Duration = Duration::from_secs(90);

/// Runs the service until a signal ends it.
///
/// Gives the number of jobs that threads are still busy with, though their answers were given up: the program's
/// ordinary end would wait for them.
///
/// # Errors
/// A sentence that says why it can't be started.
pub fn run(options: &Options) -> Result<usize, String> {
    let runtime = Runtime::builder()
        .loops(options.loops())
        .thread_name("loop")
        .build()
        .map_err(|error| format!("can't start the event loops: {error}"))?;
    let options = options.clone();
    let pools = runtime.run(async move {
        let signals = Signals::watch().map_err(|error| format!("can't watch signals: {error}"))?;
        let listener = TcpListener::bind(options.listen)
            .map_err(|error| cannot_listen(options.listen, &error))?;
        let address =
            listener.local_addr().map_err(|error| cannot_listen(options.listen, &error))?;
        let pools = Arc::new(Pools::new(&options)?);
        let app = Arc::new(App::new(&options, pools.clone()));
        announce(address);
        serve(&app, listener, signals).await;
        Ok::<_, String>(pools)
    })?;
    Ok(pools.shut_down())
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("can't listen on {address}: somebody else does; --listen takes another address")
        }
        _ => format!("can't listen on {address}: {error}"),
    }
}

/// Whoever started the service may be waiting for this line.
fn announce(address: SocketAddr) {
    let mut out = io::stdout().lock();
    // With standard output closed the service is as good as with it open.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
}

async fn serve(app: &Arc<App>, listener: TcpListener, mut signals: Signals) {
    let accepting = loopool::create_task(accept(app.clone(), listener));
    let signal = signals.first().await;
    tracing::info!("signal {signal}: finishing {} connections", app.connections.count());
    app.stop.stop();
    if let Err(error) = accepting.await {
        tracing::error!("the accept loop did not end well: {error}");
    }
    if loopool::timeout(DRAIN, app.connections.none_left()).await.is_err() {
        tracing::warn!("gave up {} connections", app.connections.count());
    }
}

/// Takes connections until the service stops.
async fn accept(app: Arc<App>, listener: TcpListener) {
    loop {
        // At the limit the others wait in the system's queue.
        if app.stop.or_done(app.connections.room()).await.is_none() {
            break;
        }
        match app.stop.or_done(listener.accept()).await {
            Some(Ok((stream, _))) => begin(&app, stream),
            Some(Err(error)) if is_of_one_connection(&error) => {
                tracing::debug!("a connection was gone before it was taken: {error}");
            }
            Some(Err(error)) => {
                tracing::warn!("can't take connections for a moment: {error}");
                loopool::sleep(REST).await;
            }
            None => break,
        }
    }
    // Those that had connected before the signal would be reset when the listener is closed.
    while let Some(Ok((stream, _))) = poll_once(listener.accept()).await {
        begin(&app, stream);
    }
}

fn begin(app: &Arc<App>, stream: TcpStream) {
    let counted = app.connections.enter();
    drop(loopool::create_task(app.clone().connection(stream, counted)));
}

/// Whether an error of accepting is about the one connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}

/// The signals that stop the service.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let signals = Signals { terminate: Signal::new(SIGTERM)?, interrupt: Signal::new(SIGINT)? };
        let one_came = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset and sets it, the second finds it set.
            let ends = one_came.clone();
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, ends)?;
            signal_hook::flag::register(signal, one_came.clone())?;
        }
        Ok(signals)
    }

    async fn first(&mut self) -> i32 {
        came(&mut self.terminate, SIGTERM).or(came(&mut self.interrupt, SIGINT)).await
    }
}

async fn came(signal: &mut Signal, number: i32) -> i32 {
    if let Err(error) = signal.recv().await {
        tracing::error!("can't wait for signal {number} any more: {error}");
        std::future::pending::<()>().await;
    }
    number
}
