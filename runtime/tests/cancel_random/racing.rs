//! The same programs on two loops that steal from each other, while another thread cancels and resumes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loopool::{Runtime, create_task};

use crate::program::{Act, Program};
use crate::run;
use crate::world::World;

/// Longer than any machine needs; only a hang lasts so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// More polls than any program needs, even when the machine puts the racer aside in the midst of waking a child
/// of a set: the set has its task polled without a pause until the racer is back, ten million times a second.
const POLLS: usize = 20_000_000;

/// Runs the programs and says of each what went wrong.
pub(crate) fn run(runtime: &Runtime, programs: &[Program]) -> Vec<Vec<String>> {
    let begin = Instant::now();
    let fire = begin + Duration::from_micros(300);
    let worlds: Arc<Vec<_>> =
        Arc::new(programs.iter().map(|program| World::new(false, program, begin, fire)).collect());
    let programs = programs.to_vec();
    let others = worlds.clone();
    runtime.run_until_complete(async move {
        let scripts = programs.clone();
        let racing = others.clone();
        let racer = loopool::to_thread(move || race(&racing, &scripts));
        for (world, program) in others.iter().zip(&programs) {
            let task = create_task(run::program(world, &program.root));
            assert!(world.task.set(task).is_ok(), "a program was started twice");
        }
        racer.await.expect("the racer ends");
    });
    for world in worlds.iter() {
        world.check_end();
        if world.polls.load(Ordering::SeqCst) > POLLS {
            world.complain("busy for nothing");
        }
    }
    worlds.iter().map(|world| world.complaints()).collect()
}

/// Does what the scripts say, a step of every program after another, and then resumes whatever waits
/// until all is over.
fn race(worlds: &[Arc<World>], programs: &[Program]) {
    for step in 0..programs[0].steps.len() {
        for (world, program) in worlds.iter().zip(programs) {
            program.steps[step].iter().for_each(|&act| world.act(act));
        }
    }
    let begin = Instant::now();
    while !worlds.iter().all(|world| world.is_over()) && begin.elapsed() < PATIENCE {
        worlds.iter().for_each(|world| world.act(Act::ResumeAll));
        std::thread::yield_now();
    }
}
