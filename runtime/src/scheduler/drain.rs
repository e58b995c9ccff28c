//! The end of the queues, after the loops' owners have emptied their halves.

use crossbeam_deque::Worker;

use super::{Message, Registry, Shared};
use crate::runtime::LeftTask;

impl Shared {
    /// From now on every new task is dropped at once.
    pub(crate) fn close_registries(&self) {
        for half in &self.loops {
            half.registry.with(Registry::close);
        }
    }

    /// For the one who left last: drops the future of every task, then tells everybody who waits for a
    /// descriptor, and takes no more callbacks.
    pub(crate) fn finish(&self) {
        while self.live() > 0 {
            let some = self.drop_queued() | self.drop_sent() | self.drop_idle();
            if !some {
                // Somebody has won the right to queue a task and has not queued it yet.
                std::thread::yield_now();
            }
        }
        self.close_reactors();
        for half in &self.loops {
            for message in half.mailbox.close() {
                match message {
                    Message::Callback(callback) => callback.cancel(),
                    Message::Task(_) => unreachable!("no task is left"),
                }
            }
            // A waker here could keep anything alive. Nobody looks at the wheel any more: what a
            // destructor of this thread still puts there never fires.
            let timers = half.timers.with(|wheel| wheel.clear());
            loopool_executors::caught::drop_each_caught("a waker", timers);
        }
    }

    /// For one who leaves while another loop is stuck: what can be dropped now. The mailboxes stay open:
    /// in them there may be tasks that belong to the stuck thread.
    pub(crate) fn drop_what_can_be_reached(&self) {
        while self.drop_queued() | self.drop_idle() {}
        self.close_reactors();
    }

    /// The tasks that are still there.
    pub(crate) fn left_tasks(&self) -> Vec<LeftTask> {
        let mut left = Vec::new();
        for half in &self.loops {
            half.registry.with(|registry| {
                registry.for_each(|task| {
                    // SAFETY: in the registry, under its lock.
                    left.push(LeftTask::of(unsafe { task.as_ref() }));
                });
            });
        }
        left
    }

    /// From the injector, the deques and the slots. True when there was one.
    fn drop_queued(&self) -> bool {
        let spare = Worker::new_fifo();
        let steal = || (0..self.loops.len()).find_map(|loop_| self.steal_from(loop_, true, &spare));
        let take = || if self.take_injected(&spare) { spare.pop() } else { steal() };
        let mut some = false;
        while let Some(task) = spare.pop().or_else(take) {
            some = true;
            task.shut_down(self);
        }
        some
    }

    /// From the mailboxes.
    fn drop_sent(&self) -> bool {
        let mut some = false;
        let mut messages = Vec::new();
        for half in &self.loops {
            half.mailbox.swap(&mut messages);
            for message in messages.drain(..) {
                some = true;
                match message {
                    Message::Task(task) => task.shut_down(self),
                    Message::Callback(callback) => callback.cancel(),
                }
            }
        }
        some
    }

    /// Those that sleep and may be dropped anywhere. The owners have dropped their local ones.
    fn drop_idle(&self) -> bool {
        let mut some = false;
        for half in &self.loops {
            let claimed = half.registry.with(|registry| registry.claim(|task| !task.is_local()));
            for task in claimed {
                some = true;
                task.finish(self);
            }
        }
        some
    }

    /// Tells everybody who still waits for a descriptor.
    fn close_reactors(&self) {
        for half in &self.loops {
            half.reactor.close();
        }
    }
}
