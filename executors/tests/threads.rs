//! Threads with a value. How they and the program's end go together is in `exit_rules`.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use loopool_executors::{CpuExecutor, Executor, Thread, ThreadHandle, ThreadPoolExecutor, call};

const HANG: Option<Duration> = Some(Duration::from_secs(120));

#[test]
fn the_value_is_joined_once() {
    let mut thread = Thread::new(|| "a value".to_owned()).start().unwrap();
    assert_eq!(thread.join(HANG).unwrap(), "a value");
    assert!(!thread.is_alive());
    let again = thread.join(HANG).unwrap_err();
    assert!(again.to_string().contains("taken"), "{again}");
    assert_eq!(Thread::new(call(|n: u8| n + 1, 4)).start().unwrap().join(HANG).unwrap(), 5);
}

#[test]
fn a_wait_that_is_over_may_be_repeated() {
    let (end, ended) = mpsc::channel::<()>();
    let mut thread = Thread::new(move || ended.recv().is_ok()).start().unwrap();
    for limit in [Duration::ZERO, Duration::from_millis(5)] {
        let started = Instant::now();
        let error = thread.join(Some(limit)).unwrap_err();
        assert!(error.is_wait_timeout() && !error.is_timeout(), "{error}");
        assert!(started.elapsed() >= limit);
        assert!(thread.is_alive());
    }
    end.send(()).unwrap();
    assert!(thread.join(HANG).unwrap());
}

#[test]
fn a_panic_is_the_joins_error_with_its_payload() {
    let panics = || -> u8 { std::panic::panic_any(17_u64) };
    let error = Thread::new(panics).start().unwrap().join(HANG).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(*error.into_panic().unwrap().downcast::<u64>().unwrap(), 17);
}

#[test]
fn a_thread_cannot_join_itself() {
    let (give, given) = mpsc::channel::<ThreadHandle<bool>>();
    let (tell, told) = mpsc::channel();
    let itself = move || {
        let mut me = given.recv().unwrap();
        tell.send(me.join(None).unwrap_err()).unwrap();
        me.is_alive()
    };
    let thread = Thread::new(itself).start().unwrap();
    give.send(thread).unwrap();
    let error = told.recv_timeout(HANG.unwrap()).unwrap();
    assert!(error.is_self_join(), "{error}");
}

#[test]
fn names_reach_the_system() {
    let name = || std::thread::current().name().map(str::to_owned);
    let mut named = Thread::new(name).name("a\0 name").start().unwrap();
    assert_eq!(named.name(), "a name");
    assert_eq!(named.join(HANG).unwrap().as_deref(), Some("a name"));
    let mut other = Thread::new(name).start().unwrap();
    let expected = other.name().to_owned();
    assert!(expected.starts_with("Thread-"), "{expected}");
    assert_eq!(other.join(HANG).unwrap(), Some(expected));
}

#[test]
fn a_nul_in_the_names_of_a_pools_threads_made_it_panic() {
    let name = || std::thread::current().name().map(str::to_owned);
    let threads = ThreadPoolExecutor::builder().thread_name_prefix("a\0b").build();
    let cores = CpuExecutor::builder().threads(1).thread_name_prefix("a\0b").build().unwrap();
    let names = [threads.submit(name), cores.submit(name)];
    let names = names.map(|job| job.unwrap().result(HANG).unwrap());
    assert_eq!(names, [Some("ab-0".to_owned()), Some("ab-0".to_owned())]);
}

/// What a thread is that is started here, without being told.
fn flag_of_a_new_one() -> bool {
    let mut thread = Thread::new(|| ()).start().unwrap();
    thread.join(HANG).unwrap();
    thread.is_daemon()
}

#[test]
fn the_flag_is_the_starters_if_that_is_a_thread() {
    assert!(!flag_of_a_new_one());
    assert!(!std::thread::spawn(flag_of_a_new_one).join().unwrap());
    let pool = ThreadPoolExecutor::new(1);
    assert!(!pool.submit(flag_of_a_new_one).unwrap().result(HANG).unwrap());
    for is_daemon in [false, true] {
        let mut starter = Thread::new(flag_of_a_new_one).daemon(is_daemon).start().unwrap();
        assert_eq!(starter.is_daemon(), is_daemon);
        assert_eq!(starter.join(HANG).unwrap(), is_daemon);
    }
    // It can be overridden, and then it is that one's.
    let other =
        || Thread::new(flag_of_a_new_one).daemon(false).start().unwrap().join(HANG).unwrap();
    assert!(!Thread::new(other).daemon(true).start().unwrap().join(HANG).unwrap());
}

/// Counts those that were dropped, after a while.
struct Slow(Arc<AtomicUsize>);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(30));
        self.0.fetch_add(1, SeqCst);
    }
}

thread_local!(static KEPT: RefCell<Vec<Slow>> = const { RefCell::new(Vec::new()) });

#[test]
fn a_join_comes_after_the_thread_locals_are_destroyed() {
    for is_daemon in [false, true] {
        let count = Arc::new(AtomicUsize::new(0));
        let kept = Slow(count.clone());
        let keep = move || KEPT.with_borrow_mut(|all| all.push(kept));
        let mut thread = Thread::new(keep).daemon(is_daemon).start().unwrap();
        thread.join(HANG).unwrap();
        assert_eq!(count.load(SeqCst), 1);
    }
}

#[test]
fn a_dropped_handle_lets_the_thread_go_on() {
    let (give, given) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let late = move || {
        gone.recv().unwrap();
        give.send(3).unwrap();
    };
    drop(Thread::new(late).start().unwrap());
    go.send(()).unwrap();
    assert_eq!(given.recv_timeout(HANG.unwrap()), Ok(3));
}

#[test]
fn a_value_nobody_joins_is_dropped_even_if_it_panics() {
    struct Bomb(mpsc::Sender<()>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            panic!("by the test's rule");
        }
    }
    let (tell, told) = mpsc::channel();
    drop(Thread::new(move || Bomb(tell)).start().unwrap());
    told.recv_timeout(HANG.unwrap()).unwrap();
}

#[test]
fn work_that_was_not_started_can_be_had_back() {
    let barrier = Arc::new(Barrier::new(1));
    let thread = Thread::new({
        let barrier = barrier.clone();
        move || barrier.wait().is_leader()
    });
    assert_eq!(Arc::strong_count(&barrier), 2);
    assert!(thread.into_work()());
    assert_eq!(Arc::strong_count(&barrier), 1);
}

/// Many start and end at once.
#[test]
fn many_are_started_and_joined_at_once() {
    let sum = Arc::new(Mutex::new(0));
    let starters: Vec<_> = (0..4)
        .map(|_| {
            let sum = sum.clone();
            let starter = move || {
                for n in 0..50 {
                    let sum = sum.clone();
                    let add = move || *sum.lock().unwrap() += n;
                    Thread::new(add).start().unwrap().join(HANG).unwrap();
                }
            };
            Thread::new(starter).start().unwrap()
        })
        .collect();
    starters.into_iter().for_each(|mut thread| thread.join(HANG).unwrap());
    assert_eq!(*sum.lock().unwrap(), 4 * (0..50).sum::<i32>());
}
