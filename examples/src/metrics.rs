//! What is counted, and how it is told to Prometheus.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use loopool::{ExecutorStats, LoopMetrics, RuntimeMetrics};

use crate::latency::Histogram;
use crate::pools::Workers;

/// The addresses that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The page and its parts.
    Page,
    /// The stream of events.
    Events,
    /// Whether the service is alive.
    Healthz,
    /// These numbers.
    Metrics,
    /// Thumbnails.
    Thumbnails,
    /// The pools of processes, worker by worker.
    Pools,
    /// The last crash reports.
    Crashes,
    /// The jobs that requests wait for.
    Jobs,
    /// Crashes on purpose.
    Faults,
    /// What is not there.
    Other,
}

impl Route {
    const ALL: [Route; 10] = [
        Route::Page,
        Route::Events,
        Route::Healthz,
        Route::Metrics,
        Route::Thumbnails,
        Route::Pools,
        Route::Crashes,
        Route::Jobs,
        Route::Faults,
        Route::Other,
    ];

    /// How it is called in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Route::Page => "page",
            Route::Events => "events",
            Route::Healthz => "healthz",
            Route::Metrics => "metrics",
            Route::Thumbnails => "thumbnails",
            Route::Pools => "pools",
            Route::Crashes => "crashes",
            Route::Jobs => "jobs",
            Route::Faults => "faults",
            Route::Other => "other",
        }
    }
}

/// The service's own counts. Statistics only, so every access is relaxed.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    in_flight: AtomicUsize,
    hung_up: AtomicU64,
    routes: [PerRoute; Route::ALL.len()],
    /// Jobs that came to a bad end, by cause. Few, so a lock does.
    failures: Mutex<Vec<(&'static str, u64)>>,
}

#[derive(Debug)]
struct PerRoute {
    /// By status, from 100 on.
    statuses: Vec<AtomicU64>,
    latency: Histogram,
}

impl Default for PerRoute {
    fn default() -> Self {
        PerRoute {
            statuses: (100..600).map(|_| AtomicU64::new(0)).collect(),
            latency: Histogram::default(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            started: Instant::now(),
            in_flight: AtomicUsize::new(0),
            hung_up: AtomicU64::new(0),
            routes: Default::default(),
            failures: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts a request as being in flight, until [`Request::answered`] or until it is dropped
    /// because its client hung up.
    pub fn request(&self, route: Route) -> Request<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        Request { metrics: self, route, since: Instant::now(), answered: false }
    }

    /// Counts a job that came to a bad end.
    pub fn job_failed(&self, cause: &'static str) {
        let mut failures = self.failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match failures.iter_mut().find(|(name, _)| *name == cause) {
            Some((_, count)) => *count += 1,
            None => failures.push((cause, 1)),
        }
    }

    /// Jobs that came to a bad end, by cause.
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        self.failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// How long answers of a route took.
    pub fn latency(&self, route: Route) -> &Histogram {
        &self.routes[route as usize].latency
    }

    /// Requests that have no answer yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        let counts = self.routes.iter().flat_map(|route| &route.statuses);
        counts.map(|count| count.load(Relaxed)).sum()
    }

    /// How long the service has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A request that has no answer yet.
#[derive(Debug)]
pub struct Request<'a> {
    metrics: &'a Metrics,
    route: Route,
    since: Instant,
    answered: bool,
}

impl Request<'_> {
    /// Counts the answer.
    pub fn answered(mut self, status: StatusCode) {
        self.answered = true;
        let route = &self.metrics.routes[self.route as usize];
        if let Some(count) = route.statuses.get(usize::from(status.as_u16()) - 100) {
            count.fetch_add(1, Relaxed);
        }
        route.latency.record(self.since.elapsed());
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Relaxed);
        if !self.answered {
            self.metrics.hung_up.fetch_add(1, Relaxed);
        }
    }
}

