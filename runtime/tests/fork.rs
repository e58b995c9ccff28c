//! What a fork of the process may do with the loops of its parent: nothing, and the parent does not
//! notice. This test is its own harness, so that it forks from where it wants to.

#![allow(clippy::print_stdout, reason = "the harness is our own")]

use std::cell::Cell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::{AsyncReadExt, AsyncWriteExt};
use loopool::net::{TcpListener, TcpStream};
use loopool::signal::{SIGUSR2, Signal};
use loopool::{
    CpuExecutor, EventLoop, Executor, Forked, Job, JobOptions, ProcessPoolExecutor, RejectReason,
    Rejected, Runtime, Thread, ThreadPoolExecutor, Work, block_in_place, call, create_task,
    get_running_loop, panic_message, sleep, spawn_on, timeout, to_thread, yield_now,
};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Nothing here takes this long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(30);

fn main() {
    let scenarios: [(&str, fn()); 12] = [
        ("between_two_runs", between_two_runs),
        ("inside_a_task_of_the_main_loop", inside_a_task_of_the_main_loop),
        ("inside_a_callback", inside_a_callback),
        ("inside_a_task_of_a_worker", inside_a_task_of_a_worker),
        ("a_worker_that_goes_on_in_the_child_ends_it", a_worker_that_goes_on_in_the_child_ends_it),
        (
            "a_spare_worker_that_goes_on_in_the_child_ends_it",
            a_spare_worker_that_goes_on_in_the_child_ends_it,
        ),
        ("from_a_plain_thread", from_a_plain_thread),
        ("wakes_in_the_child_wake_nobody", wakes_in_the_child_wake_nobody),
        ("deadlines_ring_in_a_child", deadlines_ring_in_a_child),
        ("each_process_hears_of_its_own_signals", each_process_hears_of_its_own_signals),
        ("executors_of_the_parent_refuse", executors_of_the_parent_refuse),
        ("while_threads_and_pools_come_and_go", while_threads_and_pools_come_and_go),
    ];
    let filter = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    for (name, scenario) in scenarios {
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            scenario();
            println!("test {name} ... ok");
        }
    }
}

/// Forks. The child does `child` and ends well, unless that panics.
fn forked(child: impl FnOnce()) -> Pid {
    match fork_now() {
        Some(pid) => pid,
        None => end(catch_unwind(AssertUnwindSafe(child)).is_ok()),
    }
}

/// The child, or none to the child.
fn fork_now() -> Option<Pid> {
    // SAFETY: the child allocates, which the C library sees to, and calls what is under test.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => None,
        ForkResult::Parent { child } => Some(child),
    }
}

/// Ends a child, without what the parent wants to be done at exit.
fn end(well: bool) -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(i32::from(!well)) }
}

fn status_of(child: Pid) -> WaitStatus {
    let begun = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive if begun.elapsed() < HANG => {
                std::thread::sleep(Duration::from_millis(1));
            }
            WaitStatus::StillAlive => {
                let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                let _ = waitpid(child, None);
                panic!("a child hung");
            }
            status => return status,
        }
    }
}

fn ended_well(child: Pid) {
    assert_eq!(status_of(child), WaitStatus::Exited(child, 0));
}

/// Panics because of the fork, and says so.
fn panics<T>(what: impl FnOnce() -> T) {
    let payload = catch_unwind(AssertUnwindSafe(what)).err().expect("it panics");
    assert_eq!(panic_message(&*payload), TEXT);
}

const TEXT: &str =
    "this process is a fork of the one in which the event loop was made: make a new one here";

fn is_forked_io<T: std::fmt::Debug>(outcome: std::io::Result<T>) {
    let error = outcome.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Forked>());
    assert_eq!(inner.expect("an error that is ours").to_string(), TEXT);
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// The other end of a stream, on some loop of its own.
async fn echo(stream: TcpStream) {
    let mut byte = [0];
    while (&stream).read(&mut byte).await.unwrap() > 0 {
        (&stream).write_all(&byte).await.unwrap();
    }
}

