//! Guards around what is polled while a request is visible: each changes the record, and puts it back.

use std::task::Context;

use super::RequestId;
use super::holds::Holds;
use super::memory::Memory;
use super::record::{Before, Below, Level, Record, Visible};
use crate::task;

/// A scope is polled during a pass.
pub(super) struct ScopePoll<'a> {
    record: &'a Record,
    outer: Level,
    /// The request that the scope may take.
    takeable: Option<RequestId>,
    visible: Visible,
    before: Before,
}

impl<'a> ScopePoll<'a> {
    /// `None` outside passes.
    #[inline]
    pub(super) fn begin(record: &'a Record, memory: &mut Memory, fresh: bool) -> Option<Self> {
        let visible = record.level.get().visible?;
        Some(Self::begin_in(record, visible, memory, fresh))
    }

    #[cold]
    fn begin_in(record: &'a Record, visible: Visible, memory: &mut Memory, fresh: bool) -> Self {
        let outer = record.level.get();
        let takeable = record.takeable(memory, fresh);
        record.level.set(Level {
            visible: Some(visible),
            answers: u32::from(memory.was_answered_in(visible.pass)),
            held: 0,
            closed: takeable.is_none(),
            shut_out: outer.shut_out && !memory.was_closed_in(visible.pass),
        });
        ScopePoll { record, outer, takeable, visible, before: record.before() }
    }

    /// What was polled is pending: the request, if the scope takes it. Woken by `cx` if it may yet.
    pub(super) fn pending(
        mut self,
        memory: &mut Memory,
        holds: &mut Holds,
        cx: &Context<'_>,
    ) -> Option<RequestId> {
        let protected = self.record.is_protected(self.before, holds);
        match self.record.below(self.before, protected, cx) {
            Below::Answered => {
                self.outer.held += self.record.level.get().held;
                memory.answered_in(self.visible.pass);
                None
            }
            Below::Held => {
                // Those around us know of protected futures by themselves.
                self.outer.held += self.record.level.get().held;
                None
            }
            Below::OnItsWay => {
                self.outer.held += 1;
                None
            }
            Below::Nothing => {
                let taken = self.takeable?;
                self.outer.answers += 1;
                self.record.note_fate(taken);
                Some(taken)
            }
        }
    }
}

impl Drop for ScopePoll<'_> {
    fn drop(&mut self) {
        // An answer below counts even if what answered then panicked.
        let answers = self.outer.answers + self.record.level.get().answers;
        self.record.level.set(Level { answers, ..self.outer });
    }
}

/// Something is polled to which the visible request does not get.
pub(crate) struct Closed<'a> {
    record: &'a Record,
    was_closed: bool,
    was_shut_out: bool,
}

impl<'a> Closed<'a> {
    /// For good.
    #[inline]
    pub(super) fn begin(record: &'a Record) -> Self {
        Self::begin_as(record, false)
    }

    /// As long as something protected is pending.
    #[inline]
    pub(super) fn begin_protected(record: &'a Record) -> Self {
        let level = record.level.get();
        Self::begin_as(record, !level.closed || level.shut_out)
    }

    #[inline]
    fn begin_as(record: &'a Record, shut_out: bool) -> Self {
        let level = record.level.get();
        record.level.set(Level { closed: true, shut_out, ..level });
        Closed { record, was_closed: level.closed, was_shut_out: level.shut_out }
    }

    /// For a timeout, which is no scope but may belong to the clean-up of the visible request.
    #[inline]
    pub(crate) fn begin_unless_takeable(
        record: &'a Record,
        memory: &mut Memory,
        fresh: bool,
    ) -> Option<Self> {
        let belongs = record.is_in_pass() && record.takeable(memory, fresh).is_none();
        let level = record.level.get();
        let is_clean_up = level.visible.is_some_and(|it| memory.was_closed_in(it.pass));
        belongs.then(|| Self::begin_as(record, level.shut_out && !is_clean_up))
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let level = self.record.level.get();
        let (closed, shut_out) = (self.was_closed, self.was_shut_out);
        self.record.level.set(Level { closed, shut_out, ..level });
    }
}

/// A timeout whose time is up polls what is inside it.
pub(crate) struct FiredPoll<'a> {
    record: &'a Record,
    outer: Level,
    own: bool,
    before: Before,
}

impl<'a> FiredPoll<'a> {
    /// After its request was delivered: only counted.
    pub(crate) fn count(record: &'a Record, request: RequestId) -> Self {
        record.with_rare(|rare| rare.fired.push(request));
        FiredPoll { record, outer: record.level.get(), own: false, before: Before::default() }
    }

    /// To deliver its request: in a pass of its own, before the first of which those are woken whom a
    /// combinator would not poll; or, if somebody else's request is visible and may be taken, in the pass of
    /// that one, which goes first.
    pub(crate) fn deliver(
        record: &'a Record,
        request: RequestId,
        memory: &mut Memory,
        fresh: bool,
        first: bool,
    ) -> Self {
        let mut poll = Self::count(record, request);
        poll.own = !record.goes_first(memory, fresh);
        let woken = record.is_woken();
        if let Some(task) = record.task().filter(|_| poll.own && first) {
            // Their wakes have the task polled again: so one more try costs nothing.
            task::wake_hidden_for_timeout(task, request);
        }
        poll.before = record.before();
        poll.before.woken = woken;
        if poll.own {
            record.begin(request);
        }
        poll
    }

    /// Whether it is in a pass of its own.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// What became of the request that was delivered.
    pub(crate) fn end(self, holds: &mut Holds, cx: &Context<'_>) -> Below {
        let protected = self.record.is_protected(self.before, holds);
        let inside = self.record.level.get();
        let outside = if self.own { Level::default() } else { self.outer };
        Level {
            answers: inside.answers - outside.answers,
            held: inside.held - outside.held,
            ..inside
        }
        .below()
        .or_held(self.record, self.before, protected, cx)
    }
}

impl Drop for FiredPoll<'_> {
    fn drop(&mut self) {
        self.record.with_rare(|rare| rare.fired.pop());
        if self.own {
            self.record.level.set(self.outer);
        }
    }
}

/// A hidden waiter is polled that a request is still to reach, after its pass: it has one of its own.
pub(crate) struct LatePoll<'a> {
    record: &'a Record,
    outer: Level,
    before: Before,
    more: bool,
}

impl<'a> LatePoll<'a> {
    #[cold]
    pub(super) fn begin(record: &'a Record, request: RequestId, more: bool) -> Self {
        let (outer, before) = (record.level.get(), record.before());
        record.begin(request);
        LatePoll { record, outer, before, more }
    }

    /// Whether there are more requests for it.
    pub(super) fn more(&self) -> bool {
        self.more
    }

    /// The request, if it was put off.
    pub(super) fn held(&self) -> Option<RequestId> {
        let level = self.record.level.get();
        let protected = self.record.peek_rare(|rare| {
            rare.protected[self.before.protected..].iter().any(|hold| hold.strong_count() > 0)
        });
        let held = level.answers == 0 && (level.held > 0 || protected);
        level.visible.filter(|_| held).map(|visible| visible.request)
    }
}

impl Drop for LatePoll<'_> {
    fn drop(&mut self) {
        self.record.level.set(self.outer);
    }
}
