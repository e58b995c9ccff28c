//! A loop that computes instead of turning costs nobody else his answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::Service;

/// More than enough for them to be spread over both loops.
const CLIENTS: usize = 20;
const REQUESTS: u64 = 20;

/// How many requests were answered while so many loops were blocked at once.
fn answered_while_blocked(fault: &str, loops: usize) -> u64 {
    let service = Service::start(&["--faults", "--loops=2", "--processes=1"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| service.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("GET", "/healthz", &[], b"").text(), "ok\n");
    }
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let blocking = scope.spawn(|| {
            let answer = service.post(&format!("/faults/{fault}?milliseconds=8000"), b"");
            over.store(true, Ordering::SeqCst);
            answer
        });
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..REQUESTS {
                    assert_eq!(client.ask("GET", "/healthz", &[], b"").text(), "ok\n");
                    if !over.load(Ordering::SeqCst) {
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    // Some are sent when the loops are blocked for certain.
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            });
        }
        let answer = blocking.join().unwrap();
        assert_eq!((answer.status, answer.json()["loops"].as_u64()), (200, Some(loops as u64)));
    });
    answered.into_inner()
}

#[test]
fn one_blocked_loop_of_two_holds_nobody_up() {
    assert_eq!(answered_while_blocked("block-loop", 1), CLIENTS as u64 * REQUESTS);
}

#[test]
fn all_loops_blocked_hold_nobody_up() {
    assert_eq!(answered_while_blocked("block-all-loops", 2), CLIENTS as u64 * REQUESTS);
}

#[test]
fn the_culprit_is_named_while_it_is_stuck() {
    let service = Service::start(&["--faults", "--loops=2", "--processes=1"]);
    std::thread::scope(|scope| {
        let blocking =
            scope.spawn(|| service.post("/faults/block-loop?milliseconds=4000", b"").status);
        let named = |line: &str| {
            line.starts_with("loopool_loop_stuck_seconds{")
                && line.contains(r#"task="blocks its loop""#)
                && line.contains("blocked.rs")
        };
        let mut seen = false;
        while !seen && !blocking.is_finished() {
            seen = service.get("/metrics").text().lines().any(named);
        }
        assert!(seen, "it was over before it was named");
        assert_eq!(blocking.join().unwrap(), 200);
    });
    let after = service.get("/metrics");
    let after = after.text();
    assert!(!after.lines().any(|line| line.starts_with("loopool_loop_stuck_seconds{")), "{after}");
}

#[test]
fn loops_are_blocked_only_where_faults_are_on() {
    let service = Service::start(&["--processes=1"]);
    for fault in ["block-loop", "block-all-loops"] {
        assert_eq!(service.post(&format!("/faults/{fault}"), b"").status, 404);
    }
    let service = Service::start(&["--processes=1", "--faults"]);
    for time in ["-1", "", "soon", "60001", "1.5"] {
        let answer = service.post(&format!("/faults/block-loop?milliseconds={time}"), b"");
        assert_eq!(answer.status, 400, "{time}");
    }
    assert_eq!(service.post("/faults/block-loop?milliseconds=0", b"").status, 200);
    assert_eq!(service.get("/faults/block-loop").status, 405);
}