async fn talk(stream: &TcpStream) {
    for sent in 0..50 {
        let mut stream = stream;
        stream.write_all(&[sent]).await.unwrap();
        let mut got = [0];
        timeout(HANG, stream.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, [sent]);
    }
}

/// A runtime at work: connections on both loops, a signal, a pool with a thread.
struct Parent {
    runtime: Runtime,
    stream: TcpStream,
    signal: Signal,
}

impl Parent {
    fn new() -> Self {
        let runtime = Runtime::builder().loops(2).build().unwrap();
        let (stream, mut signal) = runtime.run_until_complete(async {
            let (client, server) = pair().await;
            // Registered on the other loop, and on ours.
            drop(spawn_on(1, move || echo(server)).unwrap());
            talk(&client).await;
            let mut signal = Signal::new(SIGUSR2).unwrap();
            assert!(timeout(Duration::from_millis(1), signal.recv()).await.is_err());
            to_thread(|| ()).await.unwrap();
            (client, signal)
        });
        let mut byte = [0];
        let wait = async {
            let mut reader = &stream;
            assert!(timeout(Duration::from_millis(1), reader.read(&mut byte)).await.is_err());
            assert!(timeout(Duration::from_millis(1), signal.recv()).await.is_err());
        };
        runtime.run_until_complete(wait);
        Parent { runtime, stream, signal }
    }

    /// Everything goes on as if nothing had happened.
    fn goes_on(mut self) {
        self.runtime.run_until_complete(async {
            talk(&self.stream).await;
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
            timeout(HANG, self.signal.recv()).await.unwrap().unwrap();
            sleep(Duration::from_millis(1)).await;
            create_task(async { yield_now().await }).await.unwrap();
            spawn_on(1, || async { yield_now().await }).unwrap().await.unwrap();
            to_thread(|| ()).await.unwrap();
        });
    }

    /// In a child, outside of the loops: everything fails, and the end of it all does nothing.
    fn use_in_vain(self) {
        let Parent { runtime, stream, mut signal } = self;
        let (handle, remote) = (runtime.handle(), runtime.threadsafe_handle());
        let mut byte = [0];
        is_forked_io(block_on((&stream).read(&mut byte)));
        is_forked_io(block_on(signal.recv()));
        panics(|| runtime.run_until_complete(async {}));
        assert!(runtime.metrics().loops.is_empty());
        refuses_tasks(|future| handle.create_task(future));
        refuses_tasks(|future| handle.create_local_task(future));
        refuses_tasks(|future| remote.create_task(future));
        for index in 0..2 {
            refuses_tasks(|future| runtime.handle().spawn_on(index, move || future).unwrap());
        }
        panics(|| handle.call_soon(|| ()));
        panics(|| handle.call_later(Duration::ZERO, || ()));
        assert!(remote.call_soon_threadsafe(|| ()).unwrap_err().is_forked());
        let refused = remote.run_coroutine_threadsafe(async {}).result(HANG).unwrap_err();
        assert!(refused.is_rejected() && refused.to_string().contains("fork"), "{refused}");
        drop(stream);
        drop(signal);
        drop(handle);
        drop(runtime);
        assert!(remote.call_soon_threadsafe(|| ()).unwrap_err().is_forked());
        drop(remote);
    }
}

/// The future is dropped unpolled, and the handle says why.
fn refuses_tasks(spawn: impl FnOnce(Unwanted) -> loopool::Task<()>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let outcome = block_on(spawn(Unwanted(drops.clone())));
    assert_eq!(drops.load(SeqCst), 1);
    let error = outcome.unwrap_err();
    assert!(error.is_forked() && !error.is_cancelled(), "{error}");
    assert_eq!(error.to_string(), TEXT);
}

struct Unwanted(Arc<AtomicUsize>);

