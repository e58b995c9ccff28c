//! The record of one poll: whose it is, what it may still do, which request is visible in it.
//!
//! It lies on the stack of whoever polls; `context.rs` has the pointer to the innermost one. Scopes,
//! timeouts and the awaits of tasks change it while they poll what is inside them and put it back by
//! guards, so that a panic that is caught further out finds it as it was.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use super::RequestId;
use super::holds::{Hold, Holds};
use super::memory::Memory;
use super::wakers::Door;
use crate::task::{self, Header};

/// How many operations of our own leaf futures one poll of a task may do.
///
/// The same figure as tokio's; what matters is that it is large against the cost of a poll and small
/// against a millisecond.
const BUDGET: u8 = 128;

/// A number that was never given before: for requests, passes and raises.
///
/// From the standard library, not the shim: nothing is published through it. [`Memory`] has the values
/// below the first one for itself, and a bit.
pub(super) fn unique() -> NonZeroU64 {
    static NEXT: AtomicU64 = AtomicU64::new(2);
    // Relaxed: only the number counts. It wraps after centuries.
    NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU64::MAX)
}

pub(crate) struct Record {
    task: Option<NonNull<Header>>,
    budget: Cell<u8>,
    pub(super) level: Cell<Level>,
    /// The last raise, or the last time that a protected future was listed.
    last_event: Cell<Option<NonZeroU64>>,
    protected: Cell<Protected>,
    /// The number of this poll, once it was needed.
    poll: Cell<Option<NonZeroU64>>,
    rare: Cell<Option<Box<Rare>>>,
}

/// What has become of the task's own request in its pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// Somebody has answered it.
    Answered,
    /// It was taken back before.
    Void,
}

/// Protected futures of one poll.
#[derive(Clone, Copy, Default)]
struct Protected {
    /// How often one was found pending. Who of them was found again, or is gone, is in `Rare::released`.
    found: u32,
    /// How many there are in `Rare::protected`.
    listed: u32,
}

/// What few polls have.
#[derive(Default)]
pub(super) struct Rare {
    /// The request of the task whose pass this poll is, and what has become of it.
    own: Option<(RequestId, Fate)>,
    /// The requests of the timeouts around the place that is polled whose time is up.
    pub(super) fired: Vec<RequestId>,
    /// The protected futures that were found pending in this poll: in a pass, or where a combinator might not poll them in
    /// the next one.
    pub(super) protected: Vec<Weak<()>>,
    /// Which findings of protected futures do not count any more.
    released: Vec<u32>,
    /// In the order in which they were made, which is that of their serials.
    raises: Vec<Raise>,
}

/// What of a pass can be seen at one depth. Outside passes all is zero, except `closed` below a
/// protected future.
#[derive(Clone, Copy, Default)]
pub(super) struct Level {
    /// The request, and the pass that delivers it.
    pub(super) visible: Option<Visible>,
    /// Scopes that answered, under the same enclosing scope, in this pass.
    pub(super) answers: u32,
    /// Scopes below that could not take the request yet, under the same enclosing scope.
    pub(super) held: u32,
    /// Nothing below may take the request: it is protected, or the clean-up of this very request.
    pub(super) closed: bool,
    /// That is because it is protected, and not for good.
    pub(super) shut_out: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Visible {
    pub(super) pass: NonZeroU64,
    pub(super) request: RequestId,
}

/// A request that was raised again and waits for whoever takes it, until the end of the poll.
#[derive(Clone, Copy)]
pub(crate) struct Raise {
    serial: NonZeroU64,
    request: RequestId,
    location: &'static Location<'static>,
}

impl Raise {
    fn is_since(&self, marks: Marks) -> bool {
        Some(self.serial) > marks.event
    }

    pub(crate) fn request(self) -> RequestId {
        self.request
    }
}

/// What happened below somebody who was polled during a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Below {
    /// Nobody took the request, and nobody put it off.
    Nothing,
    Answered,
    /// Nobody took it, but a protected future put it off.
    Held,
    /// Nobody took it, but it has reached some of the hidden waiters of the task and not all, who may be
    /// below or elsewhere (rule 14). So it comes again at once, and each time fewer are left.
    OnItsWay,
}

