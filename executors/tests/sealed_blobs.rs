//! Blobs that are not copied on their way: the memory that both sides read is the same, as its inode says.

mod common;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{outcome, run, until};
use loopool_executors::{
    Blob, BlobBuf, Executor, JobOptions, Process, ProcessPoolError, ProcessPoolExecutor, Retry,
    Sandbox, call,
};

/// No test comes near this unless something hangs.
const HANG: Duration = Duration::from_secs(120);

/// Larger than what is laid out on the board.
const LEN: usize = 5 << 20;

/// How many of them go with a message.
const MOST: usize = 64;

/// Descriptors are counted, and there are only so many for blobs: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn filled(byte: u8, len: usize) -> Blob {
    let mut buf = BlobBuf::zeroed(len);
    buf.fill(byte);
    buf.freeze()
}

fn is_full_of(byte: u8, blob: &Blob) -> bool {
    blob.iter().all(|other| *other == byte)
}

/// The file that the bytes lie in: the same number in each process that has it, and in no other file. 0 when they lie in
/// none.
fn inode(bytes: &[u8]) -> u64 {
    let at = bytes.as_ptr().addr();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        (bound(start)..bound(end)).contains(&at)
    });
    line.map_or(0, |line| line.split_whitespace().nth(4).unwrap().parse().unwrap())
}

/// The file that an argument lies in, and the argument.
fn inode_and_back(blob: Blob) -> (u64, Blob) {
    (inode(&blob), blob)
}

/// A new blob, and its file.
fn make((byte, len): (u8, usize)) -> (u64, Blob) {
    let blob = filled(byte, len);
    (inode(&blob), blob)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn both_ways_it_is_the_same_memory() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let blob = filled(7, LEN);
    let (theirs, back) = run(&pool, inode_and_back, blob.clone());
    assert_eq!((theirs, inode(&back)), (inode(&blob), inode(&blob)));
    assert!(is_full_of(7, &back));
    let (theirs, made) = run(&pool, make, (3, LEN));
    assert_eq!(inode(&made), theirs);
    assert!(is_full_of(3, &made) && theirs != inode(&back));
    // And on to another one.
    let other = ProcessPoolExecutor::new(1).unwrap();
    let (again, _) = run(&other, inode_and_back, made);
    assert_eq!(again, theirs);
    // As a check of the check: other blobs lie elsewhere.
    let (theirs, back) = run(&pool, inode_and_back, Blob::from(vec![7; LEN]));
    assert!(theirs != 0 && inode(&back) != theirs);
}

#[test]
fn it_crosses_at_every_length() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for len in [0, 1, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20] {
        let blob = filled(9, len);
        let (theirs, back) = run(&pool, inode_and_back, blob.clone());
        assert_eq!((back.len(), is_full_of(9, &back)), (len, true));
        assert_eq!(theirs != 0 && theirs == inode(&blob), len >= 65_536, "{len}");
    }
}

type Nested = Vec<(String, Option<Blob>, Vec<Blob>)>;

#[test]
fn they_cross_wherever_they_are_nested_beside_others() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let shared = filled(1, 1 << 20);
    let value: Nested = (0..12u8)
        .map(|n| {
            let plain = Blob::from(vec![n; usize::from(n) * 400_000]);
            let sealed = filled(n, 70_000 + usize::from(n));
            (n.to_string(), (n % 2 == 0).then(|| shared.clone()), vec![plain, sealed])
        })
        .collect();
    let inodes = |value: Nested| -> (Vec<u64>, Nested) {
        let sealed = value.iter().flat_map(|(_, shared, more)| shared.iter().chain([&more[1]]));
        (sealed.map(|blob| inode(blob)).collect(), value)
    };
    let expected = inodes(value.clone()).0;
    for _ in 0..3 {
        let (theirs, back) = run(&pool, inodes, value.clone());
        assert_eq!((&theirs, &inodes(back.clone()).0), (&expected, &expected));
        assert!(back == value);
    }
}