impl Future for Unwanted {
    type Output = ();
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        unreachable!("polled in a child")
    }
}

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// What a child makes itself works.
fn a_runtime_of_its_own() {
    let runtime = Runtime::builder().loops(2).build().unwrap();
    runtime.run(async {
        let (client, server) = pair().await;
        let served = create_task(echo(server));
        talk(&client).await;
        drop(client);
        served.await.unwrap();
        assert_eq!(to_thread(|| 7).await.unwrap(), 7);
    });
}

fn between_two_runs() {
    let parent = Parent::new();
    match fork_now() {
        None => {
            let child = move || {
                parent.use_in_vain();
                a_runtime_of_its_own();
            };
            end(catch_unwind(AssertUnwindSafe(child)).is_ok());
        }
        Some(child) => {
            ended_well(child);
            parent.goes_on();
        }
    }
}

/// In a child, inside a task.
fn nothing_works_inside(stream: &TcpStream) {
    // A socket that is known here.
    let mut byte = [0];
    is_forked_io(block_on(async { (&mut &*stream).read(&mut byte).await }));
    is_forked_io(block_on(async { (&mut &*stream).write_all(&[255]).await }));
    is_forked_io(stream.shutdown(std::net::Shutdown::Write));
    // One that is not.
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    is_forked_io(block_on(listener.accept()));
    refuses_tasks(|future| create_task(future));
    refuses_tasks(|future| loopool::create_local_task(future));
    refuses_tasks(|future| spawn_on(1, move || future).unwrap());
    panics(|| block_on(sleep(Duration::from_millis(1))));
    panics(|| to_thread(|| ()));
    panics(|| get_running_loop().call_soon(|| ()));
    assert!(loopool::metrics().loops.is_empty());
    let other = get_running_loop().threadsafe();
    assert!(other.call_soon_threadsafe(|| ()).unwrap_err().is_forked());
}

fn inside_a_task_of_the_main_loop() {
    let parent = Parent::new();
    let child = Rc::new(Cell::new(None));
    let forking = async {
        let timer = create_task(sleep(Duration::from_secs(3600)));
        yield_now().await;
        child.set(fork_now());
        if child.get().is_none() {
            let inside = || nothing_works_inside(&parent.stream);
            if catch_unwind(AssertUnwindSafe(inside)).is_err() {
                end(false);
            }
            // What was under way.
            timer.cancel();
            drop(timer);
            // Goes back to the loop, which does not go on.
            pending::<()>().await;
        }
    };
    let ran = catch_unwind(AssertUnwindSafe(|| parent.runtime.run_until_complete(forking)));
    match child.get() {
        None => {
            let said = panic_message(&*ran.unwrap_err()) == TEXT;
            let left = || parent.use_in_vain();
            end(said && catch_unwind(AssertUnwindSafe(left)).is_ok());
        }
        Some(child) => {
            ran.unwrap();
            ended_well(child);
            parent.goes_on();
        }
    }
}

