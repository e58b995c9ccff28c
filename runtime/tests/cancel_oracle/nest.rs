//! The programs: what is nested in what, what each level does when it is interrupted, and when the
//! requests arrive.

use std::fmt;

/// What a level does once it was interrupted, before it returns or raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CleanUp {
    Nothing,
    /// Suspends so many times.
    Suspend(u8),
    /// Suspends in a scope of its own.
    Scoped,
    /// Suspends once, protected.
    Protected,
}

/// How a scope or the await of a task goes on after it took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) clean_up: CleanUp,
    /// Whether it hands the request on afterwards, or returns as if nothing had happened.
    pub(crate) raise: bool,
}

/// When a timeout's time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Fires {
    /// Before it is first polled.
    Opened,
    First,
    Second,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Scope(Reply),
    Timeout(Fires, CleanUp),
    Protect,
    Task(Reply),
}

/// What happens between two times at which everything rests. Timeouts fire first, then the root is
/// cancelled so many times, then whatever is suspended is resumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) cancels: u8,
    pub(crate) resume: bool,
}

/// How often the root is cancelled before its first poll, and the steps. [`Fires::First`] is the first
/// of these and [`Fires::Second`] the second. After the last one, whatever is suspended is resumed again
/// and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) before: u8,
    pub(crate) steps: [Step; 3],
}

#[derive(Clone, Copy)]
pub(crate) struct Case {
    levels: [Option<Level>; 3],
    /// How many times the innermost code suspends.
    pub(crate) leaf: u8,
    pub(crate) script: &'static Script,
}

impl Case {
    /// The level at this depth; none where the innermost code is.
    pub(crate) fn level(&self, depth: usize) -> Option<Level> {
        self.levels.get(depth).copied().flatten()
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in self.levels.iter().flatten() {
            writeln!(f, "    {level:?}")?;
        }
        write!(f, "    {} suspensions\n    {:?}", self.leaf, self.script)
    }
}

const REST: Step = Step { cancels: 0, resume: false };
const GO: Step = Step { cancels: 0, resume: true };
const ASK: Step = Step { cancels: 1, resume: false };
const TWICE: Step = Step { cancels: 2, resume: false };
const BOTH: Step = Step { cancels: 1, resume: true };

const fn script(before: u8, first: Step, second: Step, third: Step) -> Script {
    Script { before, steps: [first, second, third] }
}

static SCRIPTS: [Script; 16] = [
    script(0, REST, REST, REST),
    script(1, REST, REST, REST),
    script(2, GO, GO, GO),
    script(0, ASK, REST, REST),
    script(0, TWICE, REST, REST),
    script(0, BOTH, REST, REST),
    script(0, ASK, ASK, REST),
    script(0, ASK, ASK, ASK),
    script(0, ASK, BOTH, REST),
    script(0, BOTH, BOTH, BOTH),
    script(0, GO, ASK, REST),
    script(0, GO, BOTH, ASK),
    script(0, ASK, GO, ASK),
    script(0, REST, ASK, REST),
    script(0, REST, REST, ASK),
    script(0, GO, GO, BOTH),
];

fn levels() -> Vec<Level> {
    use CleanUp::{Nothing, Protected, Scoped, Suspend};
    let mut levels = vec![Level::Protect, Level::Timeout(Fires::Never, Nothing)];
    for clean_up in [Nothing, Suspend(1), Suspend(2), Scoped, Protected] {
        for raise in [false, true] {
            let reply = Reply { clean_up, raise };
            levels.extend([Level::Scope(reply), Level::Task(reply)]);
        }
    }
    for fires in [Fires::Opened, Fires::First, Fires::Second] {
        for clean_up in [Nothing, Suspend(1), Scoped] {
            levels.push(Level::Timeout(fires, clean_up));
        }
    }
    levels
}

/// Every `stride`-th of all nests of up to three levels, with every script.
pub(crate) fn cases(stride: usize) -> impl Iterator<Item = Case> {
    let choices: Vec<Option<Level>> = levels().into_iter().map(Some).collect();
    let mut nests = vec![[None; 3]];
    let mut from = 0;
    for depth in 0..3 {
        let to = nests.len();
        for shorter in from..to {
            for &level in &choices {
                let mut nest = nests[shorter];
                nest[depth] = level;
                nests.push(nest);
            }
        }
        from = to;
    }
    let all = nests.into_iter().flat_map(|levels| {
        [1, 2]
            .into_iter()
            .flat_map(move |leaf| SCRIPTS.iter().map(move |script| Case { levels, leaf, script }))
    });
    all.step_by(stride)
}
