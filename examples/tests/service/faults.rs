//! Jobs that crash, hang and are killed, and what becomes of everybody else.

use serde_json::{Value, json};

use crate::harness::{Process, RUNNING, Service, eventually, has_sandboxes, send_signal};
use crate::pictures::{assert_thumbnail, jpeg};

#[test]
fn every_fault_costs_its_own_request_and_is_named() {
    // Memory takes a while to fill, on a machine that is busy with other tests.
    let patient = Service::start(&[
        "--faults",
        "--processes=2",
        "--job-timeout=60",
        "--worker-memory=512",
        "--cpu-limit=0.2",
    ]);
    let impatient = Service::start(&["--faults", "--processes=2", "--job-timeout=0.5"]);
    let (none, code) = (Value::Null, json!(3));
    let of_signal = |signal: i32| json!(signal);
    for (fault, status, cause, signal, exit_code) in [
        ("segfault", 500, "segfault", of_signal(libc::SIGSEGV), &none),
        ("abort", 500, "abort", of_signal(libc::SIGABRT), &none),
        ("stack-overflow", 500, "stack-overflow", of_signal(libc::SIGSEGV), &none),
        ("memory", 500, "out-of-memory", of_signal(libc::SIGABRT), &none),
        ("cpu-hog", 500, "cpu-limit", of_signal(libc::SIGXCPU), &none),
        ("network", 500, "sandbox-denied", of_signal(libc::SIGSYS), &none),
        ("hang", 504, "timeout", none.clone(), &none),
        ("panic", 500, "panic", none.clone(), &none),
        ("exit", 500, "exit", none.clone(), &code),
    ] {
        if fault == "network" && !has_sandboxes() {
            continue;
        }
        let service = if fault == "hang" { &impatient } else { &patient };
        // Over one connection, which lives on.
        let mut connection = service.connect();
        let answer = connection.ask("POST", &format!("/faults/{fault}"), &[], b"");
        let told = answer.json();
        assert_eq!(answer.status, status, "{fault}: {told}");
        assert_eq!(told["cause"], cause, "{fault}: {told}");
        assert_eq!(told["signal"], signal, "{fault}: {told}");
        assert_eq!(&told["exit_code"], exit_code, "{fault}: {told}");
        let syscall = if fault == "network" { json!("socket") } else { Value::Null };
        assert_eq!(told["syscall"], syscall, "{fault}: {told}");
        assert!(told["error"].as_str().unwrap().ends_with('.'), "{fault}: {told}");
        let good = connection.ask("POST", "/thumbnails?width=20", &[], &jpeg(40, 40));
        assert_thumbnail(&good, 20, 20);
        let counted = format!("service_job_failures_total{{cause=\"{cause}\"}}");
        assert_eq!(service.metric(&counted), 1.0, "{fault}");
    }
}

#[test]
fn the_same_fault_ends_by_the_profile_of_its_pool() {
    let start = |cpu_limit| {
        let memory = "--worker-memory=512";
        Service::start(&["--faults", "--processes=1", "--job-timeout=60", memory, cpu_limit])
    };
    let service = start("--cpu-limit=60");
    // In the one, allocations fail, and the job aborts; in the other a worker that has too much is killed.
    for (executor, signal) in [("processes", libc::SIGABRT), ("strict", libc::SIGKILL)] {
        let told = service.post(&format!("/faults/memory?executor={executor}"), b"").json();
        assert_eq!((&told["cause"], &told["signal"]), (&json!("out-of-memory"), &json!(signal)));
    }
    let told = start("--cpu-limit=0.2").post("/faults/hang?executor=strict", b"").json();
    assert_eq!(told["cause"], "cpu-limit", "{told}");
    // In the one a denied call fails, which the job may survive; in the other it is the end.
    if has_sandboxes() {
        let told = service.post("/faults/network?executor=processes", b"").json();
        assert_eq!(told["cause"], "panic", "{told}");
        assert!(told["error"].as_str().unwrap().contains("the network is denied"), "{told}");
        let told = service.post("/faults/network?executor=strict", b"").json();
        assert_eq!(told["cause"], "sandbox-denied", "{told}");
        let counted = "loopool_pool_crashes_total{pool=\"strict\",cause=\"SandboxDenied\"}";
        service.wait_for_metric(counted, 1.0);
    }
    // Where a fault would end the service, there is none.
    for executor in ["threads", "cpu", "", "gpu"] {
        let answer = service.post(&format!("/faults/segfault?executor={executor}"), b"");
        assert_eq!(answer.status, 400, "{executor}");
    }
    assert_thumbnail(&service.post("/thumbnails?executor=strict", &jpeg(40, 40)), 40, 40);
}

#[test]
fn a_client_that_hangs_up_cancels_its_job() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=600"]);
    let cancelled = "loopool_pool_jobs_total{pool=\"processes\",outcome=\"cancelled\"}";
    for round in 1..=3 {
        let mut connection = service.connect();
        connection.send("POST", "/faults/hang", &[], b"");
        service.wait_for_metric(RUNNING, 1.0);
        drop(connection);
        service.wait_for_metric(cancelled, f64::from(round));
        service.wait_for_metric(RUNNING, 0.0);
        // The only worker is free again.
        assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);
    }
    assert_eq!(service.metric("service_hung_up_total"), 3.0);
    assert_eq!(service.metric("service_requests_in_flight"), 1.0, "the one that asks this");
}

/// The worker that is busy, told by the time it has computed.
fn busy_worker(service: &Service) -> Process {
    let mut found = None;
    eventually("a worker to be busy", || {
        found = service.processes().into_iter().find(|process| process.cpu_ticks() > 20);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_worker_that_is_killed_costs_the_request_it_was_at() {
    let service = Service::start(&["--faults", "--processes=2", "--job-timeout=600"]);
    let mut victim = service.connect();
    victim.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let worker = busy_worker(&service);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);
                    }
                })
            })
            .collect();
        send_signal(worker.pid, libc::SIGKILL);
        for other in others {
            other.join().unwrap();
        }
    });
    let answer = victim.answer();
    let told = answer.json();
    assert_eq!((answer.status, &told["signal"]), (500, &json!(9)), "{told}");
    eventually("the dead worker to be gone", || !worker.is_alive() && !worker.is_zombie());
}
