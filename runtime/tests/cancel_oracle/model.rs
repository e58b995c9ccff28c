//! The rules, worked out for programs that are one line of nested levels.
//!
//! A task is a stack of levels with something that waits on top. A poll lets that go on until it waits
//! again and then walks the stack from the innermost level outward: each level that may have a request
//! takes it, is cut off with all above it, and its code goes on, which may put new levels on the stack.
//! So nothing here is recursive and there are no flags to restore.
//!
//! Where the rules leave a choice: a raise that arrives at a fired timeout whose own request nobody
//! answered goes on outward (it beats the end of the time, as a value does); who awaits a task is told
//! the last of the requests that it passed on.

use std::collections::VecDeque;

use crate::event::{Event, Place};
use crate::nest::{Case, CleanUp, Fires, Level, Reply};

/// A request, by where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// The so-manieth of the task that starts at this depth.
    Task(usize, usize),
    /// Of the timeout at this depth.
    Timeout(usize),
}

#[derive(Clone, Copy)]
enum Kind {
    Scope(Reply),
    Timeout {
        fires: Fires,
        after: CleanUp,
        delivered: bool,
    },
    Protect,
    /// In a clean-up, after which the level does this.
    CleanUpScope(Then),
    CleanUpProtect(Then),
}

#[derive(Clone, Copy)]
struct Frame {
    depth: usize,
    kind: Kind,
    /// The request that is visible from outside in this poll.
    outer: Option<Request>,
    /// The request that is visible inside.
    inner: Option<Request>,
}

/// After a clean-up.
#[derive(Clone, Copy)]
enum Then {
    Return,
    Raise(Request),
}

#[derive(Clone, Copy)]
enum Activity {
    Suspended { place: Place, left: u8, then: Then, resumed: bool },
    Awaiting { child: usize, passed_on: Option<Request> },
    Raising(Request),
    Done { value: bool },
}

struct Task {
    depth: usize,
    stack: Vec<Frame>,
    activity: Option<Activity>,
    parent: Option<usize>,
    queued: bool,
    due: Option<Request>,
    asked: usize,
    made: usize,
}

pub(crate) struct Model<'a> {
    case: &'a Case,
    tasks: Vec<Task>,
    queue: VecDeque<usize>,
    /// How many steps have begun.
    now: usize,
    log: Vec<Event<Request>>,
    /// Of the poll in progress.
    answered: Vec<Request>,
    held: Vec<Request>,
}

/// The log that the rules prescribe.
pub(crate) fn run(case: &Case) -> Vec<Event<Request>> {
    let mut model = Model {
        case,
        tasks: Vec::new(),
        queue: VecDeque::new(),
        now: 0,
        log: Vec::new(),
        answered: Vec::new(),
        held: Vec::new(),
    };
    model.spawn(0, None);
    for _ in 0..case.script.before {
        model.ask_root();
    }
    model.run_queue();
    for step in &case.script.steps {
        model.now += 1;
        model.fire();
        for _ in 0..step.cancels {
            model.ask_root();
        }
        if step.resume {
            model.resume();
        }
        model.run_queue();
    }
    for _ in 0..32 {
        if model.is_done(0) {
            break;
        }
        model.resume();
        model.run_queue();
    }
    assert!(model.is_done(0), "the model does not end:\n{case:?}\n{:#?}", model.log);
    let value = matches!(model.tasks[0].activity, Some(Activity::Done { value: true }));
    model.log.push(Event::Ended(value));
    model.log
}