#[test]
fn more_than_go_with_a_message_are_copied() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let blobs: Vec<Blob> = (0..MOST + 10).map(|n| filled(n as u8, 70_000)).collect();
    let ours: Vec<u64> = blobs.iter().map(|blob| inode(blob)).collect();
    let inodes = |blobs: Vec<Blob>| -> (Vec<u64>, Vec<Blob>) {
        (blobs.iter().map(|blob| inode(blob)).collect(), blobs)
    };
    let (theirs, back) = run(&pool, inodes, blobs.clone());
    assert_eq!(theirs[..MOST], ours[..MOST]);
    assert!(theirs[MOST..].iter().all(|theirs| !ours.contains(theirs)));
    assert!(back == blobs);
}

#[test]
fn several_workers_share_one_at_once() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(3).unwrap();
    let blob = filled(5, LEN);
    let look = |(blob, path): (Blob, std::path::PathBuf)| {
        std::fs::write(path.join(std::process::id().to_string()), "").unwrap();
        // All three have it.
        until("three at once", || std::fs::read_dir(&path).unwrap().count() == 3);
        assert!(is_full_of(5, &blob));
        (std::process::id(), inode(&blob))
    };
    let path = std::env::temp_dir().join(format!("loopool-sealed-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let submit = |_| pool.submit(call(look, (blob.clone(), path.clone()))).unwrap();
    let jobs: Vec<_> = (0..3).map(submit).collect();
    let seen: Vec<_> = jobs.into_iter().map(|job| outcome(job).unwrap()).collect();
    std::fs::remove_dir_all(&path).unwrap();
    assert!(seen.iter().all(|(_, theirs)| *theirs == inode(&blob)));
    let pids: std::collections::HashSet<u32> = seen.iter().map(|(pid, _)| *pid).collect();
    assert_eq!(pids.len(), 3);
}

static KEPT: Mutex<Vec<Blob>> = Mutex::new(Vec::new());

#[test]
fn a_worker_may_keep_one_and_return_it_later() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    for n in 0..20u8 {
        let keep = |blob: Blob| KEPT.lock().unwrap().push(blob);
        run(&pool, keep, filled(n, 100_000 + usize::from(n)));
        // Something else, where the others go.
        let plain = Blob::from(vec![n; LEN]);
        run(&pool, |blob: Blob| blob.len(), plain);
    }
    let kept = run(&pool, |()| KEPT.lock().unwrap().clone(), ());
    assert!(kept.len() == 20 && kept.iter().zip(0..).all(|(blob, n)| is_full_of(n, blob)));
}

#[test]
fn descriptors_and_memory_are_given_back() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(2).unwrap();
    let round = |jobs: u32| {
        for _ in 0..jobs / 4 {
            let submit = |_| pool.submit(call(make_of, filled(1, 100_000))).unwrap();
            let jobs: Vec<_> = (0..4).map(submit).collect();
            jobs.into_iter().for_each(|job| assert!(is_full_of(2, &outcome(job).unwrap())));
        }
    };
    let theirs = || {
        let count = |_: ()| (std::process::id(), descriptors());
        let all: std::collections::BTreeMap<_, _> =
            (0..40).map(|_| run(&pool, count, ())).collect();
        all
    };
    round(100);
    let (ours, before) = (descriptors(), theirs());
    round(1000);
    until("our old number of descriptors", || descriptors() <= ours);
    for (pid, count) in theirs() {
        assert!(before.get(&pid).is_none_or(|before| *before == count), "{before:?}");
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("loopool-blob"), "{maps}");
}

fn make_of(blob: Blob) -> Blob {
    filled(blob[0] + 1, blob.len())
}

#[test]
fn a_worker_that_dies_with_one_costs_its_job_and_no_descriptor() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let blob = filled(1, LEN);
    run(&pool, inode_and_back, blob.clone());
    until("the worker", || pool.worker_pids().len() == 1);
    let before = descriptors();
    for _ in 0..10 {
        let die = |_blob: Blob| -> Blob {
            let _made = filled(2, LEN);
            std::process::abort()
        };
        let died = outcome(pool.submit(call(die, blob.clone())).unwrap());
        assert_eq!(died.unwrap_err().crash().unwrap().signal, Some(libc::SIGABRT));
        let (theirs, _) = run(&pool, inode_and_back, blob.clone());
        assert_eq!(theirs, inode(&blob));
    }
    until("the old number of descriptors", || descriptors() <= before);
}

