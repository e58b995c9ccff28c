//! What the service refuses, and how.

use image::ImageFormat;

use crate::client::Answer;
use crate::harness::{RUNNING, Service, WAITING};
use crate::pictures::{assert_thumbnail, jpeg, picture};

/// Checks the status, and that there is a sentence.
#[track_caller]
fn assert_refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.error().ends_with('.'), "{}", answer.error());
}

#[test]
fn widths_and_executors_that_make_no_sense_are_400() {
    let service = Service::start(&[]);
    for query in ["width=0", "width=4097", "width=wide", "width=", "width=-1", "width=1.5"] {
        assert_refused(&service.post(&format!("/thumbnails?{query}"), &jpeg(9, 9)), 400);
    }
    assert_refused(&service.post("/thumbnails?executor=gpu", &jpeg(9, 9)), 400);
}

#[test]
fn other_types_are_415() {
    let service = Service::start(&[]);
    for content_type in ["text/plain", "image/svg+xml", "image/tiff", "multipart/form-data"] {
        let header = format!("content-type: {content_type}");
        let answer = service.connect().ask("POST", "/thumbnails", &[&header], &jpeg(9, 9));
        assert_refused(&answer, 415);
    }
    // Recognised although nothing was declared.
    assert_refused(&service.post("/thumbnails", b"II*\0 and so on"), 415);
}

#[test]
fn what_is_no_picture_or_a_broken_one_is_422() {
    let service = Service::start(&[]);
    assert_refused(&service.post("/thumbnails", b""), 422);
    assert_refused(&service.post("/thumbnails", b"an honest text"), 422);
    let declared = &["content-type: image/png"];
    let answer = service.connect().ask("POST", "/thumbnails", declared, b"an honest text");
    assert_refused(&answer, 422);
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = picture(300, 300, format);
        for executor in ["processes", "threads", "cpu"] {
            let path = format!("/thumbnails?executor={executor}");
            assert_refused(&service.post(&path, &whole[..whole.len() / 2]), 422);
        }
    }
    // A GIF header that announces 65535 × 65535 pixels.
    let mut huge = picture(1, 1, ImageFormat::Gif);
    huge[6..10].fill(0xff);
    let answer = service.post("/thumbnails", &huge);
    assert_refused(&answer, 422);
    assert!(answer.error().contains("100 megapixels"), "{}", answer.error());
}

#[test]
fn bodies_over_the_limit_are_413() {
    let service = Service::start(&["--max-body", "2000"]);
    let fits = jpeg(9, 9);
    assert!(fits.len() < 2000);
    assert_thumbnail(&service.post("/thumbnails", &fits), 9, 9);
    assert_refused(&service.post("/thumbnails", &[0xff; 2001]), 413);
    assert_refused(&service.post("/thumbnails", &vec![0xff; 5_000_000]), 413);

    // Refused by what is announced, before anything is sent, and without asking for it.
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut connection = service.connect();
        let head = format!(
            "POST /thumbnails HTTP/1.1\r\nhost: test\r\ncontent-length: 2001\r\n{expect}\r\n"
        );
        connection.send_raw(head.as_bytes());
        assert_refused(&connection.answer(), 413);
    }

    // Without an announcement it shows only on the way.
    let mut connection = service.connect();
    let head = "POST /thumbnails HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.send_raw(head.as_bytes());
    connection.send_raw(&[b"5dc\r\n".as_slice(), &[0xff; 1500], b"\r\n"].concat());
    connection.send_raw(&[b"5dc\r\n".as_slice(), &[0xff; 1500], b"\r\n0\r\n\r\n"].concat());
    assert_refused(&connection.answer(), 413);

    // The same from one who was asked to go on, and has sent more than anybody reads at once.
    let mut connection = service.connect();
    let head = "POST /thumbnails HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\
                expect: 100-continue\r\n\r\n";
    connection.send_raw(head.as_bytes());
    assert_eq!(connection.head().unwrap().status, 100);
    let chunk = [b"4c4b40\r\n".as_slice(), &vec![0xff; 5_000_000], b"\r\n0\r\n\r\n"].concat();
    connection.send_raw(&chunk);
    assert_refused(&connection.answer(), 413);
}

#[test]
fn wrong_methods_are_405_and_name_the_right_ones() {
    let service = Service::start(&["--faults"]);
    for (path, wrong, allow) in [
        ("/", "POST", "GET, HEAD"),
        ("/page.js", "DELETE", "GET, HEAD"),
        ("/events", "POST", "GET, HEAD"),
        ("/healthz", "PUT", "GET, HEAD"),
        ("/metrics", "POST", "GET, HEAD"),
        ("/thumbnails", "GET", "POST"),
        ("/thumbnails", "OPTIONS", "POST"),
        ("/faults/panic", "GET", "POST"),
        ("/pools", "POST", "GET, HEAD"),
        ("/crashes", "DELETE", "GET, HEAD"),
        ("/jobs", "DELETE", "GET, HEAD"),
        ("/jobs/1", "GET", "DELETE"),
    ] {
        let answer = service.connect().ask(wrong, path, &[], b"");
        assert_refused(&answer, 405);
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
}

#[test]
fn unknown_addresses_are_404_and_so_are_faults_that_are_off() {
    let service = Service::start(&[]);
    for path in ["/nothing", "/thumbnails/", "/faults", "/faults/", "/faults/segfault", "//"] {
        assert_refused(&service.get(path), 404);
        assert_refused(&service.post(path, b""), 404);
    }
    drop(service);
    let service = Service::start(&["--faults"]);
    assert_refused(&service.post("/faults/earthquake", b""), 404);
}

#[test]
fn a_full_queue_is_503_and_says_when_to_come_back() {
    let service = Service::start(&["--faults", "--processes=1", "--queue=2", "--job-timeout=60"]);
    let mut running = service.connect();
    running.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let mut waiting = [service.connect(), service.connect()];
    for connection in &mut waiting {
        connection.send("POST", "/thumbnails?width=20", &[], &jpeg(40, 40));
    }
    service.wait_for_metric(WAITING, 2.0);
    let refused = service.post("/thumbnails", &jpeg(40, 40));
    assert_refused(&refused, 503);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    // The other pools have queues of their own, and what waits is not harmed.
    assert_thumbnail(&service.post("/thumbnails?executor=threads", &jpeg(40, 40)), 40, 40);
    drop(running);
    for connection in &mut waiting {
        assert_thumbnail(&connection.answer(), 20, 20);
    }
}

#[test]
fn jobs_over_their_time_are_504_and_the_time_they_wait_does_not_count() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=0.4"]);
    let mut hanging = [service.connect(), service.connect(), service.connect()];
    for connection in &mut hanging {
        connection.send("POST", "/faults/hang", &[], b"");
    }
    service.wait_for_metric(WAITING, 2.0);
    // Before its turn comes, three times the limit have passed.
    assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);
    for connection in &mut hanging {
        let answer = connection.answer();
        assert_refused(&answer, 504);
        assert_eq!(answer.json()["cause"], "timeout");
    }
}
