//! What the loops and the pools are doing, as a stream of server-sent events.
//!
//! Every stream looks for itself when its time has come. While nobody watches, nothing runs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{self, Response};
use crate::latency::Snapshot;
use crate::metrics::Route;
use crate::routes::App;

/// How often the stream says something.
const EVERY: Duration = Duration::from_millis(500);

/// How many of its last looks the percentiles are taken over: ten seconds.
const LOOKS: usize = 20;

/// The routes whose latency is shown.
const SHOWN: [Route; 2] = [Route::Thumbnails, Route::Healthz];

/// The stream. It ends when the service stops.
pub fn events(app: &Arc<App>) -> Response {
    let watch = Watch { app: app.clone(), looks: Default::default(), first: true };
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(event)), watch))
    });
    let body = StreamBody::new(events).boxed_unsync();
    answer::with_body(StatusCode::OK, "text/event-stream", body)
}

/// One stream's view.
struct Watch {
    app: Arc<App>,
    /// Earlier snapshots, the oldest first, for each of the routes that are shown.
    looks: [VecDeque<Snapshot>; SHOWN.len()],
    first: bool,
}

impl Watch {
    /// The next event, when its time has come.
    async fn next(&mut self) -> Option<Bytes> {
        let mut event = String::new();
        if std::mem::take(&mut self.first) {
            // How long a browser waits before it connects again.
            event.push_str("retry: 1000\n");
        } else {
            self.app.stop.or_done(loopool::sleep(EVERY)).await?;
        }
        event.push_str(&format!("data: {}\n\n", self.look()));
        Some(event.into())
    }

    fn look(&mut self) -> Value {
        let app = &self.app;
        let latencies = SHOWN.iter().zip(&mut self.looks).map(|(route, looks)| {
            let now = app.metrics.latency(*route).snapshot();
            let recent = looks.front().map_or_else(|| now.clone(), |then| now.since(then));
            looks.push_back(now);
            if looks.len() > LOOKS {
                looks.pop_front();
            }
            (route.name().to_owned(), json!(Latency::of(&recent)))
        });
        let latency = Value::Object(latencies.collect());
        let pools = app.pools.stats().map(|(name, stats)| {
            json!({
                "name": name,
                "workers": stats.workers,
                "waiting": stats.waiting,
                "running": stats.running,
                "finished": stats.finished,
                "failed": stats.failed,
                "crashed": stats.crashed,
                "timed_out": stats.timed_out,
                "cancelled": stats.cancelled,
            })
        });
        let runtime = loopool::metrics();
        let loops = runtime.loops.iter().map(|of_loop| {
            json!({
                "polls": of_loop.polls,
                "steals": of_loop.steals,
                "parks": of_loop.parks,
                "wakes_sent": of_loop.wakes_sent,
                "queued": of_loop.queue_depth,
                "timers": of_loop.timers,
                "sources": of_loop.sources,
            })
        });
        json!({
            "uptime": app.metrics.uptime().as_secs_f64(),
            "faults": app.faults,
            "max_body": app.uploads.max_body(),
            "queue_limit": app.queue_limit,
            "connections": app.connections.count(),
            "in_flight": app.metrics.in_flight(),
            "answered": app.metrics.answered(),
            "tasks": runtime.tasks,
            "loops": loops.collect::<Vec<_>>(),
            "pools": pools,
            "workers": app.pools.workers(),
            "jobs": app.pools.jobs.list(),
            "crashes": app.pools.crashes.count(),
            "latency": latency,
            "failures": app.metrics.failures().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }
}

/// Percentiles in milliseconds.
#[derive(Serialize)]
struct Latency {
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

impl Latency {
    fn of(snapshot: &Snapshot) -> Self {
        let milliseconds =
            |percent| snapshot.percentile(percent).map(|found| found.as_secs_f64() * 1e3);
        Latency {
            count: snapshot.count(),
            p50: milliseconds(50.0),
            p90: milliseconds(90.0),
            p99: milliseconds(99.0),
        }
    }
}
