//! A loop that computes instead of turning costs nobody else his answer.

use std::thread::ScopedJoinHandle;

use crate::client::Answer;
use crate::harness::{Service, eventually};

/// More than enough for them to be spread over both loops.
const CLIENTS: usize = 20;
const REQUESTS: usize = 5;

fn start() -> Service {
    Service::start(&["--faults", "--loops=2", "--processes=1"])
}

/// How many loops are stuck in what blocks them.
fn stuck(service: &Service) -> usize {
    let named = |line: &&str| {
        line.starts_with("loopool_loop_stuck_seconds{")
            && line.contains(r#"task="blocks its loop""#)
            && line.contains("blocked.rs")
    };
    service.get("/metrics").text().lines().filter(named).count()
}

/// Many clients are answered while so many loops are blocked at once.
fn nobody_is_held_up_by(fault: &str, loops: usize) {
    let service = start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| service.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("GET", "/healthz", &[], b"").text(), "ok\n");
    }
    let mut blocking = service.connect();
    // Much longer than clients wait. The service is killed before.
    blocking.send("POST", &format!("/faults/{fault}?milliseconds=60000"), &[], b"");
    eventually("the loops to be blocked", || stuck(&service) == loops);
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                for _ in 0..REQUESTS {
                    assert_eq!(client.ask("GET", "/healthz", &[], b"").text(), "ok\n");
                }
            });
        }
    });
    assert_eq!(stuck(&service), loops, "they were blocked all the time");
}

#[test]
fn one_blocked_loop_of_two_holds_nobody_up() {
    nobody_is_held_up_by("block-loop", 1);
}

#[test]
fn all_loops_blocked_hold_nobody_up() {
    nobody_is_held_up_by("block-all-loops", 2);
}

#[test]
fn the_culprit_is_named_while_it_is_stuck() {
    let service = start();
    for (fault, loops) in [("block-loop", 1), ("block-all-loops", 2)] {
        // Longer, if the machine was too busy for that to be seen.
        let seen = [500, 2000, 8000, 32_000].into_iter().any(|milliseconds| {
            let path = format!("/faults/{fault}?milliseconds={milliseconds}");
            std::thread::scope(|scope| {
                let blocking = scope.spawn(|| service.post(&path, b""));
                let seen = is_seen_stuck(&service, loops, &blocking);
                let answer = blocking.join().unwrap();
                assert_eq!(
                    (answer.status, answer.json()["loops"].as_u64()),
                    (200, Some(loops as u64))
                );
                seen
            })
        });
        assert!(seen, "it was over before it was named");
        // The task has answered a moment before it returns.
        eventually("the loops to go on", || stuck(&service) == 0);
    }
}

fn is_seen_stuck(service: &Service, loops: usize, blocking: &ScopedJoinHandle<'_, Answer>) -> bool {
    while !blocking.is_finished() {
        if stuck(service) == loops {
            return true;
        }
    }
    false
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