/// Everything, in Prometheus' text format.
pub fn exposition(
    metrics: &Metrics,
    connections: usize,
    pools: &[(&'static str, ExecutorStats)],
    workers: &[Workers<'_>],
    runtime: &RuntimeMetrics,
) -> String {
    let mut out = Exposition(String::with_capacity(32 * 1024));
    service(&mut out, metrics, connections);
    executors(&mut out, pools);
    processes(&mut out, workers);
    loops(&mut out, runtime);
    out.0
}

fn service(out: &mut Exposition, metrics: &Metrics, connections: usize) {
    out.family("service_uptime_seconds", "gauge", "How long the service has been running.");
    out.sample("service_uptime_seconds", "", metrics.uptime().as_secs_f64());
    out.family("service_connections", "gauge", "Connections that are open.");
    out.sample("service_connections", "", connections);
    out.family("service_requests_in_flight", "gauge", "Requests that have no answer yet.");
    out.sample("service_requests_in_flight", "", metrics.in_flight());
    out.family("service_hung_up_total", "counter", "Requests whose client left before the answer.");
    out.sample("service_hung_up_total", "", metrics.hung_up.load(Relaxed));
    out.family("service_requests_total", "counter", "Requests that were answered.");
    for (route, counts) in Route::ALL.iter().zip(&metrics.routes) {
        for (status, count) in (100..).zip(&counts.statuses) {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = format!("route=\"{}\",status=\"{status}\"", route.name());
                out.sample("service_requests_total", &labels, count);
            }
        }
    }
    out.family("service_job_failures_total", "counter", "Jobs that came to a bad end, by cause.");
    for (cause, count) in metrics.failures() {
        out.sample("service_job_failures_total", &format!("cause=\"{cause}\""), count);
    }
    let name = "service_request_duration_seconds";
    out.family(name, "histogram", "Time from a request's header to its answer.");
    for (route, counts) in Route::ALL.iter().zip(&metrics.routes) {
        let (route, snapshot) = (route.name(), counts.latency.snapshot());
        let count = snapshot.count();
        for (bound, below) in snapshot.cumulative().chain([("+Inf", count)]) {
            let labels = format!("route=\"{route}\",le=\"{bound}\"");
            out.sample(&format!("{name}_bucket"), &labels, below);
        }
        let labels = format!("route=\"{route}\"");
        out.sample(&format!("{name}_sum"), &labels, snapshot.sum_seconds());
        out.sample(&format!("{name}_count"), &labels, count);
    }
}

fn executors(out: &mut Exposition, pools: &[(&'static str, ExecutorStats)]) {
    let gauges: [Family<ExecutorStats, usize>; 3] = [
        ("loopool_pool_workers", "gauge", "Threads or processes of a pool.", |stats| stats.workers),
        ("loopool_pool_waiting_jobs", "gauge", "Jobs that wait for a worker.", |stats| {
            stats.waiting
        }),
        ("loopool_pool_running_jobs", "gauge", "Jobs that run.", |stats| stats.running),
    ];
    for (name, kind, help, value) in gauges {
        out.family(name, kind, help);
        for (pool, stats) in pools {
            out.sample(name, &format!("pool=\"{pool}\""), value(stats));
        }
    }
    out.family("loopool_pool_jobs_total", "counter", "Jobs that are over, by what became of them.");
    for (pool, stats) in pools {
        for (outcome, count) in [
            ("finished", stats.finished),
            ("failed", stats.failed),
            ("crashed", stats.crashed),
            ("timed_out", stats.timed_out),
            ("cancelled", stats.cancelled),
        ] {
            let labels = format!("pool=\"{pool}\",outcome=\"{outcome}\"");
            out.sample("loopool_pool_jobs_total", &labels, count);
        }
    }
}

fn processes(out: &mut Exposition, pools: &[Workers<'_>]) {
    let name = "loopool_pool_crashes_total";
    out.family(name, "counter", "Worker processes that died, in a job or between two, by cause.");
    for pool in pools {
        for (cause, count) in &pool.snapshot.crashes {
            out.sample(name, &format!("pool=\"{}\",cause=\"{cause}\"", pool.name), count);
        }
    }
    let name = "loopool_pool_resident_bytes";
    out.family(name, "gauge", "Memory that the workers of a pool have in use.");
    for pool in pools {
        let memory = pool.snapshot.workers.iter().filter_map(|worker| worker.resident_memory);
        out.sample(name, &format!("pool=\"{}\"", pool.name), memory.sum::<u64>());
    }
    let name = "loopool_pool_unenforced_limits";
    out.family(name, "gauge", "Parts of a pool's sandbox and limits that the kernel lacks.");
    for pool in pools {
        if let Some(enforced) = &pool.enforced {
            out.sample(name, &format!("pool=\"{}\"", pool.name), enforced.missing.len());
        }
    }
}

fn loops(out: &mut Exposition, runtime: &RuntimeMetrics) {
    out.family("loopool_tasks", "gauge", "Tasks that are not over.");
    out.sample("loopool_tasks", "", runtime.tasks);
    let families: [Family<LoopMetrics, u64>; 10] = [
        ("loopool_loop_polls_total", "counter", "Polls of tasks.", |l| l.polls),
        ("loopool_loop_stalls_total", "counter", "Times the loop was seen stuck.", |l| l.stalls),
        ("loopool_loop_steals_total", "counter", "Tasks taken from other loops.", |l| l.steals),
        ("loopool_loop_serves_total", "counter", "Times the loop looked after a stuck one.", |l| {
            l.serves
        }),
        ("loopool_loop_parks_total", "counter", "Times the loop went to sleep.", |l| l.parks),
        ("loopool_loop_wakes_sent_total", "counter", "Wakes sent to other loops.", |l| {
            l.wakes_sent
        }),
        ("loopool_loop_spurious_wakes_total", "counter", "Wakes with nothing to do.", |l| {
            l.spurious_wakes
        }),
        ("loopool_loop_queued_tasks", "gauge", "Tasks that wait to be polled.", |l| l.queue_depth),
        ("loopool_loop_timers", "gauge", "Timers that are set.", |l| l.timers),
        ("loopool_loop_sources", "gauge", "Sockets and the like that are watched.", |l| l.sources),
    ];
    for (name, kind, help, value) in families {
        out.family(name, kind, help);
        for (index, of_loop) in runtime.loops.iter().enumerate() {
            out.sample(name, &format!("loop=\"{index}\""), value(of_loop));
        }
    }
    poll_times(out, runtime);
    stuck(out, runtime);
    out.family("loopool_spare_workers", "gauge", "Workers for when every loop is blocked.");
    out.sample("loopool_spare_workers", "", runtime.spare_workers);
    out.family("loopool_spare_polls_total", "counter", "Polls of tasks by spare workers.");
    out.sample("loopool_spare_polls_total", "", runtime.spare_polls);
}

/// Times that half of a loop's polls, and nearly all of them, did not reach.
fn poll_times(out: &mut Exposition, runtime: &RuntimeMetrics) {
    let name = "loopool_loop_poll_seconds";
    out.family(name, "gauge", "How long polls of tasks took, by samples since the start.");
    for (index, of_loop) in runtime.loops.iter().enumerate() {
        for quantile in [0.5, 0.99] {
            if let Some(time) = of_loop.poll_times.quantile(quantile) {
                let labels = format!("loop=\"{index}\",quantile=\"{quantile}\"");
                match time {
                    // Longer than the histogram can say.
                    Duration::MAX => out.sample(name, &labels, "+Inf"),
                    time => out.sample(name, &labels, time.as_secs_f64()),
                }
            }
        }
    }
}

/// What loops are stuck in, while they are.
fn stuck(out: &mut Exposition, runtime: &RuntimeMetrics) {
    let name = "loopool_loop_stuck_seconds";
    out.family(name, "gauge", "For how long the loop has been stuck, in what.");
    for (index, of_loop) in runtime.loops.iter().enumerate() {
        if let Some(stuck) = &of_loop.stuck {
            let task = stuck.task.as_deref().unwrap_or_default();
            let made = stuck.spawned_at.map(ToString::to_string).unwrap_or_default();
            let labels = format!("loop=\"{index}\",task={task:?},spawned_at={made:?}");
            out.sample(name, &labels, stuck.duration.as_secs_f64());
        }
    }
}

/// Name, kind and help of a metric, and where its value stands.
type Family<S, V> = (&'static str, &'static str, &'static str, fn(&S) -> V);

/// Text in Prometheus' format. Writing to a string can't fail.
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}
