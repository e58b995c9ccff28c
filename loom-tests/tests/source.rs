//! The readiness of a descriptor: no edge is lost between whoever delivers it and whoever waits.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/reactor/source.rs"]
mod source;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../executors/src/caught.rs"]
pub mod caught;

extern crate self as loopool_executors;

/// Stand-in: no model has a panic in it, so one that was caught is loom's.
mod error {
    pub(crate) fn panic_message(_: &(dyn std::any::Any + Send)) -> &str {
        "caught"
    }
}

use loom::sync::{Arc, Mutex};
use loom::thread;
use loopool_loom_tests::{Alarm, Bounds, model, shim};

use self::source::{Direction, Ready, Source};

/// A descriptor and its registration.
#[derive(Default)]
struct Socket {
    source: Source,
    /// What the system has for a reader, and for a writer; its own lock orders calls, as in the
    /// system.
    bytes: [Mutex<usize>; 2],
}

impl Socket {
    fn bytes(&self, direction: Direction) -> &Mutex<usize> {
        match direction {
            Direction::Read => &self.bytes[0],
            Direction::Write => &self.bytes[1],
        }
    }

    /// Data come in, or there is room again, and the reactor delivers the edge.
    fn deliver(&self, direction: Direction) {
        *self.bytes(direction).lock().unwrap() += 1;
        self.event(match direction {
            Direction::Read => Ready::READABLE,
            Direction::Write => Ready::WRITABLE,
        });
    }

    /// As `Reactor::wait` does for each event.
    fn event(&self, ready: Ready) {
        self.source.set(ready);
        let mut wakers = Vec::new();
        self.source.take_wakers(ready, &mut wakers);
        for waker in wakers {
            waker.wake();
        }
    }

    fn try_transfer(&self, direction: Direction) -> bool {
        let mut bytes = self.bytes(direction).lock().unwrap();
        let some = *bytes > 0;
        *bytes -= usize::from(some);
        some
    }

    /// As `Registration::poll_io`, in a task that sleeps on `alarm`. False at the end.
    fn transfer(&self, direction: Direction, alarm: &Arc<Alarm>) -> bool {
        let waker = Alarm::waker(alarm);
        loop {
            let seen = self.source.ready(direction);
            let Some(seen) = seen.or_else(|| self.source.wait(direction, &waker)) else {
                alarm.wait();
                continue;
            };
            if self.try_transfer(direction) {
                return true;
            }
            if seen.closed {
                return false;
            }
            self.source.clear(direction, seen);
        }
    }
}

const BOUNDS: Bounds = Bounds { small: 3, full: None };

#[test]
fn every_edge_reaches_the_reader() {
    model(Bounds { small: 3, full: Some(5) }, || {
        let socket = Arc::new(Socket::default());
        let reactor = thread::spawn({
            let socket = socket.clone();
            move || {
                socket.deliver(Direction::Read);
                socket.deliver(Direction::Read);
            }
        });
        let alarm = Alarm::new();
        assert!(socket.transfer(Direction::Read, &alarm));
        assert!(socket.transfer(Direction::Read, &alarm));
        reactor.join().unwrap();
        assert_eq!(*socket.bytes(Direction::Read).lock().unwrap(), 0);
        drop(socket.source.retire());
    });
}

#[test]
fn an_edge_that_two_threads_deliver_reaches_the_reader() {
    model(Bounds { small: 3, full: Some(4) }, || {
        let socket = Arc::new(Socket::default());
        let reactors = [(); 2].map(|()| {
            let socket = socket.clone();
            thread::spawn(move || socket.deliver(Direction::Read))
        });
        let alarm = Alarm::new();
        assert!(socket.transfer(Direction::Read, &alarm));
        assert!(socket.transfer(Direction::Read, &alarm));
        for reactor in reactors {
            reactor.join().unwrap();
        }
        drop(socket.source.retire());
    });
}

#[test]
fn one_edge_wakes_both_of_two_readers() {
    model(Bounds { small: 2, full: Some(4) }, || {
        let socket = Arc::new(Socket::default());
        *socket.bytes(Direction::Read).lock().unwrap() = 1;
        let reader = thread::spawn({
            let socket = socket.clone();
            move || assert!(socket.transfer(Direction::Read, &Alarm::new()))
        });
        let reactor = thread::spawn({
            let socket = socket.clone();
            move || {
                *socket.bytes(Direction::Read).lock().unwrap() += 1;
                socket.event(Ready::READABLE);
            }
        });
        assert!(socket.transfer(Direction::Read, &Alarm::new()));
        reader.join().unwrap();
        reactor.join().unwrap();
        drop(socket.source.retire());
    });
}

#[test]
fn both_directions_share_the_word_and_lose_nothing() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let socket = Arc::new(Socket::default());
        let writer = thread::spawn({
            let socket = socket.clone();
            move || assert!(socket.transfer(Direction::Write, &Alarm::new()))
        });
        let reactor = thread::spawn({
            let socket = socket.clone();
            move || {
                // For nothing, so that both will clear.
                socket.event(Ready::READABLE.or(Ready::WRITABLE));
                socket.deliver(Direction::Read);
                socket.deliver(Direction::Write);
            }
        });
        assert!(socket.transfer(Direction::Read, &Alarm::new()));
        writer.join().unwrap();
        reactor.join().unwrap();
        drop(socket.source.retire());
    });
}

#[test]
fn the_end_is_never_cleared() {
    model(BOUNDS, || {
        let socket = Arc::new(Socket::default());
        let reactor = thread::spawn({
            let socket = socket.clone();
            move || {
                socket.event(Ready::READABLE);
                socket.event(Ready::READ_CLOSED);
            }
        });
        assert!(!socket.transfer(Direction::Read, &Alarm::new()));
        reactor.join().unwrap();
        drop(socket.source.retire());
    });
}
