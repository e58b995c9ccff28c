use std::time::{Duration, Instant};

use super::*;
use crate::process::{CrashCause, ProcessPoolExecutor};
use crate::{Executor, call};

/// Only a hang lasts so long.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn tokens_name_their_source() {
    for (index, kind) in SOURCES.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
        assert_eq!(source(token(kind, 12_345)), Some((kind, 12_345)));
    }
    assert_eq!(source(7), None);
}

/// Says that it has been begun.
fn block(path: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b".").unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_worker_that_was_killed_for_its_memory_took_the_answer_of_the_job_before_with_it() {
    let pool = ProcessPoolExecutor::new(1).unwrap();
    pool.submit(call(|n: u32| n, 1)).unwrap().result(HANG).unwrap();
    let shared = pool.shared().clone();
    // Nobody turns from now on.
    let serving = shared.clone().serve().unwrap();
    let with_worker = |f: &mut dyn FnMut(&mut Manager, u64)| {
        let mut turn = shared.turn();
        let manager = turn.as_mut().unwrap();
        let (&serial, _) = manager.workers.first_key_value().unwrap();
        f(manager, serial);
    };
    with_worker(&mut |manager, serial| {
        // As after many short jobs: the next ones are given ahead.
        let worker = manager.workers.get_mut(&serial).unwrap();
        (0..50).for_each(|_| worker.window.note(Duration::from_micros(1), 1));
    });
    let path = std::env::temp_dir().join(format!("loopool-manager-{}", std::process::id()));
    let long = |n: u8| vec![n; 5 << 20];
    let mut long = pool.submit(call(long, 7)).unwrap();
    let mut greedy = pool.submit(call(block, path.display().to_string())).unwrap();
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < HANG, "it was not given ahead");
        std::thread::sleep(Duration::from_millis(1));
    }
    with_worker(&mut |manager, serial| {
        let worker = manager.workers.get_mut(&serial).unwrap();
        assert!(worker.has_answers() && worker.next_is_long());
        worker.evidence.verdict = Some(CrashCause::OutOfMemory);
        manager.put_down(serial);
    });
    drop(serving);
    assert_eq!(long.result(HANG).unwrap(), vec![7; 5 << 20]);
    let error = greedy.result(HANG).unwrap_err();
    assert_eq!(error.crash().map(|it| it.cause), Some(CrashCause::OutOfMemory), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b".", "it was run once");
    std::fs::remove_file(path).unwrap();
}
