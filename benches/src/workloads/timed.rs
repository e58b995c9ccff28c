//! The workloads that are so many operations, after which the costs are read.

use std::future::Future;
use std::pin::Pin;

use rayon::ThreadPool;

use super::{
    blocking, bridge, broadcast, chain, channel_pair, compute, fork_join, locks, mpsc, pair_switch,
    ping_pong, spawn_join, spawn_many, spawn_remote, timers, yields,
};
use crate::runtimes::{Name, Peer};

/// They by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// Spawns one task and awaits it, again and again.
    SpawnJoin,
    /// Spawns a thousand, then awaits them all.
    SpawnMany,
    /// The same from a thread that is none of the runtime's.
    SpawnRemote,
    /// Each task spawns the next one.
    Chain,
    /// Tasks that fork and join.
    ForkJoin,
    /// A hundred tasks that do nothing but let others run.
    Yield,
    /// Two tasks that wake each other.
    PairSwitch,
    /// Two tasks and two one-shot channels per round.
    PingPong,
    /// Two tasks and two channels, used again and again, the same channels for all.
    ChannelPair,
    /// Messages from one task to another.
    MpscOne,
    /// Messages from four tasks to another.
    MpscFour,
    /// A mutex, given back at once.
    Mutex,
    /// A mutex, kept across an await.
    MutexHold,
    /// A semaphore, given back at once.
    Semaphore,
    /// A semaphore, kept across an await.
    SemaphoreHold,
    /// One task wakes many.
    Broadcast,
    /// A timer is set and cancelled.
    TimerCancel,
    /// A timeout around what is soon ready.
    TimeoutReady,
    /// A foreign thread has a task run and waits.
    Bridge,
    /// A task has a function run that may block, and waits.
    BlockingLatency,
    /// Ten thousand of those at a time.
    BlockingThroughput,
    /// The same without a handle for each.
    BlockingMap,
    /// A thousand that block.
    BlockingNaps,
    /// Forks and joins on several cores.
    ComputeJoins,
    /// Sorting on several cores.
    ComputeSorts,
    /// Adding up on several cores.
    ComputeSums,
}

