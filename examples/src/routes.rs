//! Which request goes where.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::answer::{self, Failure, Response};
use crate::faults::Fault;
use crate::format::{self, Declared, Sniffed};
use crate::jobs::Cancelling;
use crate::metrics::{self, Metrics, Route};
use crate::options::Options;
use crate::pools::{Pools, Which};
use crate::server::{Connections, Stop};
use crate::thumbnail::{self, Order};
use crate::upload::{self, Upload, Uploads};
use crate::{blocked, live, page};

/// The width of a thumbnail when none is asked for.
const DEFAULT_WIDTH: u32 = 256;

/// The widest thumbnail.
const MAX_WIDTH: u32 = 4096;

const READ: &str = "GET, HEAD";
const WRITE: &str = "POST";
const REMOVE: &str = "DELETE";

/// All that requests need.
#[derive(Debug)]
pub struct App {
    /// The executors.
    pub pools: Arc<Pools>,
    /// The counts.
    pub metrics: Metrics,
    /// The bodies that are being read.
    pub uploads: Uploads,
    /// The open connections.
    pub connections: Arc<Connections>,
    /// Whether the service is being stopped.
    pub stop: Stop,
    /// Whether crashes can be ordered, and jobs of others cancelled.
    pub faults: bool,
    /// The most jobs that may wait in each pool.
    pub queue_limit: usize,
}

impl App {
    /// What the options say.
    pub fn new(options: &Options, pools: Arc<Pools>) -> Self {
        App {
            pools,
            metrics: Metrics::default(),
            uploads: Uploads::new(options.max_body),
            connections: Arc::default(),
            stop: Stop::default(),
            faults: options.faults,
            queue_limit: options.queue,
        }
    }
}

/// Answers a request, whatever happens.
pub async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let mut upload = Upload::from(body);
    let route = route_of(head.uri.path());
    let counted = app.metrics.request(route);
    let answered = AssertUnwindSafe(dispatch(&app, route, &head, &mut upload)).catch_unwind().await;
    let answered = answered.unwrap_or_else(|panic| {
        // Our mistake, and not to cost the other requests of this connection.
        tracing::error!("{}: {}", head.uri.path(), loopool::panic_message(&*panic));
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The service made a mistake."))
    });
    let response = answered.unwrap_or_else(|failure| {
        if let Some(cause) = failure.cause() {
            app.metrics.job_failed(cause.name);
        }
        failure.into_response()
    });
    upload::discard(upload, &head.method, &head.headers);
    counted.answered(response.status());
    response
}

fn route_of(path: &str) -> Route {
    match path {
        "/" | "/page.css" | "/page.js" => Route::Page,
        "/events" => Route::Events,
        "/healthz" => Route::Healthz,
        "/metrics" => Route::Metrics,
        "/thumbnails" => Route::Thumbnails,
        "/pools" => Route::Pools,
        "/crashes" => Route::Crashes,
        "/jobs" => Route::Jobs,
        _ if path.starts_with("/jobs/") => Route::Jobs,
        _ if path.starts_with("/faults/") => Route::Faults,
        _ => Route::Other,
    }
}

async fn dispatch(
    app: &Arc<App>,
    route: Route,
    head: &Parts,
    upload: &mut Upload,
) -> Result<Response, Failure> {
    match route {
        Route::Page => {
            allow(head, READ)?;
            page::file(head.uri.path()).ok_or_else(Failure::not_found)
        }
        Route::Events => {
            allow(head, READ)?;
            match head.method {
                Method::HEAD => Ok(answer::ok("text/event-stream", "")),
                _ => Ok(live::events(app)),
            }
        }
        Route::Healthz => {
            allow(head, READ)?;
            Ok(answer::ok("text/plain; charset=utf-8", "ok\n"))
        }
        Route::Metrics => {
            allow(head, READ)?;
            let (stats, runtime) = (app.pools.stats(), loopool::metrics());
            let (connections, workers) = (app.connections.count(), app.pools.workers());
            let text = metrics::exposition(&app.metrics, connections, &stats, &workers, &runtime);
            Ok(answer::ok("text/plain; version=0.0.4; charset=utf-8", text))
        }
        Route::Thumbnails => {
            allow(head, WRITE)?;
            thumbnails(app, head, upload).await
        }
        Route::Pools => {
            allow(head, READ)?;
            json(&app.pools.workers())
        }
        Route::Crashes => {
            allow(head, READ)?;
            json(&app.pools.crashes.list())
        }
        Route::Jobs => jobs(app, head),
        Route::Faults => faults(app, head).await,
        Route::Other => Err(Failure::not_found()),
    }
}

fn allow(head: &Parts, methods: &'static str) -> Result<(), Failure> {
    match methods.split(", ").any(|method| method == head.method.as_str()) {
        true => Ok(()),
        false => Err(Failure::wrong_method(methods)),
    }
}

