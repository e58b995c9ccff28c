//! One connection, and how many there are.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use event_listener::{Event, listener};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use loopool::hyper_rt::Timer;
use loopool::net::TcpStream;
use socket2::SockRef;

use crate::routes::{self, App};

/// The most connections at a time. Each holds a descriptor, of which a process often has 1024.
const MOST: usize = 900;

/// How long the header of a request may take, and how long a connection may lie idle.
const HEADER: Duration = Duration::from_secs(20);

/// How long a client may leave what it is sent without acknowledging it.
const UNHEARD: Duration = Duration::from_secs(30);

/// How long a connection that has sent no request yet may still do so when the service stops: its
/// first request may be under way.
const GRACE: Duration = Duration::from_secs(1);

impl App {
    /// Serves a connection to its end.
    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, counted: Entered) {
        if let Err(error) = tune(&stream) {
            tracing::debug!("a connection keeps the system's settings: {error}");
        }
        let asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            asked.store(true, Ordering::Relaxed);
            let app = self.clone();
            async move { Ok::<_, Infallible>(routes::answer(app, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(Timer::new())
            .header_read_timeout(HEADER)
            .serve_connection(stream, service);
        let mut connection = pin!(connection);

        let mut end = self.stop.or_done(connection.as_mut()).await;
        if end.is_none() {
            connection.as_mut().graceful_shutdown();
            // hyper ends an idle connection at once, but waits for the first request of a new one.
            if !asked.load(Ordering::Relaxed) {
                end = loopool::timeout(GRACE, connection.as_mut()).await.ok();
            }
            if end.is_none() && asked.load(Ordering::Relaxed) {
                end = Some(connection.await);
            }
        }
        if let Some(Err(error)) = end {
            // Clients leave when they like; that is nothing to be alarmed about.
            tracing::debug!("a connection ended: {error}");
        }
        drop(counted);
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // Answers are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(UNHEARD))
}

/// The open connections.
#[derive(Debug, Default)]
pub struct Connections {
    count: AtomicUsize,
    one_left: Event,
}

/// One of the open connections.
#[derive(Debug)]
pub struct Entered(Arc<Connections>);

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts one until it is dropped. Done before the connection's task is made, so that nobody finds
    /// a number without it.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.count.fetch_add(1, Ordering::SeqCst);
        Entered(self.clone())
    }

    /// Waits until there is room for one more.
    pub async fn room(&self) {
        self.at_most(MOST - 1).await;
    }

    /// Waits until there are none.
    pub async fn none_left(&self) {
        self.at_most(0).await;
    }

    async fn at_most(&self, most: usize) {
        while self.count() > most {
            listener!(self.one_left => one_left);
            // Between the look above and the registration one may have left.
            if self.count() > most {
                one_left.await;
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.one_left.notify(usize::MAX);
    }
}
