//! Clients that behave badly without asking for anything bad.

use std::net::TcpStream;

use crate::harness::{Service, eventually};
use crate::pictures::{assert_thumbnail, jpeg};

#[test]
fn running_out_of_descriptors_is_survived() {
    let service = Service::start(&[]);
    assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);
    let few = libc::rlimit { rlim_cur: 40, rlim_max: 40 };
    // SAFETY: a system call that reads one structure of ours.
    let set = unsafe {
        libc::prlimit(service.pid(), libc::RLIMIT_NOFILE, &raw const few, std::ptr::null_mut())
    };
    assert_eq!(set, 0);
    let mut crowd: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(service.address()).unwrap()).collect();
    eventually("the service to have no descriptor left", || service.descriptors() >= 40);
    crowd.clear();
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn rubbish_is_answered_or_hung_up_on() {
    let service = Service::start(&[]);
    for rubbish in [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".as_slice(),
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /thumbnails HTTP/1.1\r\nhost: test\r\ncontent-length: many\r\n\r\n",
    ] {
        let mut connection = service.connect();
        connection.send_raw(rubbish);
        match connection.answer_to("GET") {
            Ok(answer) => assert_eq!(answer.status, 400),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
        }
    }
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_is_forgotten() {
    let service = Service::start(&[]);
    for _ in 0..20 {
        let mut connection = service.connect();
        connection.send_raw(
            b"POST /thumbnails HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nhalf of it",
        );
    }
    service.wait_for_metric("service_connections", 1.0);
    service.wait_for_metric("service_requests_in_flight", 1.0);
}
