//! How the service ends.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::client::Connection;
use crate::harness::{RUNNING, Service, WAITING, eventually, within};
use crate::pictures::{assert_thumbnail, jpeg};

/// A service with a job that runs for a second and a picture that waits behind it.
fn busy() -> (Service, Connection, Connection) {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=1"]);
    let mut hanging = service.connect();
    hanging.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let mut waiting = service.connect();
    waiting.send("POST", "/thumbnails", &[], &jpeg(40, 40));
    service.wait_for_metric(WAITING, 1.0);
    (service, hanging, waiting)
}

/// When connections are refused, a signal has had its effect.
fn wait_until_stopping(service: &Service) {
    eventually("new connections to be refused", || TcpStream::connect(service.address()).is_err());
}

fn lets_requests_finish_and_takes_no_new_ones(signal: i32) {
    let (mut service, mut hanging, mut waiting) = busy();
    let mut idle = service.connect();
    assert_eq!(idle.ask("GET", "/healthz", &[], b"").status, 200);
    let mut new = service.connect();
    let mut events = service.connect();
    events.send("GET", "/events", &[], b"");
    assert_eq!(events.head().unwrap().status, 200);
    let workers = service.processes();
    assert!(!workers.is_empty());

    service.signal(signal);
    assert!(idle.is_closed(), "an idle connection is closed");
    assert!(new.is_closed(), "so is one that never asked anything");
    eventually("the stream of events to end", || events.chunk().unwrap().is_none());
    wait_until_stopping(&service);

    let answer = hanging.answer();
    assert_eq!((answer.status, answer.header("connection")), (504, Some("close")));
    let answer = waiting.answer();
    assert_thumbnail(&answer, 40, 40);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(service.wait().code(), Some(0), "after signal {signal}");
    assert!(workers.iter().all(|worker| !worker.is_alive()), "workers outlived the service");
}

#[test]
fn sigterm_lets_requests_finish_and_takes_no_new_ones() {
    lets_requests_finish_and_takes_no_new_ones(libc::SIGTERM);
}

#[test]
fn sigint_lets_requests_finish_and_takes_no_new_ones() {
    lets_requests_finish_and_takes_no_new_ones(libc::SIGINT);
}

#[test]
fn a_connection_that_was_made_before_the_signal_is_served_after_it() {
    let mut service = Service::start(&[]);
    let mut connection = service.connect();
    connection.send_raw(b"GET /healthz HTTP/1.1\r\n");
    // This one is the other.
    service.wait_for_metric("service_connections", 2.0);
    service.signal(libc::SIGTERM);
    wait_until_stopping(&service);
    connection.send_raw(b"host: test\r\n\r\n");
    let answer = connection.answer_to("GET").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_service_at_once() {
    for (first, second) in [
        (libc::SIGTERM, libc::SIGTERM),
        (libc::SIGINT, libc::SIGINT),
        (libc::SIGINT, libc::SIGTERM),
    ] {
        let mut service = Service::start(&["--faults", "--job-timeout=600"]);
        let mut hanging = service.connect();
        hanging.send("POST", "/faults/hang", &[], b"");
        service.wait_for_metric(RUNNING, 1.0);
        let workers = service.processes();
        service.signal(first);
        wait_until_stopping(&service);
        service.signal(second);
        assert_eq!(service.wait().code(), Some(128 + second));
        within(Duration::from_secs(1), "all workers to be gone", || {
            workers.iter().all(|worker| !worker.is_alive())
        });
    }
}

#[test]
fn workers_do_not_outlive_a_service_that_is_killed() {
    let mut service = Service::start(&["--faults", "--processes=3", "--job-timeout=600"]);
    let mut hanging = [service.connect(), service.connect()];
    for connection in &mut hanging {
        connection.send("POST", "/faults/hang", &[], b"");
    }
    service.wait_for_metric(RUNNING, 2.0);
    let workers = service.processes();
    assert!(workers.len() >= 2, "{workers:?}");
    service.signal(libc::SIGKILL);
    assert_eq!(service.wait().signal(), Some(libc::SIGKILL));
    within(Duration::from_secs(1), "all workers to be gone", || {
        workers.iter().all(|worker| !worker.is_alive())
    });
}
