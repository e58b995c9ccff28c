//! Sleeping, searching and waking: whatever is pushed, somebody wakes up for it.
//!
//! `idle.rs` and `mailbox.rs` are the files that ship. How they have to be called is written out here,
//! after `Core::find_work`, `Core::search` and `Core::park`, and `Shared::send_task`, `schedule_remote`,
//! `unregister` and `advance`, which know too much of the system to be checked as they are. A loop
//! sleeps on an [`Eventfd`], so a wake-up that is lost is a deadlock.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/idle.rs"]
mod idle;

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/mailbox.rs"]
mod mailbox;

/// Stand-in: the mailbox only passes them on.
mod event_loop {
    pub(crate) struct RemoteCallback;
}

/// Stand-in: the mailbox only passes them on.
mod task {
    pub(crate) struct Runnable;
}

use std::sync::atomic::AtomicUsize as Count;

use loom::sync::{Arc, Mutex};
use loom::thread;
use loopool_loom_tests::shim::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
use loopool_loom_tests::{Bounds, Eventfd, model, shim};

use self::idle::Idle;
use self::mailbox::{Mailbox, Message};

const SMALL: Bounds = Bounds { small: 3, full: None };
const LARGE: Bounds = Bounds { small: 2, full: Some(4) };

/// What is there for anybody. The length is the only thing that a look at it orders, and it orders
/// nothing: that is for the fences to do.
struct Injector {
    tasks: Mutex<usize>,
    length: AtomicUsize,
}

impl Injector {
    fn push(&self) {
        let mut tasks = self.tasks.lock().unwrap();
        *tasks += 1;
        self.length.store(*tasks, Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }

    fn take(&self) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut tasks = self.tasks.lock().unwrap();
        let some = *tasks > 0;
        *tasks -= usize::from(some);
        self.length.store(*tasks, Ordering::Relaxed);
        some
    }
}

struct Runtime {
    idle: Idle,
    mailbox: Mailbox,
    injector: Injector,
    bells: Vec<Eventfd>,
    live: AtomicUsize,
    phase: AtomicU8,
    /// How often a loop announced that it would sleep. The standard library's: loom need not know.
    parks: Count,
}

impl Runtime {
    /// With `loops` loops, all being driven. The mailbox is that of loop 0.
    fn new(loops: usize) -> Arc<Self> {
        let runtime = Runtime {
            idle: Idle::new(loops, 0),
            mailbox: Mailbox::new(),
            injector: Injector { tasks: Mutex::new(0), length: AtomicUsize::new(0) },
            bells: (0..loops).map(|_| Eventfd::default()).collect(),
            live: AtomicUsize::new(1),
            phase: AtomicU8::new(0),
            parks: Count::new(0),
        };
        (0..loops).for_each(|index| runtime.idle.enter(index));
        Arc::new(runtime)
    }

    /// `Shared::send_task`.
    fn send(&self) {
        assert!(self.mailbox.push(Message::Task(task::Runnable)).is_ok());
        self.wake_loop(0);
    }

    fn wake_loop(&self, index: usize) {
        if self.idle.notify(index) {
            self.bells[index].write();
        }
    }

    /// `Shared::schedule_remote`.
    fn inject(&self) {
        self.injector.push();
        self.share();
    }

    fn share(&self) {
        if let Some(index) = self.idle.notify_any(|_| true) {
            self.bells[index].write();
        }
    }

    /// `Core::park`; with `timer`, a timer is due before anybody writes the wake-up.
    fn park(&self, index: usize, timer: bool) {
        self.parks.fetch_add(1, Ordering::Relaxed);
        self.idle.announce_park(index);
        let awaited = index == 0 && !self.mailbox.is_empty();
        let work = awaited || !self.injector.is_empty() || self.is_over();
        if !work && !timer {
            self.bells[index].wait();
        }
        let notified = self.idle.unpark(index);
        // With something of its own to do, the loop has no use for the notification: it goes on to
        // somebody who has.
        let own = timer || (index == 0 && !self.mailbox.is_empty());
        if notified && own && !self.injector.is_empty() {
            self.share();
        }
    }

    /// Loop 0 turns until it has received so many messages.
    fn receive(&self, count: usize, mut timer: bool) {
        let mut received = 0;
        let mut messages = Vec::new();
        while received < count {
            if !self.mailbox.is_empty() {
                self.mailbox.swap(&mut messages);
                received += messages.drain(..).count();
                continue;
            }
            self.park(0, std::mem::take(&mut timer));
        }
        assert_eq!(received, count);
    }

    /// Loop `index` turns until it has found one task, and then is busy for ever.
    fn find_one(&self, index: usize) {
        loop {
            if self.take_and_pass_on() || self.search() {
                return;
            }
            self.park(index, false);
        }
    }

    /// The look before the search, which is the first one after a sleep: two tasks may have come while
    /// we searched, for which nobody was woken, or one that we were woken for and one that we take.
    fn take_and_pass_on(&self) -> bool {
        let found = self.injector.take();
        if found && !self.injector.is_empty() {
            self.share();
        }
        found
    }

