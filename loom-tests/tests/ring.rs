//! The ring between the program and a worker, as it ships. Those who use it are copies, as far as the ring is concerned:
//! of `WorkerHandle` and `Manager::may_sleep` in the program, of `Desk` in the worker.

#[allow(dead_code, unreachable_pub, reason = "the models use a part")]
#[path = "../../executors/src/process/transport/ring.rs"]
mod ring;

use loom::thread;
use loopool_loom_tests::shim::{Arc, UnsafeCell};
use loopool_loom_tests::{Bounds, Eventfd, model, shim};

use self::ring::{Ring, SLOTS};

const BOUNDS: Bounds = Bounds { small: 2, full: Some(4) };

/// The ring and what lies beside it, and what the two sides sleep on.
struct Board {
    ring: Ring,
    jobs: [UnsafeCell<u32>; SLOTS as usize],
    answers: [UnsafeCell<u32>; SLOTS as usize],
    /// Where large results go.
    results: UnsafeCell<u32>,
    bed: Eventfd,
    bell: Eventfd,
}

impl Board {
    fn new() -> Arc<Self> {
        Arc::new(Board {
            ring: Ring::new(),
            jobs: std::array::from_fn(|_| UnsafeCell::new(0)),
            answers: std::array::from_fn(|_| UnsafeCell::new(0)),
            results: UnsafeCell::new(0),
            bed: Eventfd::default(),
            bell: Eventfd::default(),
        })
    }
}

/// The answer to a job.
fn answer_to(job: u32) -> u32 {
    job + 100
}

/// The program's side.
struct Program {
    board: Arc<Board>,
    sent: u32,
    taken: u32,
}

impl Program {
    fn new(board: &Arc<Board>) -> Self {
        Program { board: board.clone(), sent: 0, taken: 0 }
    }

    /// Puts a job into the ring, whose number in the row of jobs is its content.
    fn send(&mut self) {
        let slot = (self.sent % SLOTS) as usize;
        // SAFETY: the slot's last answer was taken.
        self.board.jobs[slot].with_mut(|job| unsafe { *job = self.sent });
        if self.sent == self.taken {
            self.board.ring.arm();
        }
        self.board.ring.offer(self.sent);
        self.sent += 1;
        if self.board.ring.send(self.sent) {
            self.board.bed.write();
        }
    }

    /// Takes the next answer, if there is one: none in there when the job had been revoked.
    fn take(&mut self, was_revoked: bool) -> Option<Option<u32>> {
        if self.board.ring.answered() == self.taken {
            return None;
        }
        let slot = (self.taken % SLOTS) as usize;
        // SAFETY: the worker has answered and is past this slot.
        let answer = self.board.answers[slot].with(|answer| unsafe { *answer });
        self.taken += 1;
        self.board.ring.take(self.taken);
        Some((!was_revoked).then_some(answer))
    }

    /// Sleeps until there is an answer.
    fn sleep(&self) {
        loop {
            self.board.ring.arm();
            if self.board.ring.answered() != self.taken {
                return;
            }
            self.board.bell.wait();
        }
    }
}

/// The worker's side: runs until so many slots have been answered. Says which jobs it ran.
fn work(board: &Board, until: u32) -> Vec<u32> {
    let mut answered = 0;
    let mut heard_of = 0;
    let mut ran = Vec::new();
    let be_heard = |answered: u32, heard_of: &mut u32| {
        if *heard_of != answered {
            *heard_of = answered;
            if board.ring.taken() != answered && board.ring.must_ring() {
                board.bell.write();
            }
        }
    };
    loop {
        while board.ring.sent() != answered {
            be_heard(answered, &mut heard_of);
            if board.ring.claim(answered) {
                let slot = (answered % SLOTS) as usize;
                // SAFETY: the slot was filled and is the worker's until it is answered.
                let job = board.jobs[slot].with(|job| unsafe { *job });
                ran.push(job);
                // SAFETY: as above.
                board.answers[slot].with_mut(|answer| unsafe { *answer = answer_to(job) });
            }
            answered += 1;
            board.ring.answer(answered);
        }
        be_heard(answered, &mut heard_of);
        if answered == until {
            return ran;
        }
        if board.ring.worker_may_sleep(answered).is_some() {
            board.bed.wait();
        }
    }
}

#[test]
fn every_job_crosses_and_every_answer_comes_back_round_the_ring() {
    model(BOUNDS, || {
        let board = Board::new();
        let jobs = SLOTS + 1;
        let worker = thread::spawn({
            let board = board.clone();
            move || work(&board, jobs)
        });
        let mut program = Program::new(&board);
        let mut answers = Vec::new();
        while answers.len() < jobs as usize {
            while program.sent < jobs && program.sent - program.taken < SLOTS {
                program.send();
            }
            program.sleep();
            while let Some(answer) = program.take(false) {
                answers.extend(answer);
            }
        }
        assert_eq!(answers, (0..jobs).map(answer_to).collect::<Vec<_>>());
        assert_eq!(worker.join().unwrap(), (0..jobs).collect::<Vec<_>>());
    });
}

#[test]
fn of_claim_and_revoke_one_succeeds() {
    model(BOUNDS, || {
        let board = Board::new();
        let worker = thread::spawn({
            let board = board.clone();
            move || work(&board, SLOTS)
        });
        let mut program = Program::new(&board);
        program.send();
        program.send();
        let revoked = board.ring.revoke(1);
        let mut answers = Vec::new();
        while answers.len() < 2 {
            program.sleep();
            while let Some(answer) = program.take(revoked && program.taken == 1) {
                answers.push(answer);
            }
        }
        let ran = worker.join().unwrap();
        assert_eq!(ran.contains(&1), !revoked, "run by the worker, or still the program's");
        assert_eq!(answers, [Some(answer_to(0)), (!revoked).then_some(answer_to(1))]);
    });
}

#[test]
fn who_looks_need_not_be_rung_for_and_who_sleeps_after_all_is() {
    model(BOUNDS, || {
        let board = Board::new();
        let worker = thread::spawn({
            let board = board.clone();
            move || work(&board, 1)
        });
        let mut program = Program::new(&board);
        program.send();
        // Somebody has a look, and the pool's thread sleeps.
        if program.take(false).is_none() {
            program.sleep();
            assert_eq!(program.take(false), Some(Some(answer_to(0))));
        }
        worker.join().unwrap();
        assert!(board.bell.writes() <= 2);
    });
}

#[test]
fn room_for_results_is_used_again_when_every_answer_was_taken() {
    model(BOUNDS, || {
        let board = Board::new();
        let worker = thread::spawn({
            let board = board.clone();
            move || {
                for number in 0..2 {
                    while board.ring.sent() == number {
                        thread::yield_now();
                    }
                    assert!(board.ring.claim(number));
                    while board.ring.taken() != number {
                        thread::yield_now();
                    }
                    // SAFETY: every answer was taken, so nobody reads there.
                    board.results.with_mut(|result| unsafe { *result = number + 7 });
                    board.ring.answer(number + 1);
                }
            }
        });
        let mut program = Program::new(&board);
        program.send();
        program.send();
        for number in 0..2 {
            while board.ring.answered() == number {
                thread::yield_now();
            }
            // SAFETY: the worker has answered, and waits until this is taken.
            assert_eq!(board.results.with(|result| unsafe { *result }), number + 7);
            program.taken += 1;
            board.ring.take(program.taken);
        }
        worker.join().unwrap();
    });
}