/// What there was when a poll began.
#[derive(Clone, Copy, Default)]
pub(crate) struct Before {
    /// Hidden waiters that the request had not reached.
    unreached: usize,
    /// How many protected futures of others the record knew.
    pub(super) protected: usize,
    /// Whether the task was woken already, since its poll began.
    pub(super) woken: bool,
    /// It is the poll of the whole task.
    all: bool,
}

#[cold]
fn drop_rare(rare: Box<Rare>) {
    drop(rare);
}

/// See [`Record::marks`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Marks {
    event: Option<NonZeroU64>,
    protected: Protected,
}

impl Below {
    /// Held if a protected future below is pending, whether or not it was polled, or if a set reached some
    /// of its children but not all: it will go on with the others. With none reached, those who are left
    /// may be where nobody polls them now, which is found out by trying.
    pub(super) fn or_held(
        self,
        record: &Record,
        before: Before,
        protected: bool,
        cx: &Context<'_>,
    ) -> Below {
        match self {
            Below::Nothing if protected => Below::Held,
            Below::Nothing if record.reaches_more(before, cx) => Below::OnItsWay,
            _ => self,
        }
    }
}

impl Record {
    #[inline]
    pub(crate) fn new(task: Option<NonNull<Header>>) -> Self {
        Record {
            task,
            budget: Cell::new(BUDGET),
            level: Cell::new(Level::default()),
            last_event: Cell::new(None),
            protected: Cell::new(Protected::default()),
            poll: Cell::new(None),
            rare: Cell::new(None),
        }
    }

    /// The end of an ordinary poll, without the destructor's call.
    #[inline]
    pub(crate) fn end(self) {
        if let Some(rare) = self.rare.take() {
            drop_rare(rare);
        }
        std::mem::forget(self);
    }

    /// The task that is polled; `None` for scopes in somebody else's executor.
    #[inline]
    pub(crate) fn task(&self) -> Option<NonNull<Header>> {
        self.task
    }

    /// Whether a leaf may be polled: asked *before* it takes anything. If not, the task is woken to go
    /// on after others, and the leaf returns pending.
    #[must_use]
    #[inline]
    pub(crate) fn has_budget(&self, cx: &Context<'_>) -> bool {
        let some = self.budget.get() > 0 || self.task.is_none();
        if !some {
            cx.waker().wake_by_ref();
        }
        some
    }

    /// A leaf was ready. To wait is free: else a task that waits for more leaves than it has budget
    /// would come back to the first of them again and again, and never to the last.
    #[inline]
    pub(crate) fn spend(&self) {
        self.budget.set(self.budget.get().saturating_sub(1));
    }

    /// Begins the pass of the task's own request.
    pub(crate) fn begin_own(&self, request: RequestId) {
        self.with_rare(|rare| rare.own = Some((request, Fate::Open)));
        self.begin(request);
    }

    /// Takes one request to the task back and says how many are left. If it is the last one, and its pass is this poll,
    /// in which nobody has answered it, nobody gets it.
    pub(crate) fn uncancel(&self) -> usize {
        let left = self.task.and_then(task::uncancel);
        if left == Some(0) {
            self.settle_own(Fate::Void);
        }
        left.unwrap_or(0)
    }

    /// Whether the task's own request was taken back in its pass.
    pub(crate) fn own_is_void(&self) -> bool {
        self.peek_rare(|rare| rare.own.is_some_and(|(_, fate)| fate == Fate::Void))
    }

    /// Somebody answers this request.
    pub(super) fn note_fate(&self, answered: RequestId) {
        if self.peek_rare(|rare| rare.own.is_some_and(|(own, _)| own == answered)) {
            self.settle_own(Fate::Answered);
        }
    }

    /// What becomes of it first counts.
    fn settle_own(&self, fate: Fate) {
        if self.peek_rare(|rare| rare.own.is_some_and(|(_, fate)| fate == Fate::Open)) {
            self.with_rare(|rare| rare.own = rare.own.map(|(own, _)| (own, fate)));
        }
    }

    /// Begins a pass.
    pub(crate) fn begin(&self, request: RequestId) {
        self.level.set(Level { visible: Some(Visible::new(request)), ..Level::default() });
    }