impl Timed {
    /// In the order of the table.
    pub(super) const ALL: [Timed; 26] = [
        Timed::SpawnJoin,
        Timed::SpawnMany,
        Timed::SpawnRemote,
        Timed::Chain,
        Timed::ForkJoin,
        Timed::Yield,
        Timed::PairSwitch,
        Timed::PingPong,
        Timed::ChannelPair,
        Timed::MpscOne,
        Timed::MpscFour,
        Timed::Mutex,
        Timed::MutexHold,
        Timed::Semaphore,
        Timed::SemaphoreHold,
        Timed::Broadcast,
        Timed::TimerCancel,
        Timed::TimeoutReady,
        Timed::Bridge,
        Timed::BlockingLatency,
        Timed::BlockingThroughput,
        Timed::BlockingMap,
        Timed::BlockingNaps,
        Timed::ComputeJoins,
        Timed::ComputeSorts,
        Timed::ComputeSums,
    ];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Timed::SpawnJoin => "spawn_join",
            Timed::SpawnMany => "spawn_many",
            Timed::SpawnRemote => "spawn_remote",
            Timed::Chain => "chain",
            Timed::ForkJoin => "fork_join",
            Timed::Yield => "yield",
            Timed::PairSwitch => "pair_switch",
            Timed::PingPong => "ping_pong",
            Timed::ChannelPair => "channel_pair",
            Timed::MpscOne => "mpsc_1_1",
            Timed::MpscFour => "mpsc_4_1",
            Timed::Mutex => "mutex",
            Timed::MutexHold => "mutex_hold",
            Timed::Semaphore => "semaphore",
            Timed::SemaphoreHold => "semaphore_hold",
            Timed::Broadcast => "broadcast",
            Timed::TimerCancel => "timer_cancel",
            Timed::TimeoutReady => "timeout_ready",
            Timed::Bridge => "bridge",
            Timed::BlockingLatency => "blocking_lat",
            Timed::BlockingThroughput => "blocking_tput",
            Timed::BlockingMap => "blocking_map",
            Timed::BlockingNaps => "blocking_naps",
            Timed::ComputeJoins => "compute_join",
            Timed::ComputeSorts => "compute_sort",
            Timed::ComputeSums => "compute_sum",
        }
    }

    /// How many operations one run has.
    pub(super) fn ops(self) -> u64 {
        match self {
            Timed::SpawnJoin => spawn_join::OPS,
            Timed::SpawnMany => spawn_many::OPS,
            Timed::SpawnRemote => spawn_remote::OPS,
            Timed::Chain => chain::OPS,
            Timed::ForkJoin => fork_join::OPS,
            Timed::Yield => yields::OPS,
            Timed::PairSwitch => pair_switch::OPS,
            Timed::PingPong => ping_pong::OPS,
            Timed::ChannelPair => channel_pair::OPS,
            Timed::MpscOne | Timed::MpscFour => mpsc::OPS,
            Timed::Mutex | Timed::Semaphore => locks::OPS,
            Timed::MutexHold | Timed::SemaphoreHold => locks::HELD,
            Timed::Broadcast => broadcast::OPS,
            Timed::TimerCancel => timers::CANCELS,
            Timed::TimeoutReady => timers::TIMEOUTS,
            Timed::Bridge => bridge::OPS,
            Timed::BlockingLatency => blocking::ROUND_TRIPS,
            Timed::BlockingThroughput | Timed::BlockingMap => blocking::JOBS,
            Timed::BlockingNaps => blocking::NAPS,
            Timed::ComputeJoins => compute::JOINS,
            Timed::ComputeSorts => compute::SORTS,
            Timed::ComputeSums => compute::SUMS,
        }
    }

    /// Whether `runtime` can do it.
    pub(super) fn runs_on(self, runtime: Name) -> bool {
        let computes =
            matches!(self, Timed::ComputeJoins | Timed::ComputeSorts | Timed::ComputeSums);
        match runtime {
            Name::Epoll => false,
            _ if runtime.is_for_processes() => false,
            Name::CPython => matches!(
                self,
                Timed::BlockingLatency
                    | Timed::BlockingThroughput
                    | Timed::BlockingMap
                    | Timed::BlockingNaps
            ),
            // On a pool with as many threads for all of them; so once is enough.
            _ if computes => runtime.is_ranked(),
            // Its pool has as many threads as it was told, and grows no more.
            Name::Monoio => self != Timed::BlockingNaps,
            Name::Rayon => matches!(
                self,
                Timed::SpawnMany
                    | Timed::SpawnRemote
                    | Timed::ForkJoin
                    | Timed::BlockingLatency
                    | Timed::BlockingThroughput
                    | Timed::BlockingMap
            ),
            _ => true,
        }
    }

    /// Whether each time begins in a new process, and without a warm-up.
    pub(super) fn starts_cold(self) -> bool {
        self == Timed::BlockingNaps
    }

    /// What is done once, before anything is timed.
    pub(super) fn prepare<P: Peer>(self, peer: &P) {
        if self == Timed::BlockingNaps {
            peer.run(async { P::allow_blocking(blocking::ASLEEP) });
        }
    }

    /// So many operations on one runtime.
    pub(super) fn run<P: Peer>(self, peer: &P, ops: u64) {
        // In a box, once per run: the compiler would else make a copy of the whole runtime per workload.
        let work: Pin<Box<dyn Future<Output = ()> + Send>> = match self {
            Timed::SpawnJoin => Box::pin(spawn_join::run::<P>(ops)),
            Timed::SpawnMany => Box::pin(spawn_many::run::<P>(ops)),
            Timed::SpawnRemote => Box::pin(spawn_remote::run::<P>(ops)),
            Timed::Chain => Box::pin(chain::run::<P>(ops)),
            Timed::ForkJoin => Box::pin(fork_join::run::<P>(ops)),
            Timed::Yield => Box::pin(yields::run::<P>(ops)),
            Timed::PairSwitch => Box::pin(pair_switch::run::<P>(ops)),
            Timed::PingPong => Box::pin(ping_pong::run::<P>(ops)),
            Timed::ChannelPair => Box::pin(channel_pair::run::<P>(ops)),
            Timed::MpscOne => Box::pin(mpsc::one_to_one::<P>(ops)),
            Timed::MpscFour => Box::pin(mpsc::four_to_one::<P>(ops)),
            Timed::Mutex => Box::pin(locks::mutex::<P>(ops)),
            Timed::MutexHold => Box::pin(locks::mutex_hold::<P>(ops)),
            Timed::Semaphore => Box::pin(locks::semaphore::<P>(ops)),
            Timed::SemaphoreHold => Box::pin(locks::semaphore_hold::<P>(ops)),
            Timed::Broadcast => Box::pin(broadcast::run::<P>(ops)),
            Timed::TimerCancel => Box::pin(timers::cancel::<P>(ops)),
            Timed::TimeoutReady => Box::pin(timers::timeout_ready::<P>(ops)),
            Timed::Bridge => Box::pin(bridge::run::<P>(ops)),
            Timed::BlockingLatency => Box::pin(blocking::latency::<P>(ops)),
            Timed::BlockingThroughput => Box::pin(blocking::throughput::<P>(ops)),
            Timed::BlockingMap => Box::pin(blocking::map::<P>(ops)),
            Timed::BlockingNaps => Box::pin(blocking::naps::<P>(ops)),
            Timed::ComputeJoins => Box::pin(compute::joins::<P>(ops)),
            Timed::ComputeSorts => Box::pin(compute::sorts::<P>(ops)),
            Timed::ComputeSums => Box::pin(compute::sums::<P>(ops)),
        };
        peer.run(work);
    }

    /// So many operations on rayon.
    ///
    /// # Panics
    /// When it does not [run](Self::runs_on) there.
    pub(super) fn run_on_rayon(self, pool: &ThreadPool, ops: u64) {
        match self {
            Timed::SpawnMany => pool.install(|| spawn_many::run_on_rayon(ops)),
            Timed::SpawnRemote => spawn_remote::run_on_rayon(pool, ops),
            Timed::ForkJoin => pool.install(|| fork_join::run_on_rayon(ops)),
            Timed::BlockingLatency => blocking::latency_on_rayon(pool, ops),
            Timed::BlockingThroughput => blocking::throughput_on_rayon(pool, ops),
            Timed::BlockingMap => blocking::map_on_rayon(pool, ops),
            Timed::ComputeJoins => compute::joins_on_rayon(pool, ops),
            Timed::ComputeSorts => compute::sorts_on_rayon(pool, ops),
            Timed::ComputeSums => compute::sums_on_rayon(pool, ops),
            _ => panic!("rayon does not do {}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtimes::{Job, rayon};

    struct All(Name);

    impl Job for All {
        type Output = ();

        fn on<P: Peer>(self, threads: usize) {
            let peer = P::start(threads).unwrap();
            for timed in Timed::ALL.into_iter().filter(|timed| timed.runs_on(self.0)) {
                timed.prepare(&peer);
                timed.run(&peer, 400);
            }
        }
    }

    /// The workloads verify their results themselves.
    #[test]
    fn every_workload_ends_on_every_runtime() {
        for name in Name::ALL.into_iter().filter(|name| name.is_runtime()) {
            name.dispatch(All(name));
        }
        let pool = rayon::start().unwrap();
        for timed in Timed::ALL.into_iter().filter(|timed| timed.runs_on(Name::Rayon)) {
            timed.run_on_rayon(&pool, 400);
        }
    }
}
