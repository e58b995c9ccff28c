//! Programs: how they are made from a seed, and made smaller when they fail.

use std::sync::Arc;

/// One thing that a program does.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Waits until it is resumed from outside.
    Suspend,
    Yield,
    Seq(Vec<Arc<Node>>),
    Join(Vec<Arc<Node>>),
    /// Whichever is first; the left one is asked first.
    Select(Arc<Node>, Arc<Node>),
    /// A set that polls only those members that were woken.
    Set(Vec<Arc<Node>>),
    Scope(Arc<Node>, Answer),
    Timeout(Arc<Node>, Ends),
    Protect(Arc<Node>),
    Shield(Arc<Node>),
    Task(Arc<Node>, Answer),
    /// Cancels the program's own task.
    Ask,
}

/// What is done with a request that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) clean_up: Option<Arc<Node>>,
    pub(crate) raise: bool,
}

/// When a timeout's time is up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    Never,
    AtOnce,
    /// At the step [`FIRE`] of the script.
    Later,
}

/// What happens to a program from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Cancel,
    /// Resumes one of those that wait.
    Resume(usize),
    ResumeAll,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) root: Arc<Node>,
    /// Before the first poll, then at each time at which everything rests. The time of the timeouts
    /// that end later comes with the third.
    pub(crate) steps: Vec<Vec<Act>>,
}

/// Which of the steps begins with the end of the timeouts' time.
pub(crate) const FIRE: usize = 2;
const STEPS: usize = 5;

/// Marsaglia's xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds give unlike numbers, and zero is none.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = random.next());
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

impl Program {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let size = 2 + random.below(14);
        let root = Arc::new(node(&mut random, size, 6));
        let steps = (0..STEPS).map(|step| acts(&mut random, step)).collect();
        Program { root, steps }
    }

    pub(crate) fn has_sets(&self) -> bool {
        format!("{:?}", self.root).contains("Set(")
    }

    /// Programs with something left out.
    pub(crate) fn smaller(&self) -> Vec<Program> {
        let mut all: Vec<_> = smaller(&self.root)
            .into_iter()
            .map(|root| Program { root, steps: self.steps.clone() })
            .collect();
        for step in 0..self.steps.len() {
            for act in 0..self.steps[step].len() {
                let mut less = self.clone();
                less.steps[step].remove(act);
                all.push(less);
            }
        }
        all
    }
}

fn acts(random: &mut Random, step: usize) -> Vec<Act> {
    let count = if step == 0 { random.below(8) / 7 } else { random.below(4) };
    (0..count)
        .map(|_| match random.below(if step == 0 { 1 } else { 5 }) {
            0 | 1 => Act::Cancel,
            2 | 3 => Act::Resume(random.below(8)),
            _ => Act::ResumeAll,
        })
        .collect()
}

fn node(random: &mut Random, size: usize, depth: usize) -> Node {
    if size <= 1 || depth == 0 {
        return match random.below(12) {
            0 => Node::Yield,
            1 => Node::Ask,
            _ => Node::Suspend,
        };
    }
    let less = size - 1;
    let one = |random: &mut Random| Arc::new(node(random, less, depth - 1));
    match random.below(20) {
        0..=2 => Node::Seq(several(random, less, depth)),
        3 | 4 => Node::Join(several(random, less, depth)),
        5 => {
            let left = random.below(less + 1);
            let right = node(random, less - left, depth - 1);
            Node::Select(Arc::new(node(random, left, depth - 1)), Arc::new(right))
        }
        6 | 7 => Node::Set(several(random, less, depth)),
        8..=11 => {
            let (inside, answer) = answered(random, less, depth);
            Node::Scope(inside, answer)
        }
        12..=14 => {
            let ends = [Ends::Never, Ends::AtOnce, Ends::Later, Ends::Later][random.below(4)];
            Node::Timeout(one(random), ends)
        }
        15 => Node::Protect(one(random)),
        16 => Node::Shield(one(random)),
        _ => {
            let (inside, answer) = answered(random, less, depth);
            Node::Task(inside, answer)
        }
    }
}

fn several(random: &mut Random, mut size: usize, depth: usize) -> Vec<Arc<Node>> {
    let mut parts = Vec::new();
    while size > 0 {
        let part = 1 + random.below(size);
        parts.push(Arc::new(node(random, part, depth - 1)));
        size -= part;
    }
    parts
}

fn answered(random: &mut Random, size: usize, depth: usize) -> (Arc<Node>, Answer) {
    let clean_up = random.below(size + 1);
    let inside = Arc::new(node(random, size - clean_up, depth - 1));
    let clean_up = (clean_up > 0).then(|| Arc::new(node(random, clean_up, depth - 1)));
    (inside, Answer { clean_up, raise: random.below(2) == 0 })
}

fn smaller(node: &Arc<Node>) -> Vec<Arc<Node>> {
    let mut all = Vec::new();
    let one = |all: &mut Vec<_>, inside: &Arc<Node>, again: &dyn Fn(Arc<Node>) -> Node| {
        all.push(inside.clone());
        all.extend(smaller(inside).into_iter().map(|inside| Arc::new(again(inside))));
    };
    let many =
        |all: &mut Vec<_>, parts: &Vec<Arc<Node>>, again: &dyn Fn(Vec<Arc<Node>>) -> Node| {
            for (index, part) in parts.iter().enumerate() {
                all.push(part.clone());
                let mut fewer = parts.clone();
                fewer.remove(index);
                if !fewer.is_empty() {
                    all.push(Arc::new(again(fewer)));
                }
                for part in smaller(part) {
                    let mut parts = parts.clone();
                    parts[index] = part;
                    all.push(Arc::new(again(parts)));
                }
            }
        };
    let answer = |all: &mut Vec<_>, answer: &Answer, again: &dyn Fn(Answer) -> Node| {
        let Some(clean_up) = &answer.clean_up else { return };
        all.push(Arc::new(again(Answer { clean_up: None, ..*answer })));
        for clean_up in smaller(clean_up) {
            let clean_up = Some(clean_up);
            all.push(Arc::new(again(Answer { clean_up, ..*answer })));
        }
    };
    match &**node {
        Node::Suspend => {}
        Node::Yield | Node::Ask => all.push(Arc::new(Node::Suspend)),
        Node::Seq(parts) => many(&mut all, parts, &Node::Seq),
        Node::Join(parts) => many(&mut all, parts, &Node::Join),
        Node::Set(parts) => many(&mut all, parts, &Node::Set),
        Node::Select(left, right) => {
            one(&mut all, left, &|left| Node::Select(left, right.clone()));
            one(&mut all, right, &|right| Node::Select(left.clone(), right));
        }
        Node::Scope(inside, how) => {
            one(&mut all, inside, &|inside| Node::Scope(inside, how.clone()));
            answer(&mut all, how, &|how| Node::Scope(inside.clone(), how));
        }
        Node::Task(inside, how) => {
            one(&mut all, inside, &|inside| Node::Task(inside, how.clone()));
            answer(&mut all, how, &|how| Node::Task(inside.clone(), how));
        }
        Node::Timeout(inside, ends) => {
            one(&mut all, inside, &|inside| Node::Timeout(inside, *ends));
        }
        Node::Protect(inside) => one(&mut all, inside, &Node::Protect),
        Node::Shield(inside) => one(&mut all, inside, &Node::Shield),
    }
    all
}