    /// What became of the request that is visible, after a poll before which `before` was so, and which left
    /// something [protected](Self::is_protected) pending or not.
    pub(crate) fn below(&self, before: Before, protected: bool, cx: &Context<'_>) -> Below {
        self.level.get().below().or_held(self, before, protected, cx)
    }

    /// Whether something protected is pending: it was found in `holds` earlier, or since `before`.
    pub(crate) fn is_protected(&self, before: Before, holds: &mut Holds) -> bool {
        self.peek_rare(|rare| holds.add(&rare.protected[before.protected..]));
        holds.any()
    }

    /// [`before`](Self::before) the poll of the whole task.
    pub(crate) fn before_all(&self) -> Before {
        Before { all: true, ..self.before() }
    }

    /// To be compared with what is found [`below`](Self::below) after the poll.
    pub(crate) fn before(&self) -> Before {
        Before {
            unreached: self.unreached(),
            protected: self.peek_rare(|rare| rare.protected.len()),
            woken: self.is_woken(),
            all: false,
        }
    }

    /// Whether the task was woken since its poll began.
    pub(super) fn is_woken(&self) -> bool {
        self.task.is_some_and(task::is_woken)
    }

    /// How many timeouts around the place that is polled have fired.
    pub(crate) fn fired(&self) -> usize {
        self.peek_rare(|rare| rare.fired.len())
    }

    /// Whether a timeout around the place that is polled has this request.
    pub(super) fn is_fired(&self, request: RequestId) -> bool {
        self.peek_rare(|rare| rare.fired.contains(&request))
    }

    /// The request that is visible.
    pub(super) fn visible(&self) -> Option<RequestId> {
        self.level.get().visible.map(|visible| visible.request)
    }

    /// For a hidden waiter: whether anything gets in.
    pub(super) fn door(&self) -> Door {
        match self.level.get() {
            Level { closed: false, .. } => Door::Open,
            Level { shut_out: true, .. } => Door::ShutOut,
            _ => Door::Closed,
        }
    }

    /// For a hidden waiter that is new: the request that it does not get for now.
    pub(super) fn shut_out_from(&self) -> Option<RequestId> {
        self.visible().filter(|_| self.door() == Door::ShutOut)
    }