impl Model<'_> {
    fn spawn(&mut self, depth: usize, parent: Option<usize>) -> usize {
        let index = self.tasks.len();
        self.tasks.push(Task {
            depth,
            stack: Vec::new(),
            activity: None,
            parent,
            queued: false,
            due: None,
            asked: 0,
            made: 0,
        });
        self.wake(index);
        index
    }

    fn is_done(&self, task: usize) -> bool {
        matches!(self.tasks[task].activity, Some(Activity::Done { .. }))
    }

    fn wake(&mut self, task: usize) {
        if !self.is_done(task) && !self.tasks[task].queued {
            self.tasks[task].queued = true;
            self.queue.push_back(task);
        }
    }

    fn ask(&mut self, index: usize) -> Option<Request> {
        if self.is_done(index) {
            return None;
        }
        let task = &mut self.tasks[index];
        task.asked += 1;
        if task.due.is_none() {
            task.due = Some(Request::Task(task.depth, task.made));
            task.made += 1;
        }
        let request = task.due;
        self.wake(index);
        request
    }

    fn ask_root(&mut self) {
        let request = self.ask(0);
        self.log.push(Event::Asked(request));
    }

    fn has_fired(&self, fires: Fires) -> bool {
        match fires {
            Fires::Opened => true,
            Fires::First => self.now >= 1,
            Fires::Second => self.now >= 2,
            Fires::Never => false,
        }
    }

    /// Wakes those whose time is up now, the outermost first.
    fn fire(&mut self) {
        let now = match self.now {
            1 => Fires::First,
            2 => Fires::Second,
            _ => return,
        };
        for index in 0..self.tasks.len() {
            let fires =
                |frame: &Frame| matches!(frame.kind, Kind::Timeout { fires, .. } if fires == now);
            if self.tasks[index].stack.iter().any(fires) {
                self.wake(index);
            }
        }
    }

    fn resume(&mut self) {
        for index in 0..self.tasks.len() {
            if let Some(Activity::Suspended { resumed, .. }) = &mut self.tasks[index].activity {
                *resumed = true;
                self.wake(index);
            }
        }
    }

    fn run_queue(&mut self) {
        while let Some(index) = self.queue.pop_front() {
            self.tasks[index].queued = false;
            self.poll(index);
            if let (true, Some(parent)) = (self.is_done(index), self.tasks[index].parent) {
                self.wake(parent);
            }
        }
    }

    fn poll(&mut self, index: usize) {
        self.answered.clear();
        self.held.clear();
        let pass = self.tasks[index].due;
        if self.tasks[index].activity.is_none() {
            if pass.is_some() {
                self.end(index, false);
                return;
            }
            self.enter(index, self.tasks[index].depth);
        } else {
            self.show(index, pass);
            self.go_on(index);
        }
        while let Some(position) = self.first_to_end(index) {
            self.cut(index, position);
        }
        if self.is_done(index) {
            return;
        }
        let raising = matches!(self.tasks[index].activity, Some(Activity::Raising(_)));
        let taken = pass.is_some_and(|pass| !self.is_answered(pass) && !self.held.contains(&pass));
        if raising || taken {
            self.drop_activity(index);
            self.end(index, false);
        } else if pass.is_some_and(|pass| self.is_answered(pass)) {
            self.tasks[index].due = None;
        }
    }

    fn is_answered(&self, request: Request) -> bool {
        self.answered.contains(&request)
    }

    /// Decides, from the root inward, who sees which request in this poll.
    fn show(&mut self, index: usize, pass: Option<Request>) {
        let mut visible = pass;
        for position in 0..self.tasks[index].stack.len() {
            let frame = self.tasks[index].stack[position];
            let inner = self.inner(&frame, visible);
            let frame = &mut self.tasks[index].stack[position];
            (frame.outer, frame.inner) = (visible, inner);
            visible = inner;
        }
    }

    fn inner(&self, frame: &Frame, outer: Option<Request>) -> Option<Request> {
        match frame.kind {
            Kind::Scope(_) | Kind::CleanUpScope(_) => outer,
            Kind::Protect | Kind::CleanUpProtect(_) => None,
            Kind::Timeout { fires, delivered, .. } => {
                let own = self.has_fired(fires) && !delivered;
                outer.or(own.then_some(Request::Timeout(frame.depth)))
            }
        }
    }

    /// What a level that is opened now sees: nothing, if the request was answered before.
    fn visible(&self, index: usize) -> Option<Request> {
        let task = &self.tasks[index];
        let visible = task.stack.last().map_or(task.due, |frame| frame.inner);
        visible.filter(|&request| !self.is_answered(request))
    }

    fn push(&mut self, index: usize, depth: usize, kind: Kind) {
        let outer = self.visible(index);
        let frame = Frame { depth, kind, outer, inner: None };
        let inner = self.inner(&frame, outer);
        self.tasks[index].stack.push(Frame { inner, ..frame });
    }

    /// Runs the code of the level at `depth` and of those in it.
    fn enter(&mut self, index: usize, depth: usize) {
        for depth in depth.. {
            match self.case.level(depth) {
                None => return self.suspend(index, Place::Leaf, self.case.leaf, Then::Return),
                Some(Level::Scope(reply)) => self.push(index, depth, Kind::Scope(reply)),
                Some(Level::Protect) => self.push(index, depth, Kind::Protect),
                Some(Level::Timeout(fires, after)) => {
                    self.push(index, depth, Kind::Timeout { fires, after, delivered: false });
                }
                Some(Level::Task(_)) => {
                    let child = self.spawn(depth + 1, Some(index));
                    self.tasks[index].activity =
                        Some(Activity::Awaiting { child, passed_on: None });
                    return;
                }
            }
        }
    }

    fn suspend(&mut self, index: usize, place: Place, left: u8, then: Then) {
        self.log.push(Event::Polled(place));
        self.tasks[index].activity =
            Some(Activity::Suspended { place, left, then, resumed: false });
    }

    /// Polls what waits on top.
    fn go_on(&mut self, index: usize) {
        match self.tasks[index].activity {
            Some(Activity::Suspended { place, left, then, resumed }) => {
                self.log.push(Event::Polled(place));
                if !resumed {
                    return;
                }
                self.log.push(Event::Finished(place));
                if left > 1 {
                    self.suspend(index, place, left - 1, then);
                } else if place == Place::Tail {
                    self.end(index, true);
                } else {
                    self.leave(index, then);
                }
            }
            Some(Activity::Awaiting { child, passed_on }) => {
                let Some(Activity::Done { value }) = self.tasks[child].activity else { return };
                let depth = self.tasks[child].depth - 1;
                match (value, passed_on) {
                    (true, _) => self.give_back(index),
                    (false, None) => {
                        self.log.push(Event::Stranger(depth));
                        self.give_back(index);
                    }
                    (false, Some(request)) => {
                        let Some(Level::Task(reply)) = self.case.level(depth) else {
                            unreachable!("a task was awaited at {depth}");
                        };
                        self.log.push(Event::Took(depth, request, self.cancelling(index)));
                        self.reply(index, depth, request, reply);
                    }
                }
            }
            _ => unreachable!("a task was left raising or was polled after its end"),
        }
    }

    fn leave(&mut self, index: usize, then: Then) {
        match then {
            Then::Return => self.give_back(index),
            Then::Raise(request) => {
                self.tasks[index].activity = Some(Activity::Raising(request));
            }
        }
    }

    /// A value goes outward through all levels.
    fn give_back(&mut self, index: usize) {
        while let Some(frame) = self.tasks[index].stack.pop() {
            if let Kind::CleanUpScope(then) | Kind::CleanUpProtect(then) = frame.kind {
                return self.leave(index, then);
            }
        }
        if index == 0 {
            self.suspend(index, Place::Tail, 1, Then::Return);
        } else {
            self.end(index, true);
        }
    }

    fn reply(&mut self, index: usize, depth: usize, request: Request, reply: Reply) {
        let then = if reply.raise { Then::Raise(request) } else { Then::Return };
        self.clean_up(index, depth, reply.clean_up, then);
    }

    fn clean_up(&mut self, index: usize, depth: usize, clean_up: CleanUp, then: Then) {
        let place = Place::CleanUp(depth);
        match clean_up {
            CleanUp::Nothing => self.leave(index, then),
            CleanUp::Suspend(times) => self.suspend(index, place, times, then),
            CleanUp::Scoped => {
                self.push(index, depth, Kind::CleanUpScope(then));
                self.suspend(index, place, 1, Then::Return);
            }
            CleanUp::Protected => {
                self.push(index, depth, Kind::CleanUpProtect(then));
                self.suspend(index, place, 1, Then::Return);
            }
        }
    }

    fn end(&mut self, index: usize, value: bool) {
        self.tasks[index].stack.clear();
        self.tasks[index].activity = Some(Activity::Done { value });
    }

    fn drop_activity(&mut self, index: usize) {
        if let Some(Activity::Suspended { place, .. }) = self.tasks[index].activity {
            self.log.push(Event::Dropped(place));
        }
    }

    fn cancelling(&self, index: usize) -> usize {
        let task = &self.tasks[index];
        let fired = |frame: &&Frame| match frame.kind {
            Kind::Timeout { fires, .. } => self.has_fired(fires),
            _ => false,
        };
        task.asked + task.stack.iter().filter(fired).count()
    }

    /// The innermost level that ends now, given that what is on top waits.
    fn first_to_end(&mut self, index: usize) -> Option<usize> {
        if self.is_done(index) {
            return None;
        }
        if let Some(Activity::Awaiting { child, .. }) = self.tasks[index].activity
            && let Some(request) = self.visible(index)
        {
            self.ask(child);
            self.answered.push(request);
            self.tasks[index].activity =
                Some(Activity::Awaiting { child, passed_on: Some(request) });
        }
        let raised = match self.tasks[index].activity {
            Some(Activity::Raising(request)) => Some(request),
            _ => None,
        };
        for position in (0..self.tasks[index].stack.len()).rev() {
            let frame = self.tasks[index].stack[position];
            let undecided = |request: &Request| {
                !self.answered.contains(request) && !self.held.contains(request)
            };
            match frame.kind {
                Kind::Protect | Kind::CleanUpProtect(_) => self.held.extend(frame.outer),
                Kind::Scope(_) | Kind::CleanUpScope(_) => {
                    if raised.is_some() || frame.outer.as_ref().is_some_and(undecided) {
                        return Some(position);
                    }
                }
                Kind::Timeout { fires, delivered, .. } => match raised {
                    Some(request) if request == Request::Timeout(frame.depth) => {
                        return Some(position);
                    }
                    Some(_) => {}
                    None if self.has_fired(fires) && !delivered => {
                        if frame.inner.as_ref().is_some_and(undecided) {
                            return Some(position);
                        }
                        let given = frame.inner.is_some_and(|request| self.is_answered(request));
                        if let Kind::Timeout { delivered, .. } =
                            &mut self.tasks[index].stack[position].kind
                        {
                            *delivered = given;
                        }
                    }
                    None => {}
                },
            }
        }
        None
    }

    /// Ends the level at `position` and lets the code after it run.
    fn cut(&mut self, index: usize, position: usize) {
        let frame = self.tasks[index].stack[position];
        self.drop_activity(index);
        let raised = match self.tasks[index].activity {
            Some(Activity::Raising(request)) => Some(request),
            _ => None,
        };
        self.tasks[index].stack.truncate(position);
        let cancelling = self.cancelling(index);
        if let Kind::Timeout { after, .. } = frame.kind {
            self.log.push(Event::TimedOut(frame.depth, cancelling));
            return self.clean_up(index, frame.depth, after, Then::Return);
        }
        self.answered.extend(frame.outer);
        let request = raised.or(frame.outer).expect("a scope takes what there is");
        match frame.kind {
            Kind::Scope(reply) => {
                self.log.push(Event::Took(frame.depth, request, cancelling));
                self.reply(index, frame.depth, request, reply);
            }
            Kind::CleanUpScope(then) => {
                self.log.push(Event::CleanUpTook(frame.depth, request, cancelling));
                self.leave(index, then);
            }
            _ => unreachable!("a protected level takes nothing"),
        }
    }
}