#[test]
fn a_job_that_is_tried_again_gets_it_again() {
    let _alone = alone();
    let options = JobOptions::new().retry(Retry::new(3).on_crash().idempotent());
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let path = std::env::temp_dir().join(format!("loopool-again-{}", std::process::id()));
    let crash_once = |(path, blob): (std::path::PathBuf, Blob)| {
        if std::fs::File::create_new(path).is_ok() {
            std::process::abort();
        }
        (inode(&blob), blob)
    };
    let blob = filled(4, LEN);
    let job = pool.with(options).submit(call(crash_once, (path.clone(), blob.clone()))).unwrap();
    let (theirs, back) = outcome(job).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!((theirs, inode(&back)), (inode(&blob), inode(&blob)));
}

#[test]
fn a_process_of_its_own_gets_and_gives_them() {
    let _alone = alone();
    let argument = (filled(1, LEN), Blob::from(vec![2; LEN]));
    let ours = inode(&argument.0);
    let work = |(sealed, plain): (Blob, Blob)| {
        assert!(is_full_of(1, &sealed) && is_full_of(2, &plain));
        (inode(&sealed), make((3, LEN)), sealed)
    };
    let mut process = Process::new(work, argument).start().unwrap();
    let (theirs, (made, new), back) = process.join(HANG).unwrap();
    assert_eq!((theirs, inode(&back), inode(&new)), (ours, ours, made));
    assert!(is_full_of(3, &new));
}

#[test]
#[cfg_attr(
    loopool_plain_memory,
    ignore = "AddressSanitizer needs more memory than the sandbox lets"
)]
fn the_strictest_sandbox_makes_no_difference() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::builder().workers(1).sandbox(Sandbox::pure());
    let pool = match pool.memory_limit(4 << 30).build() {
        Err(error @ ProcessPoolError::NoSandbox { .. }) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {error}");
            return;
        }
        pool => pool.unwrap(),
    };
    let blob = filled(1, LEN);
    assert_eq!(inode(&run(&pool, |blob: Blob| blob, blob.clone())), inode(&blob));
    let made = run(&pool, |()| filled(2, LEN), ());
    assert!(is_full_of(2, &made));
    let holes = run(&pool, |()| BlobBuf::zeroed(LEN).freeze(), ());
    assert!(is_full_of(0, &holes));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for blob in [&made, &holes] {
        let inode = inode(blob).to_string();
        let is_it = |line: &str| line.contains(&inode) && line.contains("loopool-blob");
        assert!(maps.lines().any(is_it), "made in memory of its own");
    }
}

#[test]
fn with_few_descriptors_they_are_copied() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::builder().workers(1).open_files(16).build().unwrap();
    let blobs: Vec<Blob> = (0..40).map(|n| filled(n, 100_000)).collect();
    let double = |blobs: Vec<Blob>| -> Vec<Blob> {
        blobs.iter().map(|blob| filled(blob[0] * 2, blob.len())).collect()
    };
    for _ in 0..3 {
        let back = run(&pool, double, blobs.clone());
        assert!(back.iter().zip(0..).all(|(blob, n)| is_full_of(n * 2, blob)));
    }
}

#[test]
fn however_many_there_are_descriptors_are_left_for_others() {
    let _alone = alone();
    let pool = ProcessPoolExecutor::new(1).unwrap();
    let before = descriptors();
    let mut blobs: Vec<Blob> = (0..1100).map(|n| filled(n as u8, 65_536)).collect();
    assert!(descriptors() - before <= 1024);
    // There is none for what comes back.
    blobs.extend((0..10).map(|n| run(&pool, make_of, filled(n, 65_536))));
    assert!(descriptors() - before <= 1024 + 10);
    assert!(blobs[1100..].iter().zip(1..).all(|(blob, n)| is_full_of(n, blob)));
    // And the last of ours are copied.
    let (theirs, back) = run(&pool, inode_and_back, blobs[1099].clone());
    assert!(theirs != 0 && back == blobs[1099]);
    drop(blobs);
    let (theirs, _) = run(&pool, inode_and_back, filled(1, LEN));
    assert_ne!(theirs, 0);
}