    pub(super) fn with_rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        let mut rare = self.rare.take();
        let result = f(rare.get_or_insert_default());
        self.rare.set(rare);
        result
    }

    pub(super) fn peek_rare<R: Default>(&self, f: impl FnOnce(&Rare) -> R) -> R {
        let rare = self.rare.take();
        let result = rare.as_deref().map(f).unwrap_or_default();
        self.rare.set(rare);
        result
    }

    /// Whether the request has reached more of the hidden waiters since, and not all; or none of them,
    /// but something has stopped half-way and woken the task to go on. (A set does so when it meets a
    /// thread that is about to wake one of its children. It may not even see that thread: so the task
    /// as a whole waits for it anyhow.) That is believed for a while. If so, `cx` is woken for the next try.
    pub(super) fn reaches_more(&self, before: Before, cx: &Context<'_>) -> bool {
        let after = self.unreached();
        if 0 < after && after < before.unreached {
            cx.waker().wake_by_ref();
            return true;
        }
        let goes_on = |task| {
            let stopped = before.all || (!before.woken && self.is_woken());
            stopped && task::tries_again(task, cx)
        };
        0 < after && self.task.is_some_and(goes_on)
    }

    /// A protected future is pending, which was polled since `marks`. Not for the sake of what was
    /// raised in it. Is it `hidden`, a combinator might not poll it next time.
    pub(super) fn protect(&self, hold: &mut Hold, marks: Marks, hidden: bool) {
        if self.find_raise(marks, |_| true).is_some() {
            hold.pending = None;
            return;
        }
        let poll = self.poll.get().unwrap_or_else(unique);
        self.poll.set(Some(poll));
        let mut protected = self.protected.get();
        protected.found += 1;
        if let Some(before) = hold.counted.replace((poll, protected.found)) {
            self.uncount(before);
        }
        if hidden || self.is_in_pass() {
            let pending = hold.pending.get_or_insert_default();
            self.with_rare(|rare| rare.protected.push(Arc::downgrade(pending)));
            protected.listed += 1;
            self.last_event.set(Some(unique()));
        }
        self.protected.set(protected);
    }

    /// The protected futures that were listed since are below whoever has `holds`.
    #[cold]
    pub(crate) fn remember(&self, marks: Marks, holds: &mut Holds) {
        if self.protected.get().listed > marks.protected.listed {
            self.peek_rare(|rare| holds.add(&rare.protected[marks.protected.listed as usize..]));
        }
    }

    /// All of them.
    #[cold]
    pub(crate) fn remember_all(&self, holds: &mut Holds) {
        self.remember(Marks::default(), holds);
    }

    /// Whether any were listed.
    pub(crate) fn lists_any(&self) -> bool {
        self.protected.get().listed > 0
    }

    /// A protected future is done, or gone.
    pub(super) fn release(&self, counted: (NonZeroU64, u32)) {
        self.uncount(counted);
        if let Some(task) = self.task {
            task::release(task);
        }
    }

    fn uncount(&self, (poll, finding): (NonZeroU64, u32)) {
        if self.poll.get() == Some(poll) {
            self.with_rare(|rare| rare.released.push(finding));
        }
    }

    /// Whether a protected future is pending that was polled since.
    fn is_protected_since(&self, marks: Marks) -> bool {
        let found = (self.protected.get().found - marks.protected.found) as usize;
        let since = |&&finding: &&u32| finding > marks.protected.found;
        found > 0 && found > self.peek_rare(|rare| rare.released.iter().filter(since).count())
    }

    /// Hidden waiters of the task that the present request has not reached (rule 14).
    fn unreached(&self) -> usize {
        self.task.map_or(0, task::unreached)
    }

    #[inline]
    pub(crate) fn is_in_pass(&self) -> bool {
        self.level.get().visible.is_some()
    }

    /// The request that may be taken by somebody who is `fresh` or not (rule 5). Who is closed in a pass
    /// stays so, also when it is polled again in it.
    #[inline]
    pub(super) fn takeable(&self, memory: &mut Memory, fresh: bool) -> Option<RequestId> {
        let level = self.level.get();
        let visible = level.visible?;
        if fresh && level.answers > 0 {
            memory.closed_in(visible.pass);
        }
        let closed = level.closed || memory.was_closed_in(visible.pass);
        (!closed && !self.is_void(visible.request)).then_some(visible.request)
    }

    /// Whether it was taken back.
    fn is_void(&self, request: RequestId) -> bool {
        self.peek_rare(|rare| rare.own == Some((request, Fate::Void)))
    }

    /// Whether the visible request may be taken inside a timeout that has fired: then it is delivered
    /// before the timeout's own, and those whom that one would wake were woken for it.
    pub(super) fn goes_first(&self, memory: &mut Memory, fresh: bool) -> bool {
        self.takeable(memory, fresh).is_some()
    }

    /// Somebody took the visible request, or passed it on.
    pub(super) fn answer(&self) {
        let level = self.level.get();
        if let Some(visible) = level.visible {
            self.level.set(Level { answers: level.answers + 1, ..level });
            self.note_fate(visible.request);
        }
    }

    /// Where a request began that an await passes on.
    pub(crate) fn origin(&self, request: RequestId) -> RequestId {
        self.task.map_or(request, |task| task::origin(task, request))
    }

    /// For the await of a task that is pending: the request to pass on. Once per pass.
    pub(crate) fn pass_on(&self, memory: &mut Memory, fresh: bool) -> Option<RequestId> {
        let visible = self.level.get().visible?;
        if memory.was_answered_in(visible.pass) {
            self.answer();
            return None;
        }
        let request = self.takeable(memory, fresh)?;
        memory.answered_in(visible.pass);
        self.answer();
        Some(request)
    }
}

/// Raises.
impl Record {
    /// What there was of raises before something is polled.
    #[inline]
    pub(crate) fn marks(&self) -> Marks {
        Marks { event: self.last_event.get(), protected: self.protected.get() }
    }

