//! Executors that this loop serves: looked at before it sleeps, if that has paid lately.
//!
//! A worker process answers a short job in less time than it takes to fall asleep and to be woken. So while such answers
//! are due the loop looks for them for a moment, as it looks around for tasks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use loopool_executors::caught::run_caught;
use loopool_executors::engine::Engine;
use loopool_executors::patience::Patience;

#[derive(Default)]
pub(super) struct Engines {
    served: Vec<Weak<dyn Engine>>,
    pub(super) patience: Patience,
}

impl Engines {
    pub(super) fn add(&mut self, engine: Weak<dyn Engine>) {
        self.served.retain(|engine| engine.strong_count() > 0);
        self.served.push(engine);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.served.is_empty()
    }

    /// Takes in what another list has.
    pub(super) fn extend(&mut self, other: Engines) {
        self.served.extend(other.served);
    }

    fn all(&self) -> impl Iterator<Item = Arc<dyn Engine>> {
        self.served.iter().filter_map(Weak::upgrade)
    }

    /// How often to look before sleeping.
    pub(super) fn rounds(&mut self) -> u32 {
        if self.all().any(|engine| engine.has_jobs()) { self.patience.rounds() } else { 0 }
    }

    /// Takes in what has come. To be called without a borrow of the loop's: wakers run.
    pub(super) fn look(served: &[Arc<dyn Engine>]) {
        for engine in served {
            run_caught("an executor that the loop serves", || engine.look());
        }
    }

    /// Those to be looked at.
    pub(super) fn served(&self) -> Vec<Arc<dyn Engine>> {
        self.all().collect()
    }

    /// The loop has slept so long.
    pub(super) fn slept(&mut self, how_long: Duration) {
        if !self.served.is_empty() {
            let called = self.all().any(|engine| engine.has_answers());
            self.patience.slept(how_long, called);
        }
    }
}
