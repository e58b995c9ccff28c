//! The mailbox of a loop: every message arrives once.

#[allow(dead_code, reason = "the models use a part")]
#[path = "../../runtime/src/scheduler/mailbox.rs"]
mod mailbox;

/// Stand-in: the mailbox only passes them on.
mod event_loop {
    pub(crate) struct RemoteCallback;
}

/// Stand-in: the mailbox only passes them on.
mod task {
    pub(crate) struct Runnable(pub(crate) usize);
}

use loom::sync::Arc;
use loom::thread;
use loopool_loom_tests::{Bounds, model, shim};

use self::mailbox::{Mailbox, Message};

fn number(message: Message) -> usize {
    match message {
        Message::Task(task::Runnable(number)) => number,
        Message::Callback(_) => unreachable!("none was sent"),
    }
}

#[test]
fn every_message_arrives_once() {
    model(Bounds { small: 3, full: None }, || {
        let mailbox = Arc::new(Mailbox::new());
        let senders = [1, 2].map(|number| {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.push(Message::Task(task::Runnable(number))).is_ok())
        });
        let mut received = Vec::new();
        let mut read = || {
            if !mailbox.is_empty() {
                let mut messages = Vec::new();
                mailbox.swap(&mut messages);
                received.extend(messages.into_iter().map(number));
            }
        };
        read();
        read();
        for sender in senders {
            assert!(sender.join().unwrap());
        }
        // From here on everything is visible to us: what the box says is the truth.
        read();
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        assert!(mailbox.is_empty());
        let callback = Message::Callback(std::sync::Arc::new(event_loop::RemoteCallback));
        assert!(mailbox.push(callback).is_ok());
        assert!(!mailbox.is_empty());
    });
}