/// `POST /thumbnails?width=W&executor=E`: what can be refused without reading the body is refused
/// first.
async fn thumbnails(
    app: &Arc<App>,
    head: &Parts,
    upload: &mut Upload,
) -> Result<Response, Failure> {
    let query = head.uri.query().unwrap_or_default();
    let width = width(parameter(query, "width"))?;
    let executor = executor(parameter(query, "executor"))?;
    // A content type that is not even text is not one of ours either.
    let content_type = head.headers.get(CONTENT_TYPE).map(|it| it.to_str().unwrap_or("?"));
    if format::declared(content_type) == Declared::Other {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "{} is not taken, only image/jpeg, image/png, image/gif and image/webp (or no \
                 content-type at all).",
                content_type.unwrap_or_default()
            ),
        ));
    }
    app.uploads.check_length(&head.headers)?;
    let (bytes, _held) = app.uploads.read(upload).await?;
    let format = match format::sniff(&bytes) {
        Sniffed::Picture(format) => format,
        Sniffed::OtherPicture(name) => {
            let sentence = format!("A {name} file is not taken, only JPEG, PNG, GIF and WebP.");
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence));
        }
        Sniffed::Unknown => {
            let sentence = match bytes.is_empty() {
                true => "There is no picture: nothing was sent.",
                false => "This is not a picture.",
            };
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, sentence));
        }
    };
    let order = Order { width, format, picture: bytes.into() };
    let made = app.pools.run(executor, "thumbnail", thumbnail::make, order).await?;
    let made = made
        .map_err(|refusal| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()))?;
    let mut response = answer::ok("image/png", made.png.into_vec());
    let original = format!("{}x{}", made.original.0, made.original.1);
    if let Ok(original) = HeaderValue::from_str(&original) {
        response.headers_mut().insert("x-original-size", original);
    }
    Ok(response)
}

/// `GET /jobs`: what runs and waits. `DELETE /jobs/ID`: ends it, whoever waits for it.
fn jobs(app: &App, head: &Parts) -> Result<Response, Failure> {
    let Some(id) = head.uri.path().strip_prefix("/jobs/") else {
        allow(head, READ)?;
        return json(&app.pools.jobs.list());
    };
    let id = id.parse().ok().filter(|_| app.faults).ok_or_else(Failure::not_found)?;
    allow(head, REMOVE)?;
    match app.pools.jobs.cancel(id) {
        Cancelling::Done => Ok(answer::ok("application/json", "{\"cancelled\":true}\n")),
        Cancelling::NotPossible => Err(Failure::new(
            StatusCode::CONFLICT,
            "The job is over, or runs in a thread, which can't be stopped.",
        )),
        Cancelling::Unknown => Err(Failure::not_found()),
    }
}

fn json(value: &impl Serialize) -> Result<Response, Failure> {
    match serde_json::to_vec(value) {
        Ok(text) => Ok(answer::ok("application/json", text)),
        Err(error) => {
            tracing::error!("a value can't be told as JSON: {error}");
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The service made a mistake."))
        }
    }
}

/// `POST /faults/NAME?executor=E`: a job that crashes. `POST /faults/block-loop?milliseconds=N`, and
/// `block-all-loops`: tasks that compute on their loops.
async fn faults(app: &Arc<App>, head: &Parts) -> Result<Response, Failure> {
    let name = head.uri.path().strip_prefix("/faults/").unwrap_or_default();
    let loops = match name {
        "block-loop" => Some(1),
        "block-all-loops" => Some(loopool::metrics().loops.len()),
        _ => None,
    };
    if let Some(loops) = loops.filter(|_| app.faults) {
        allow(head, WRITE)?;
        let query = head.uri.query().unwrap_or_default();
        let time = block_time(parameter(query, "milliseconds"))?;
        let loops = blocked::block(loops, time).await;
        return Ok(answer::ok("application/json", format!("{{\"loops\":{loops}}}\n")));
    }
    let fault = Fault::named(name).filter(|_| app.faults).ok_or_else(Failure::not_found)?;
    allow(head, WRITE)?;
    let which = match parameter(head.uri.query().unwrap_or_default(), "executor") {
        None => fault.executor(),
        Some(name) => Which::named(name).filter(|it| it.is_of_processes()).ok_or_else(|| {
            let sentence =
                "The executor has to be processes or strict: others would end the service.";
            Failure::new(StatusCode::BAD_REQUEST, sentence)
        })?,
    };
    app.pools.run(which, fault.name(), fault.job(), ()).await?;
    Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The fault was survived by its worker."))
}

/// The first value of a parameter. None of ours needs escapes.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn width(text: Option<&str>) -> Result<u32, Failure> {
    let Some(text) = text else { return Ok(DEFAULT_WIDTH) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(width @ 1..=MAX_WIDTH) if digits => Ok(width),
        _ => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!("The width has to be a whole number from 1 to {MAX_WIDTH}."),
        )),
    }
}

fn block_time(text: Option<&str>) -> Result<Duration, Failure> {
    let Some(text) = text else { return Ok(blocked::DEFAULT) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let time = text.parse().ok().filter(|_| digits).map(Duration::from_millis);
    time.filter(|time| *time <= blocked::LONGEST).ok_or_else(|| {
        let most = blocked::LONGEST.as_millis();
        let sentence = format!("The milliseconds have to be a whole number from 0 to {most}.");
        Failure::new(StatusCode::BAD_REQUEST, sentence)
    })
}

fn executor(name: Option<&str>) -> Result<Which, Failure> {
    let Some(name) = name else { return Ok(Which::Processes) };
    Which::named(name).ok_or_else(|| {
        let sentence = "The executor has to be processes, strict, threads or cpu.";
        Failure::new(StatusCode::BAD_REQUEST, sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_a_whole_number_within_bounds() {
        for (text, expected) in
            [(None, 256), (Some("1"), 1), (Some("4096"), 4096), (Some("0300"), 300)]
        {
            assert_eq!(width(text).unwrap(), expected);
        }
        for text in ["0", "4097", "", "-1", "+5", "1.5", "wide", "99999999999999999999", "٣"] {
            assert!(width(Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn parameters_are_found_in_any_order() {
        assert_eq!(parameter("a=1&width=2&width=3", "width"), Some("2"));
        assert_eq!(parameter("width", "width"), Some(""));
        assert_eq!(parameter("", "width"), None);
        assert_eq!(parameter("bandwidth=5", "width"), None);
    }
}
