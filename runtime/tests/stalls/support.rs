//! What most of the tests use.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use loopool::net::{TcpListener, TcpStream};
use loopool::{Runtime, RuntimeBuilder, Task, spawn_on};

/// Nothing here takes this long; it is the limit against hanging.
pub(crate) const HANG: Duration = Duration::from_secs(30);

pub(crate) fn builder(loops: usize) -> RuntimeBuilder {
    Runtime::builder().loops(loops)
}

pub(crate) fn runtime(loops: usize) -> Runtime {
    builder(loops).build().unwrap()
}

pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = futures::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A task that has a loop's thread to itself until it is released.
pub(crate) struct Blocker {
    release: mpsc::Sender<()>,
    task: Task<()>,
}

impl Blocker {
    /// Blocks this thread, which is loop 0's, until the task runs on loop 1: both are blocked then, as
    /// long as the caller does not return. A task that may move would now and then block a spare worker
    /// instead, see [`spare`].
    pub(crate) fn start() -> Blocker {
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let block = move || async move {
            begin.send(()).unwrap();
            released.recv_timeout(HANG).unwrap();
        };
        let task = spawn_on(1, block).unwrap();
        begun.recv_timeout(HANG).unwrap();
        Blocker { release, task }
    }

    pub(crate) async fn release(self) {
        self.release.send(()).unwrap();
        self.task.await.unwrap();
    }
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HANG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Which spare worker this thread is. Mostly the first one; but one that waits long for a processor
/// passes for blocked, and the next one is called.
pub(crate) fn spare() -> Option<String> {
    let name = thread::current().name()?.to_owned();
    name.contains("-spare-").then_some(name)
}
