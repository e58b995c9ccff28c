//! Many clients at once, half of whom do harm.

use std::ops::Range;

use crate::harness::{RUNNING, Service, eventually};
use crate::pictures::{assert_thumbnail, jpeg};

const QUICK: [&str; 5] = ["segfault", "abort", "exit", "panic", "stack-overflow"];

/// One in fifty hangs and two in fifty take all memory, which takes long.
fn fault(index: usize) -> &'static str {
    match index % 50 {
        7 => "hang",
        15 | 40 => "memory",
        other => QUICK[other % QUICK.len()],
    }
}

const WORKERS: usize = 4;

#[test]
fn fifty_faults_among_good_requests_harm_none_of_them() {
    let workers = format!("--processes={WORKERS}");
    let service = Service::start(&[
        "--faults",
        &workers,
        "--queue=1000",
        "--job-timeout=3",
        "--threads=2",
        "--worker-memory=512",
    ]);
    // Workers are started when they are needed. All are there, so the descriptors of all are counted. None
    // hangs yet.
    eventually("every worker to be needed", || {
        round(&service, 8..25, 5);
        quiet(&service);
        // Which were heard of: a process is there before the service has all that belongs to it.
        service.metric("loopool_pool_workers{pool=\"processes\"}") == WORKERS as f64
    });
    let descriptors = service.descriptors();

    round(&service, 0..50, 20);
    quiet(&service);
    eventually("descriptors to be as many as before", || service.descriptors() <= descriptors);
}

/// Sends faults at once, while five clients send pictures one after another.
fn round(service: &Service, faults: Range<usize>, pictures: usize) {
    std::thread::scope(|scope| {
        for index in faults {
            let fault = fault(index);
            scope.spawn(move || {
                let answer = service.post(&format!("/faults/{fault}"), b"");
                let in_order = match (fault, answer.status) {
                    // A busy machine may take longer to give memory than the job has.
                    ("hang" | "memory", 504) => true,
                    (_, status) => fault != "hang" && status == 500,
                };
                assert!(in_order, "{fault}: {} {}", answer.status, answer.text());
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
/// workers, the one that starts them, and the one that would start those of the strict pool.
fn quiet(service: &Service) {
    service.wait_for_metric(RUNNING, 0.0);
    service.wait_for_metric("service_connections", 1.0);
    eventually("all processes to be alive and wanted", || {
        let processes = service.processes();
        processes.len() <= WORKERS + 2 && processes.iter().all(|process| process.is_alive())
    });
}
