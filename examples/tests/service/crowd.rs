//! Many clients at once, half of whom do harm.

use crate::harness::{RUNNING, Service, eventually};
use crate::pictures::{assert_thumbnail, jpeg};

/// Memory stands there once: a worker gets two gigabytes before it is refused any.
const FAULTS: [&str; 10] = [
    "segfault",
    "abort",
    "exit",
    "panic",
    "stack-overflow",
    "segfault",
    "abort",
    "hang",
    "exit",
    "memory",
];

const WORKERS: usize = 4;

#[test]
fn fifty_faults_among_good_requests_harm_none_of_them() {
    let workers = format!("--processes={WORKERS}");
    let service =
        Service::start(&["--faults", &workers, "--queue=1000", "--job-timeout=1", "--threads=2"]);
    // All workers have been started once, so that the descriptors of all are counted.
    round(&service, 10, 5);
    quiet(&service);
    let descriptors = service.descriptors();

    round(&service, 50, 20);
    quiet(&service);
    eventually("descriptors to be as many as before", || service.descriptors() <= descriptors);
}

/// Sends faults at once, while five clients send pictures one after another.
fn round(service: &Service, faults: usize, pictures: usize) {
    std::thread::scope(|scope| {
        for index in 0..faults {
            let fault = FAULTS[index % FAULTS.len()];
            scope.spawn(move || {
                let answer = service.post(&format!("/faults/{fault}"), b"");
                let expected = if fault == "hang" { 504 } else { 500 };
                assert_eq!(answer.status, expected, "{fault}: {}", answer.text());
            });
        }
        for client in 0..5 {
            scope.spawn(move || {
                let mut connection = service.connect();
                for index in 0..pictures {
                    let width = 20 + (client * pictures + index) as u32;
                    let path = format!("/thumbnails?width={width}");
                    let answer = connection.ask("POST", &path, &[], &jpeg(200, 200));
                    assert_thumbnail(&answer, width, width);
                }
            });
        }
    });
}

/// Waits until no job is left, no dead process is unburied, and there are not more processes than
/// workers and the one that starts them.
fn quiet(service: &Service) {
    service.wait_for_metric(RUNNING, 0.0);
    service.wait_for_metric("service_connections", 1.0);
    eventually("all processes to be alive and wanted", || {
        let processes = service.processes();
        processes.len() <= WORKERS + 1 && processes.iter().all(|process| process.is_alive())
    });
}