    /// Whether something may have been raised since, or protected futures listed. To be looked into with
    /// [`remember`](Self::remember) and [`raised_since`](Self::raised_since).
    #[inline]
    pub(crate) fn is_eventful_since(&self, marks: Marks) -> bool {
        self.last_event.get() != marks.event
    }

    /// The raise that was made below us, by what was polled since `marks`. If something protected is
    /// pending there, too, polled or one of those that it `holds`, the raise waits for it: it is made again in the next
    /// poll.
    pub(crate) fn raised_since(&self, marks: Marks, holds: &mut Holds) -> Option<Raise> {
        let raise = self.find_raise(marks, |_| true)?;
        if !self.is_protected_since(marks) && !holds.any() {
            return Some(raise);
        }
        self.with_rare(|rare| rare.raises.retain(|raise| !raise.is_since(marks)));
        if let Some(task) = self.task {
            task::hold_raise(task);
        }
        None
    }

    /// As [`raised_since`](Self::raised_since), for a timeout with this request: whether another's was
    /// raised, which goes on outwards. Then its own is none of theirs who are outside.
    pub(crate) fn another_is_raised_since(&self, marks: Marks, own: RequestId) -> bool {
        let another = self.find_raise(marks, |raise| raise.request != own).is_some();
        if another {
            let stays = |raise: &Raise| !raise.is_since(marks) || raise.request != own;
            self.with_rare(|rare| rare.raises.retain(stays));
        }
        another
    }

    fn find_raise(&self, marks: Marks, wanted: impl Fn(&Raise) -> bool) -> Option<Raise> {
        if !self.is_eventful_since(marks) {
            return None;
        }
        let mut wanted = |raise: &&Raise| raise.is_since(marks) && wanted(raise);
        self.peek_rare(|rare| rare.raises.iter().find(&mut wanted).copied())
    }

    /// What a task ends with that nobody in it took.
    pub(crate) fn raised(&self, holds: &mut Holds) -> Option<RequestId> {
        self.raised_since(Marks::default(), holds).map(Raise::request)
    }

    /// Whether something may have been raised in this poll, or protected futures listed.
    #[inline]
    pub(crate) fn is_eventful(&self) -> bool {
        self.last_event.get().is_some()
    }

    /// Somebody has answered the request of a timeout.
    #[cold]
    pub(crate) fn note_answer(&self, request: RequestId) {
        if let Some(task) = self.task {
            task::note_answer(task, request);
        }
    }

    /// The timeout whose request this was is gone.
    #[cold]
    pub(crate) fn strike(&self, request: RequestId) {
        if let Some(task) = self.task {
            task::strike(task, request);
        }
    }

    /// Where the raise was made that nobody took.
    pub(crate) fn raised_at(&self) -> Option<&'static Location<'static>> {
        self.find_raise(Marks::default(), |_| true).map(|raise| raise.location)
    }

    /// Raises `request`; what comes back withdraws it.
    pub(super) fn raise(
        &self,
        request: RequestId,
        location: &'static Location<'static>,
    ) -> NonZeroU64 {
        let serial = unique();
        self.last_event.set(Some(serial));
        self.with_rare(|rare| rare.raises.push(Raise { serial, request, location }));
        serial
    }

    pub(super) fn withdraw(&self, serial: NonZeroU64) {
        // Nothing in this poll, nothing to withdraw.
        if self.is_eventful() {
            self.with_rare(|rare| rare.raises.retain(|raise| raise.serial != serial));
        }
    }

    /// Takes the raise, and with it, the pass that it may have come up in (rule 10).
    pub(crate) fn take_raise(&self, raise: Raise) {
        self.end_raise(raise);
        self.answer();
    }

    /// For a timeout whose own request was raised. It takes no other one: a request that is visible
    /// outside goes to the next place where the code waits.
    pub(crate) fn end_raise(&self, raise: Raise) {
        self.withdraw(raise.serial);
    }
}

impl Visible {
    fn new(request: RequestId) -> Self {
        Visible { pass: unique(), request }
    }
}

impl Level {
    pub(super) fn below(self) -> Below {
        match self {
            _ if self.answers > 0 => Below::Answered,
            _ if self.held > 0 => Below::Held,
            _ => Below::Nothing,
        }
    }
}
