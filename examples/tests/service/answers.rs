//! What the service answers when all is well.

use std::collections::HashMap;

use image::ImageFormat;
use serde_json::Value;

use crate::harness::{Service, eventually};
use crate::pictures::{assert_thumbnail, jpeg, picture};

#[test]
fn every_kind_of_picture_becomes_a_thumbnail() {
    let service = Service::start(&[]);
    for (format, content_type) in [
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Gif, "image/gif"),
        (ImageFormat::WebP, "image/webp"),
    ] {
        let body = picture(200, 100, format);
        let header = format!("content-type: {content_type}");
        let path = "/thumbnails?width=50";
        assert_thumbnail(&service.connect().ask("POST", path, &[&header], &body), 50, 25);
        // Undeclared, declared as just bytes, and declared wrongly: the first bytes decide.
        assert_thumbnail(&service.post(path, &body), 50, 25);
        for header in ["content-type: application/octet-stream", "content-type: image/png"] {
            assert_thumbnail(&service.connect().ask("POST", path, &[header], &body), 50, 25);
        }
    }
}

#[test]
fn every_executor_makes_the_same_thumbnail() {
    let service = Service::start(&[]);
    let body = jpeg(300, 200);
    let by_default = service.post("/thumbnails?width=90", &body);
    for (executor, earlier) in [("processes", 1.0), ("strict", 0.0), ("threads", 0.0), ("cpu", 0.0)]
    {
        let path = format!("/thumbnails?executor={executor}&width=90");
        let answer = service.post(&path, &body);
        assert_thumbnail(&answer, 90, 60);
        assert_eq!(answer.body, by_default.body, "{executor}");
        let finished =
            format!("loopool_pool_jobs_total{{pool=\"{executor}\",outcome=\"finished\"}}");
        // The answer may be there a moment before it is counted.
        service.wait_for_metric(&finished, earlier + 1.0);
    }
}

#[test]
fn the_width_is_256_by_default_and_never_more_than_the_picture_has() {
    let service = Service::start(&[]);
    assert_thumbnail(&service.post("/thumbnails", &jpeg(512, 512)), 256, 256);
    assert_thumbnail(&service.post("/thumbnails?width=1", &jpeg(40, 80)), 1, 2);
    assert_thumbnail(&service.post("/thumbnails?width=4096", &jpeg(40, 80)), 40, 80);
}

#[test]
fn the_page_and_its_parts_are_there() {
    let service = Service::start(&[]);
    for (path, content_type, part) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/page.js", "text/javascript; charset=utf-8", "EventSource"),
        ("/healthz", "text/plain; charset=utf-8", "ok"),
    ] {
        let answer = service.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.text().contains(part), "{path}");
        let head = service.connect().ask("HEAD", path, &[], b"");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), answer.header("content-length"), "{path}");
    }
    assert_eq!(service.connect().ask("HEAD", "/events", &[], b"").status, 200);
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let service = Service::start(&[]);
    let mut connection = service.connect();
    for _ in 0..3 {
        assert_eq!(connection.ask("GET", "/healthz", &[], b"").status, 200);
        let answer = connection.ask("POST", "/thumbnails?width=20", &[], &jpeg(40, 40));
        assert_thumbnail(&answer, 20, 20);
        assert_eq!(connection.ask("GET", "/nothing", &[], b"").status, 404);
        assert_eq!(connection.ask("POST", "/thumbnails", &[], b"no picture").status, 422);
    }
}

#[test]
fn events_tell_what_loops_and_pools_do() {
    let service = Service::start(&["--queue", "7", "--processes", "3"]);
    let mut connection = service.connect();
    connection.send("GET", "/events", &[], b"");
    let head = connection.head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let mut next = || {
        let chunk = String::from_utf8(connection.chunk().unwrap().unwrap()).unwrap();
        let (_, data) = chunk.split_once("data: ").unwrap();
        serde_json::from_str::<Value>(data.trim_end()).unwrap()
    };
    let first = next();
    assert_eq!(first["queue_limit"], 7);
    assert_eq!(first["faults"], false);
    assert_eq!(first["pools"][0]["name"], "processes");
    assert!(!first["loops"].as_array().unwrap().is_empty());

    assert_eq!(service.post("/thumbnails", &jpeg(40, 40)).status, 200);
    eventually("an event that counts the thumbnail", || {
        let event = next();
        event["pools"][0]["finished"] == 1 && event["latency"]["thumbnails"]["count"] == 1
    });
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let service = Service::start(&[]);
    assert_eq!(service.post("/thumbnails", &jpeg(40, 40)).status, 200);
    assert_eq!(service.post("/thumbnails", b"no picture").status, 422);
    let answer = service.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));

    let mut kinds = HashMap::new();
    let mut helped = None;
    let mut last_bucket = HashMap::new();
    for line in answer.text().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped, Some(name), "help comes first");
            assert!(kinds.insert(name, kind).is_none(), "{name} stands there twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            let name = sample.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|it| kinds.contains_key(it)))
                .unwrap_or(name);
            assert!(kinds.contains_key(family), "{line} belongs to nothing");
            if let Some((labels, _)) = sample.split_once(",le=") {
                let last = last_bucket.insert(labels, value).unwrap_or(0.0);
                assert!(value >= last, "{line} is less than the bucket before it");
            }
        }
    }
    let of = |name| service.metric(name);
    assert_eq!(of("service_requests_total{route=\"thumbnails\",status=\"200\"}"), 1.0);
    assert_eq!(of("service_requests_total{route=\"thumbnails\",status=\"422\"}"), 1.0);
    assert_eq!(
        of("service_request_duration_seconds_bucket{route=\"thumbnails\",le=\"+Inf\"}"),
        of("service_request_duration_seconds_count{route=\"thumbnails\"}"),
    );
}