fn inside_a_callback() {
    let event_loop = EventLoop::new().unwrap();
    let child = Rc::new(Cell::new(None));
    let (seen, dropped) = (child.clone(), Rc::new(Cell::new(0)));
    struct Count(Rc<Cell<u32>>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let guard = Count(dropped.clone());
    let waiting = event_loop.handle().create_local_task(async move {
        let _guard = guard;
        sleep(Duration::from_secs(3600)).await;
    });
    event_loop.run_until_complete(yield_now()).unwrap();
    event_loop.handle().call_soon(move || {
        seen.set(fork_now());
        get_running_loop().stop();
    });
    let ran = event_loop.run_forever();
    match child.get() {
        None => {
            let left = || {
                assert!(ran.unwrap_err().is_forked());
                let again = event_loop.run_until_complete(async {}).unwrap_err();
                assert!(again.is_forked() && !again.is_closed(), "{again}");
                event_loop.close();
                drop(event_loop);
                assert_eq!(dropped.get(), 0, "it is the parent's");
                assert!(!waiting.is_finished());
                waiting.cancel();
                drop(waiting);
                let own = EventLoop::new().unwrap();
                own.run_until_complete(sleep(Duration::from_millis(1))).unwrap();
            };
            end(catch_unwind(AssertUnwindSafe(left)).is_ok());
        }
        Some(child) => {
            ran.unwrap();
            ended_well(child);
            event_loop.run_until_complete(sleep(Duration::from_millis(1))).unwrap();
            event_loop.close();
            assert_eq!(dropped.get(), 1);
        }
    }
}

fn inside_a_task_of_a_worker() {
    let parent = Parent::new();
    let (send, receive) = mpsc::channel();
    let task = parent.runtime.handle().spawn_on(1, move || async move {
        let (client, server) = pair().await;
        let served = create_task(echo(server));
        talk(&client).await;
        // The child takes no byte of those that come meanwhile.
        send.send(forked(|| nothing_works_inside(&client))).unwrap();
        talk(&client).await;
        drop(client);
        served.await.unwrap();
    });
    ended_well(receive.recv_timeout(HANG).unwrap());
    parent.runtime.run_until_complete(async { task.unwrap().await.unwrap() });
    parent.goes_on();
}

fn a_worker_that_goes_on_in_the_child_ends_it() {
    let parent = Parent::new();
    let (send, receive) = mpsc::channel();
    let task = parent.runtime.handle().spawn_on(1, move || async move {
        if let Some(child) = fork_now() {
            send.send(child).unwrap();
        } else {
            yield_now().await;
            end(true);
        }
    });
    let status = status_of(receive.recv_timeout(HANG).unwrap());
    assert!(
        matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGABRT, _)),
        "{status:?}"
    );
    parent.runtime.run_until_complete(async { task.unwrap().await.unwrap() });
    parent.goes_on();
}

fn a_spare_worker_that_goes_on_in_the_child_ends_it() {
    let runtime = Runtime::builder().loops(1).spare_workers(1).build().unwrap();
    let (send, receive) = mpsc::channel();
    runtime.run(async {
        let task = create_task(async move {
            if let Some(child) = fork_now() {
                send.send(child).unwrap();
            } else {
                yield_now().await;
                end(true);
            }
        });
        let child = block_in_place(|| receive.recv_timeout(HANG).unwrap());
        let status = block_in_place(|| status_of(child));
        assert!(
            matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGABRT, _)),
            "{status:?}"
        );
        task.await.unwrap();
    });
}

fn from_a_plain_thread() {
    let parent = Parent::new();
    let remote = parent.runtime.threadsafe_handle();
    let forking = std::thread::spawn(move || {
        let child = forked(|| {
            assert!(remote.call_soon_threadsafe(|| ()).unwrap_err().is_forked());
            let job = remote.run_coroutine_threadsafe(async {}).result(HANG);
            assert!(job.unwrap_err().to_string().contains("fork"));
            a_runtime_of_its_own();
        });
        ended_well(child);
        remote.run_coroutine_threadsafe(async { 3 }).result(HANG).unwrap()
    });
    assert_eq!(
        parent.runtime.run_until_complete(async {
            while !forking.is_finished() {
                yield_now().await;
            }
            forking.join().unwrap()
        }),
        3
    );
    parent.goes_on();
}

