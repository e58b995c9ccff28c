//! Programs on one loop, in an order that their seeds decide.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loopool::{EventLoop, create_local_task};

use crate::program::{Act, FIRE, Program};
use crate::run;
use crate::world::World;

/// Within so many turns of a loop everything rests, or something is busy for nothing.
const TURNS: usize = 400;
/// So many times everything that waits is resumed; then a program that is not over hangs.
const ROUNDS: usize = 100;

/// Runs the programs and says of each what went wrong.
pub(crate) fn run(programs: &[Program]) -> Vec<Vec<String>> {
    let event_loop = EventLoop::new().expect("a loop");
    let begin = Instant::now();
    // Enough for most to be well under way, whatever the speed; nothing depends on it.
    let fire = begin + Duration::from_micros(500 + 40 * programs.len() as u64);
    let worlds: Arc<Vec<_>> =
        Arc::new(programs.iter().map(|program| World::new(true, program, begin, fire)).collect());

    let scripts: Arc<Vec<Program>> = Arc::new(programs.to_vec());
    for step in 0..scripts[0].steps.len() {
        let (worlds_then, scripts) = (worlds.clone(), scripts.clone());
        let act = move || {
            for (world, program) in worlds_then.iter().zip(scripts.iter()) {
                if step == 0 {
                    let task = create_local_task(run::program(world, &program.root));
                    assert!(world.task.set(task).is_ok(), "a program was started twice");
                }
                program.steps[step].iter().for_each(|&act| world.act(act));
            }
        };
        if step == FIRE {
            // Before the timeouts' wakes are acted upon, so that each task sees all in one poll.
            event_loop.handle().call_at(fire - Duration::from_micros(1), act);
            std::thread::sleep(fire.saturating_duration_since(Instant::now()));
            std::thread::sleep(Duration::from_micros(100));
        } else {
            event_loop.handle().call_soon(act);
        }
        rest(&event_loop, &worlds);
    }
    for _ in 0..ROUNDS {
        if worlds.iter().all(|world| world.is_over()) {
            break;
        }
        let worlds_then = worlds.clone();
        event_loop
            .handle()
            .call_soon(move || worlds_then.iter().for_each(|world| world.act(Act::ResumeAll)));
        rest(&event_loop, &worlds);
    }
    worlds.iter().for_each(|world| world.check_end());
    let complaints = worlds.iter().map(|world| world.complaints()).collect();
    event_loop.close();
    complaints
}

/// Turns the loop until no program is polled any more.
fn rest(event_loop: &EventLoop, worlds: &[Arc<World>]) {
    let polls = |world: &Arc<World>| world.polls.load(Ordering::Relaxed);
    let sum = || worlds.iter().map(polls).sum::<usize>();
    let mut before = (sum(), 0);
    let mut at_last = Vec::new();
    for turn in 0..TURNS {
        event_loop.stop();
        event_loop.run_forever().expect("the loop is open");
        let now = sum();
        if now != before.0 {
            before = (now, turn);
        } else if turn > before.1 + 4 {
            return worlds.iter().for_each(|world| world.check_rest());
        }
        if turn == TURNS - 10 {
            at_last = worlds.iter().map(polls).collect();
        }
    }
    for (world, &before) in worlds.iter().zip(&at_last) {
        if polls(world) != before {
            world.complain("busy for nothing");
        }
    }
}
