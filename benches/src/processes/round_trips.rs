//! How long one waits for a trivial job when there is no other one: back to back, and after a pause in which
//! both sides have gone to sleep.

use std::thread;
use std::time::{Duration, Instant};

use loopool::{ProcessPoolExecutor, call, run_in_executor};

use super::duplex::Duplex;
use super::jobs::echo;
use super::pool::Pool;
use super::told::Told;
use crate::Error;
use crate::report::percentile;
use crate::runtimes::THREADS;

/// Back to back: up to two seconds.
pub(super) const OPS: u64 = 10_000;

/// Of so many there is one with a pause.
const PER_COLD: u64 = 20;

/// Long enough for everybody to fall asleep.
const PAUSE: Duration = Duration::from_millis(2);

/// With a pool.
pub(super) fn measure<P: Pool>(ops: u64) -> Result<Told, Error> {
    let pool = P::start(THREADS)?;
    let told = measure_with(ops, |number| pool.call(echo, number))?;
    pool.end();
    Ok(told)
}

/// Without: two processes that answer each other.
pub(super) fn measure_bare<D: Duplex>(ops: u64) -> Result<Told, Error> {
    let mut other = D::start()?;
    measure_with(ops, |number| other.ask(number))
}

fn measure_with(ops: u64, mut ask: impl FnMut(u64) -> Result<u64, Error>) -> Result<Told, Error> {
    let mut ask = |number| -> Result<Duration, Error> {
        let begun = Instant::now();
        let answer = ask(number)?;
        let took = begun.elapsed();
        if answer == number { Ok(took) } else { Err("another job's result".into()) }
    };
    for number in 0..warm_up(ops) {
        ask(number)?;
    }
    let warm = (0..ops).map(&mut ask).collect::<Result<_, _>>()?;
    let cold = |number| {
        thread::sleep(PAUSE);
        ask(number)
    };
    let cold = (0..cold_ops(ops)).map(cold).collect::<Result<_, _>>()?;
    Ok(tell(warm, cold))
}

/// Ours, from a loop.
pub(super) fn measure_on_loop(ops: u64) -> Result<Told, Error> {
    let pool = ProcessPoolExecutor::new(THREADS)?;
    let told = loopool::run(async {
        for number in 0..warm_up(ops) {
            ask_on_loop(&pool, number).await?;
        }
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        for number in 0..ops {
            warm.push(ask_on_loop(&pool, number).await?);
        }
        for number in 0..cold_ops(ops) {
            loopool::sleep(PAUSE).await;
            cold.push(ask_on_loop(&pool, number).await?);
        }
        Ok::<_, Error>(tell(warm, cold))
    })?;
    pool.end();
    Ok(told)
}

async fn ask_on_loop(pool: &ProcessPoolExecutor, number: u64) -> Result<Duration, Error> {
    let begun = Instant::now();
    let job = run_in_executor(pool, call(echo as fn(u64) -> u64, number));
    let job = job.map_err(|rejected| rejected.to_string())?;
    let answer = job.await.map_err(|error| error.to_string())?;
    let took = begun.elapsed();
    if answer == number { Ok(took) } else { Err("another job's result".into()) }
}

fn warm_up(ops: u64) -> u64 {
    ops / 10 + 10
}

fn cold_ops(ops: u64) -> u64 {
    ops / PER_COLD + 1
}

fn tell(mut warm: Vec<Duration>, mut cold: Vec<Duration>) -> Told {
    warm.sort_unstable();
    cold.sort_unstable();
    let of = |sorted: &[Duration], share| percentile(sorted, share).as_secs_f64() * 1e6;
    Told::figures([
        ("warm_p50", of(&warm, 0.5)),
        ("warm_p99", of(&warm, 0.99)),
        ("cold_p50", of(&cold, 0.5)),
        ("cold_p99", of(&cold, 0.99)),
    ])
}
