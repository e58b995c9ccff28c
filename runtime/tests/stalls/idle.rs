//! What it costs when nothing happens.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use loopool::{Runtime, create_task, to_thread};

use crate::support::{Blocker, HANG, builder, wait_until};

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
        // It may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let counts = status.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.ends_with("ctxt_switches").then(|| value.trim().parse::<u64>().unwrap())
        });
        switches += counts.sum::<u64>();
    }
    (threads, switches)
}

/// Waits until all threads of the runtime sleep, and go on sleeping.
fn wait_until_nothing_happens(prefix: &str) {
    let same = || {
        let before = switches(prefix);
        thread::sleep(Duration::from_millis(300));
        let after = switches(prefix);
        // The other loop, the watch thread and at least one spare worker at rest. The system's list leaves
        // one out now and then, while threads of other tests end.
        (3..=4).contains(&after.0) && before == after
    };
    // The watch thread stays awake for a second.
    wait_until(prefix, same);
}

/// A runtime that has all its threads.
fn runtime(name: &str) -> Runtime {
    let runtime = builder(2).thread_name(name).build().unwrap();
    runtime.run_until_complete(async {
        let blocker = Blocker::start();
        let (send, receive) = mpsc::channel();
        drop(create_task(async move { send.send(()) }));
        receive.recv_timeout(HANG).unwrap();
        blocker.release().await;
    });
    runtime
}

#[test]
fn nothing_happens_in_an_idle_runtime() {
    thread::scope(|scope| {
        scope.spawn(|| {
            runtime("driven").run(async {
                to_thread(|| wait_until_nothing_happens("driven-")).await.unwrap();
            });
        });
        // While nobody drives the main loop, too.
        let _left = runtime("left");
        wait_until_nothing_happens("left-");
    });
}