    /// `Core::search`.
    fn search(&self) -> bool {
        if !self.idle.begin_search() {
            return false;
        }
        let found = self.injector.take();
        self.idle.end_search();
        if found && !self.injector.is_empty() {
            self.share();
        }
        found
    }

    /// `Core::is_awaited`, for the main loop that awaits the last task.
    fn is_over(&self) -> bool {
        self.phase.load(Ordering::Acquire) != 0 && self.live.load(Ordering::Acquire) == 0
    }

    /// Each sleep is paid for once, and nobody counts as asleep. Everybody else has ended.
    fn assert_settled(&self) {
        let writes: usize = self.bells.iter().map(Eventfd::writes).sum();
        assert!(writes <= self.parks.load(Ordering::Relaxed), "two paid for one sleeper");
        assert!(!self.idle.could_use_help(), "somebody counts as asleep who is not");
    }
}

fn spawn(runtime: &Arc<Runtime>, act: fn(&Runtime)) -> thread::JoinHandle<()> {
    let runtime = runtime.clone();
    thread::spawn(move || act(&runtime))
}

/// F1 of `notify` and F2.
#[test]
fn a_message_wakes_the_sleeper() {
    model(SMALL, || {
        let runtime = Runtime::new(1);
        let sender = spawn(&runtime, Runtime::send);
        runtime.receive(1, false);
        sender.join().unwrap();
        runtime.assert_settled();
    });
}

#[test]
fn two_messages_do_not_pay_for_one_sleeper() {
    model(LARGE, || {
        let runtime = Runtime::new(1);
        let senders = [(); 2].map(|()| spawn(&runtime, Runtime::send));
        runtime.receive(2, false);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        runtime.assert_settled();
    });
}

/// The loop wakes by itself between, or during, the notifications.
#[test]
fn a_timer_meets_two_messages() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let runtime = Runtime::new(1);
        let senders = [(); 2].map(|()| spawn(&runtime, Runtime::send));
        runtime.receive(2, true);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        runtime.assert_settled();
    });
}

/// F1 of `notify_any` and F2: the only one who searches gives the role up and sleeps.
#[test]
fn a_task_for_anybody_reaches_the_last_searcher() {
    model(SMALL, || {
        let runtime = Runtime::new(1);
        let pushing = spawn(&runtime, Runtime::inject);
        runtime.find_one(0);
        pushing.join().unwrap();
        runtime.assert_settled();
    });
}

/// F1 of `notify_any` and F3: who searches finds a task and is busy from then on; the next task must
/// not wait for it.
#[test]
fn a_searcher_that_found_something_passes_the_search_on() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let runtime = Runtime::new(2);
        let other = spawn(&runtime, |runtime| runtime.find_one(1));
        let pushing = spawn(&runtime, |runtime| {
            runtime.inject();
            runtime.inject();
        });
        runtime.find_one(0);
        other.join().unwrap();
        pushing.join().unwrap();
        runtime.assert_settled();
    });
}

/// F1 and F4: a task is left to a loop that was woken for a message, with which it is busy from then on.
#[test]
fn a_task_that_was_left_to_who_is_coming_does_not_wait_for_it() {
    model(Bounds { small: 2, full: Some(3) }, || {
        let runtime = Runtime::new(2);
        let other = spawn(&runtime, |runtime| runtime.find_one(1));
        let pushing = spawn(&runtime, |runtime| {
            runtime.send();
            runtime.inject();
        });
        while runtime.mailbox.is_empty() {
            if runtime.take_and_pass_on() {
                // Its task makes another one before it blocks.
                runtime.inject();
                break;
            }
            runtime.park(0, false);
        }
        other.join().unwrap();
        pushing.join().unwrap();
        runtime.assert_settled();
    });
}

/// A loop is woken for a task, and finds that a timer of its own has kept it busy since.
#[test]
fn a_notification_that_is_of_no_use_is_passed_on() {
    model(LARGE, || {
        let runtime = Runtime::new(2);
        let busy = spawn(&runtime, |runtime| runtime.park(0, true));
        let pushing = spawn(&runtime, Runtime::inject);
        runtime.find_one(1);
        busy.join().unwrap();
        pushing.join().unwrap();
        runtime.assert_settled();
    });
}

/// The last task ends while the runtime closes: either who closes sees that none is left, or who
/// ends the task sees that somebody waits for it.
#[test]
fn the_last_task_wakes_who_closes_the_runtime() {
    model(SMALL, || {
        let runtime = Runtime::new(1);
        let worker = spawn(&runtime, |runtime| {
            // `Shared::unregister`.
            if runtime.live.fetch_sub(1, Ordering::Release) == 1 {
                fence(Ordering::SeqCst);
                if runtime.phase.load(Ordering::Acquire) != 0 {
                    runtime.wake_loop(0);
                }
            }
        });
        // `Shared::advance`, and the turns that follow.
        runtime.phase.store(1, Ordering::Release);
        runtime.wake_loop(0);
        while !runtime.is_over() {
            runtime.park(0, false);
        }
        worker.join().unwrap();
        runtime.assert_settled();
    });
}
