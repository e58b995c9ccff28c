//! What it costs when nothing happens.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use loopool::create_task;

use crate::support::{Blocker, HANG, builder};

/// Counts how often the threads of this runtime were switched away from.
fn switches(prefix: &str) -> (usize, u64) {
    let (mut threads, mut switches) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        if !name.starts_with(prefix) {
            continue;
        }
        threads += 1;
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let counts = status.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.ends_with("ctxt_switches").then(|| value.trim().parse::<u64>().unwrap())
        });
        switches += counts.sum::<u64>();
    }
    (threads, switches)
}

#[test]
fn nothing_happens_in_an_idle_runtime() {
    let runtime = builder(2).thread_name("quiet").build().unwrap();
    let idle = |driven: bool| {
        // The watch thread stays awake for a second.
        thread::sleep(Duration::from_millis(1500));
        let before = switches("quiet-");
        thread::sleep(Duration::from_secs(1));
        let after = switches("quiet-");
        // The other loop, the watch thread and at least one spare worker at rest.
        assert!((3..=4).contains(&before.0), "driven: {driven}: {before:?}");
        assert!(after.1 - before.1 < 5, "driven: {driven}: {before:?} {after:?}");
    };
    let looker = runtime.run_until_complete(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move { send.send(()) }));
        receive.recv_timeout(HANG).unwrap();
        blocker.release().await;
        loopool::to_thread(move || {
            idle(true);
            idle
        })
        .await
        .unwrap()
    });
    // While nobody drives the main loop, too.
    looker(false);
}