fn wakes_in_the_child_wake_nobody() {
    let (send, receive) = mpsc::channel();
    let parent = std::thread::spawn(move || {
        let event_loop = EventLoop::new().unwrap();
        let mut polls = 0;
        let waiting = std::future::poll_fn(move |cx| {
            polls += 1;
            send.send((cx.waker().clone(), get_running_loop().threadsafe())).unwrap();
            if polls == 2 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        event_loop.run_until_complete(waiting).unwrap();
    });
    let (waker, remote): (Waker, _) = receive.recv_timeout(HANG).unwrap();
    let turns = || remote.metrics().loops[0].reactor_turns;
    while remote.metrics().loops[0].parks == 0 {
        std::thread::yield_now();
    }
    let before = turns();
    for _ in 0..10 {
        let (waker, remote) = (waker.clone(), remote.clone());
        ended_well(forked(move || {
            waker.wake_by_ref();
            waker.wake();
            assert!(remote.call_soon_threadsafe(|| ()).unwrap_err().is_forked());
        }));
    }
    assert_eq!(turns(), before, "a child has woken the parent's loop");
    waker.wake();
    receive.recv_timeout(HANG).unwrap();
    parent.join().unwrap();
}

/// The thread that rings is the parent's, and so is what was to ring there.
fn deadlines_ring_in_a_child() {
    a_deadline_rings();
    let pool = ThreadPoolExecutor::new(1);
    let (go, gone) = mpsc::channel::<()>();
    let mut first = pool.submit(move || gone.recv().is_err()).unwrap();
    let waits = JobOptions::new().queue_timeout(Duration::from_secs(3600));
    let mut second = Executor::submit(&pool.with(waits), || 5).unwrap();
    ended_well(forked(a_deadline_rings));
    ended_well(forked(|| ended_well(forked(a_deadline_rings))));
    drop(go);
    assert!(first.result(HANG).unwrap());
    assert_eq!(second.result(HANG).unwrap(), 5);
}

fn a_deadline_rings() {
    let pool = ThreadPoolExecutor::new(1);
    let (go, gone) = mpsc::channel::<()>();
    let mut first = pool.submit(move || gone.recv().is_err()).unwrap();
    let short = JobOptions::new().queue_timeout(Duration::from_millis(1));
    let mut late = Executor::submit(&pool.with(short), || ()).unwrap();
    let error = late.result(HANG).unwrap_err();
    assert!(!error.is_wait_timeout(), "{error}");
    drop(go);
    assert!(first.result(HANG).unwrap());
}

/// The child inherits handler and socket: neither hears the other's signals, nor takes them away.
fn each_process_hears_of_its_own_signals() {
    let raise = || nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
    let runtime = Runtime::builder().loops(1).build().unwrap();
    // Not awaited before the fork, so no loop knows it.
    let mut signal = Signal::new(SIGUSR2).unwrap();
    let child = forked(|| {
        Runtime::builder().loops(1).build().unwrap().run(async {
            let mut own = Signal::new(SIGUSR2).unwrap();
            raise();
            own.recv().await.unwrap();
            is_forked_io(signal.recv().await);
        });
    });
    ended_well(child);
    runtime.run_until_complete(async {
        assert!(futures::poll!(pin!(signal.recv())).is_pending(), "the child's");
        raise();
    });
    let child = forked(|| {
        Runtime::builder().loops(1).build().unwrap().run(async {
            is_forked_io(signal.recv().await);
        });
    });
    ended_well(child);
    runtime.run_until_complete(async { timeout(HANG, signal.recv()).await.unwrap().unwrap() });
}

/// The parent's executors, each with a job that runs and one that waits.
fn executors_of_the_parent_refuse() {
    let (threads, cpu) = (ThreadPoolExecutor::new(1), CpuExecutor::new(1).unwrap());
    let processes = ProcessPoolExecutor::new(1).unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let wait = || {
        let gone = gone.clone();
        move || u32::from(gone.lock().unwrap().recv().is_err())
    };
    let nap = |millis: u64| {
        std::thread::sleep(Duration::from_millis(millis));
        1
    };
    let mut jobs = vec![
        threads.submit(wait()).unwrap(),
        threads.submit(|| 1).unwrap(),
        cpu.submit(wait()).unwrap(),
        cpu.submit(|| 1).unwrap(),
        processes.submit(call(nap, 100)).unwrap(),
        processes.submit(call(nap, 0)).unwrap(),
    ];
    // Memory of its own: what the child drops, the parent has.
    let mut pools = Some((threads, cpu, processes));
    let child = forked(|| {
        let (threads, cpu, processes) = pools.as_ref().unwrap();
        fn refused<W: Work>(submission: Result<Job<W::Output>, Rejected<W>>) {
            assert_eq!(*submission.unwrap_err().reason(), RejectReason::Forked);
        }
        refused(threads.submit(|| 1));
        refused(threads.submit_wait(|| 1, None));
        refused(block_on(threads.submit_async(|| 1)));
        refused(cpu.submit(|| 1));
        refused(cpu.submit_wait(|| 1, None));
        refused(processes.submit(call(nap, 0)));
        refused(processes.submit_wait(call(nap, 0), None));
        for job in &mut jobs {
            assert!(job.result(None).unwrap_err().is_rejected());
            let error = job.result(Duration::from_millis(1)).unwrap_err();
            assert!(error.is_rejected() || error.is_wait_timeout(), "{error}");
            let _ = job.cancel();
        }
        assert_eq!(processes.snapshot().workers.len() + processes.worker_pids().len(), 0);
        assert_eq!(threads.idle_workers(), 0);
        for stats in [
            threads.shutdown(true, true),
            cpu.shutdown(true, true),
            processes.kill_workers(),
            processes.shutdown(true, true),
        ] {
            assert_eq!(stats.submitted, 2);
        }
        pools_and_threads();
        jobs.clear();
        drop(pools.take());
    });
    ended_well(child);
    drop(go);
    for job in &mut jobs {
        assert_eq!(job.result(HANG).unwrap(), 1);
    }
    let (threads, cpu, processes) = pools.unwrap();
    assert_eq!(processes.submit(call(nap, 0)).unwrap().result(HANG).unwrap(), 1);
    for stats in
        [threads.shutdown(true, false), cpu.shutdown(true, false), processes.shutdown(true, false)]
    {
        assert_eq!((stats.finished, stats.cancelled), (stats.submitted, 0));
    }
}

/// How often the process is forked while its threads and pools come and go. Of the process-wide locks one is
/// held most of the time, so a child that found them as they were would not come far.
const FORKS: usize = 300;

/// Other threads of the parent hold what they share with the whole process at any moment.
fn while_threads_and_pools_come_and_go() {
    let stop = Arc::new(AtomicBool::new(false));
    let (begin, begun) = mpsc::channel();
    let makers = [pools_and_threads, runtimes].map(|make| {
        let (stop, begin) = (stop.clone(), begin.clone());
        std::thread::spawn(move || {
            begin.send(()).unwrap();
            let mut made = 0;
            while !stop.load(SeqCst) {
                make();
                made += 1;
            }
            made
        })
    });
    // A thread that is no executor's, and is just beginning, has a lock of the standard library's.
    for _ in &makers {
        begun.recv().unwrap();
    }
    for _ in 0..FORKS {
        ended_well(forked(|| {
            pools_and_threads();
            a_runtime_of_its_own();
        }));
    }
    stop.store(true, SeqCst);
    for maker in makers {
        assert!(maker.join().unwrap() > 0);
    }
}

/// A pool that grows, a job with a deadline, a thread.
fn pools_and_threads() {
    let pool = ThreadPoolExecutor::new(2);
    let options = JobOptions::new().queue_timeout(HANG);
    let jobs = [(); 4].map(|()| Executor::submit(&pool.with(options), || 1).unwrap());
    assert_eq!(jobs.into_iter().map(|mut job| job.result(HANG).unwrap()).sum::<i32>(), 4);
    let mut thread = Thread::new(|| 2).start().unwrap();
    assert_eq!(thread.join(HANG).unwrap(), 2);
    pool.shutdown(true, false);
}

fn runtimes() {
    let runtime = Runtime::builder().loops(1).build().unwrap();
    assert_eq!(runtime.run(async { to_thread(|| 3).await.unwrap() }), 3);
}
