//! What runs in the workers, and what is to come of it.

use std::io;
use std::time::Duration;

use loopool::Blob;
use loopool_examples::faults::Fault;
use serde::{Deserialize, Serialize};

use crate::fate::{Fate, mix};
use crate::herald;

/// A job's argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) fate: Fate,
    /// Who is to be told that the job runs.
    program: u32,
    text: String,
    ballast: Vec<Blob>,
}

/// A job's result.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    number: u64,
    text: String,
    list: Vec<u32>,
    ballast: Vec<Blob>,
}

const SMALLEST: u64 = 100 << 10;
const LARGEST: u64 = 2 << 20;

impl Order {
    pub(crate) fn new(seed: u64, number: u64) -> Order {
        let fate = Fate::of(seed, number);
        let random = mix(seed.wrapping_add(number));
        let text = match fate {
            Fate::Middle => format!("{number} ").repeat((random % 3000) as usize),
            _ => String::new(),
        };
        let ballast = match fate {
            Fate::Large => (0..=random % 2).map(|part| buffer(mix(random ^ part))).collect(),
            _ => Vec::new(),
        };
        Order { number, fate, program: std::process::id(), text, ballast }
    }

    /// What an honest job answers.
    pub(crate) fn answer(&self) -> Answer {
        let list = (0..self.text.len() as u32 / 3).map(|at| at ^ self.number as u32).collect();
        let turned = |blob: &Blob| blob.iter().rev().map(|byte| !byte).collect::<Vec<u8>>().into();
        Answer {
            number: mix(self.number),
            text: self.text.to_uppercase(),
            list,
            ballast: self.ballast.iter().map(turned).collect(),
        }
    }

    /// What a job that exits exits with.
    pub(crate) fn exit_code(&self) -> i32 {
        (self.number % 120) as i32
    }

    /// What a job that panics says.
    pub(crate) fn panic_message(&self) -> String {
        format!("job {} panics", self.number)
    }
}

/// A buffer of random length and contents.
fn buffer(random: u64) -> Blob {
    let len = SMALLEST + random % (LARGEST - SMALLEST);
    let mut pattern = random.to_le_bytes().repeat(len as usize / 8 + 1);
    pattern.truncate(len as usize);
    pattern.into()
}

/// The job.
pub(crate) fn suffer(order: Order) -> Answer {
    match order.fate {
        Fate::Small | Fate::Middle | Fate::Large | Fate::CancelledEarly => {}
        Fate::Abort => Fault::Abort.job()(()),
        Fate::Segfault => Fault::Segfault.job()(()),
        Fate::StackOverflow => Fault::StackOverflow.job()(()),
        Fate::Memory => Fault::Memory.job()(()),
        Fate::Endless => Fault::Hang.job()(()),
        Fate::Panic => panic!("{}", order.panic_message()),
        Fate::Exit => std::process::exit(order.exit_code()),
        Fate::Killed | Fate::CancelledRunning => match wait_for_the_end(&order) {
            Ok(()) => panic!("nobody ended it"),
            Err(error) => panic!("the program could not be told: {error}"),
        },
    }
    order.answer()
}

/// Only a program that has forgotten the job lets it come so far.
const FORGOTTEN: Duration = Duration::from_secs(600);

fn wait_for_the_end(order: &Order) -> io::Result<()> {
    herald::announce(order.program, order.fate, order.number)?;
    std::thread::sleep(FORGOTTEN);
    Ok(())
}
