//! [`Desk`]: where a worker takes jobs from the board and leaves answers, one after the other.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::trampoline::Answer;
use super::worker::{Told, Worker};
use crate::patience::Patience;
use crate::process::tail::POSITION;
use crate::process::transport::board::{self, ARGUMENTS, Board, MESSAGE_LIMIT, RESULTS};
use crate::process::transport::body::{Body, Plan};
use crate::process::transport::futex;
use crate::process::transport::mapping::Mapping;
use crate::process::transport::wire::{Beside, NEAR, SlotAnswer, Task};

/// So long the program is given to take an answer by itself before it is rung for.
const COURTESY: Duration = Duration::from_micros(2);

/// So often the place in the output is looked for while the program reads there.
const TRIES: u32 = 200;
/// So often without a pause.
const SPINS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(50);

/// So long a worker looks for a job if the one before came as soon.
const EAGERNESS: Duration = Duration::from_micros(20);
/// A job that came within this time, its wake included, would have been found by looking.
const SOON: Duration = Duration::from_micros(60);

/// Results begin at multiples of this, in bytes.
const ALIGN: u64 = 64;

pub(crate) struct Desk {
    board: Board,
    /// The board's arguments again, to be read only.
    arguments: Arc<Mapping>,
    pub(crate) bell: OwnedFd,
    /// How many slots have been answered in all.
    answered: u32,
    /// So many of them the program knows of: it was rung for them, or has taken them.
    heard_of: u32,
    /// Where the next large result goes.
    next_result: u64,
    patience: Patience,
    /// The last job came soon after the answer to the one before.
    is_eager: bool,
}

impl Desk {
    pub(crate) fn new(board: File, bell: OwnedFd) -> io::Result<Self> {
        let arguments = Mapping::of(&board, ARGUMENTS.offset(), ARGUMENTS.len as u64)?;
        Ok(Desk {
            board: Board::of(&board)?,
            arguments: Arc::new(arguments),
            bell,
            answered: 0,
            heard_of: 0,
            next_result: 0,
            patience: Patience::new(),
            is_eager: false,
        })
    }

    /// Runs jobs until the process is killed.
    pub(crate) fn work(mut self, worker: &mut Worker) -> io::Result<Infallible> {
        loop {
            while self.board.ring().sent() != self.answered {
                // The job may take long.
                self.be_heard();
                self.serve(worker)?;
            }
            self.wait();
        }
    }

    /// Runs the next job, if it was not taken back, and answers.
    fn serve(&mut self, worker: &mut Worker) -> io::Result<()> {
        if self.board.ring().claim(self.answered) {
            self.mark_output();
            let (answer, from_board) = self.run(worker);
            let told = self.tell(worker, answer, from_board);
            self.leave(worker, told)?;
        }
        self.answered = self.answered.wrapping_add(1);
        self.board.ring().answer(self.answered);
        Ok(())
    }

    /// Notes where in the output the job begins: what was read and what still lies in the pipe.
    fn mark_output(&self) {
        let ring = self.board.ring();
        for tries in 0..TRIES {
            let before = ring.output_read();
            let mut waiting = 0;
            // SAFETY: the kernel writes a number there, or refuses.
            let asked = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::FIONREAD, &mut waiting) };
            if asked < 0 {
                // Somebody has closed it, or put something else in its place: then nothing is known.
                return;
            }
            if let Some(read) = before
                && before == ring.output_read()
            {
                return ring.begin_output_at(read.wrapping_add(waiting as u32) & POSITION);
            }
            if tries < SPINS {
                std::hint::spin_loop();
            } else {
                // Whoever reads was put aside by the system.
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Runs the claimed job. Says, too, whether its argument lies on the board.
    fn run(&self, worker: &mut Worker) -> (Answer, bool) {
        // SAFETY: this is the worker, and it has the slot until it has answered.
        let slot = unsafe { self.board.job(self.answered) };
        let (task, tail) = match postcard::take_from_bytes::<Task>(slot) {
            Ok(parts) => parts,
            Err(error) => return (Answer::BadArgument(error.to_string()), false),
        };
        if task.has_files
            && let Err(why) = worker.receive_files()
        {
            return (Answer::BadArgument(why), false);
        }
        let beside = match task.beside {
            Beside::Board(start) => Some((&self.arguments, start)),
            Beside::File => None,
        };
        let from_board = beside.is_some();
        let answer = worker.run(task.trampoline, task.function, task.head, tail, beside);
        (answer.unwrap_or_else(Answer::BadArgument), from_board)
    }

    fn tell(&mut self, worker: &mut Worker, answer: Answer, from_board: bool) -> Told {
        if self.board.ring().taken() == self.answered {
            self.next_result = 0;
        } else {
            worker.leave_results();
        }
        let mut room = Room { board: &self.board, next: &mut self.next_result };
        let mut told = worker.tell(answer, NEAR, Some(&mut room));
        if from_board {
            // Whether somebody still has a blob of it; see `Worker::let_go_of_kept_arena`.
            told.done.keeps_argument = Arc::get_mut(&mut self.arguments).is_none();
        }
        told
    }

    /// Puts an answer where the program will look for it.
    fn leave(&self, worker: &Worker, told: Told) -> io::Result<()> {
        let place = board::answer_of(self.answered);
        let mut header = [0; MESSAGE_LIMIT];
        let here = SlotAnswer::Here(&told.done);
        let fits = postcard::to_slice(&here, &mut header).ok().map(|header| header.len());
        let tail = told.tail();
        if let Some(len) = fits
            && !told.has_files()
            && len + tail[0].len() + tail[1].len() <= MESSAGE_LIMIT
        {
            self.board.put(place, &[&header[..len], tail[0], tail[1]]);
            return Ok(());
        }
        worker.send(self.answered, told)?;
        if let Ok(by_socket) = postcard::to_slice(&SlotAnswer::BySocket, &mut header) {
            self.board.put(place, &[by_socket]);
        }
        Ok(())
    }

    /// Sees to it that the program hears of what was answered.
    fn be_heard(&mut self) {
        if self.heard_of != self.answered {
            self.heard_of = self.answered;
            if self.board.ring().taken() != self.answered && self.board.ring().must_ring() {
                // Refused only when the counter is full, and then the program is woken anyway.
                let _ = nix::unistd::write(&self.bell, &1u64.to_ne_bytes());
            }
        }
    }

    /// Waits for a job: looks for as long as that usually pays, then sleeps.
    fn wait(&mut self) {
        let since = Instant::now();
        if self.look_briefly(since) {
            return;
        }
        self.be_heard();
        let ring = self.board.ring();
        let answered = self.answered;
        let rounds = self.patience.rounds();
        let look = |_| (ring.sent() != answered).then_some(());
        if self.patience.look(rounds, look).is_none()
            && let Some(bed) = ring.worker_may_sleep(answered)
        {
            let asleep = Instant::now();
            futex::wait_while(bed, 1);
            self.patience.slept(asleep.elapsed(), true);
        }
        self.is_eager = since.elapsed() < SOON;
    }

    /// Looks for a job for a moment: while who asked may still take the answer, and, if the job before came soon after
    /// the answer, for as long as that is likely to happen again. Lets others run in between.
    fn look_briefly(&mut self, since: Instant) -> bool {
        let limit = match (self.is_eager, self.heard_of != self.answered) {
            (true, _) => EAGERNESS,
            (false, true) => COURTESY,
            (false, false) => return false,
        };
        loop {
            let ring = self.board.ring();
            if ring.sent() != self.answered {
                return true;
            }
            let elapsed = since.elapsed();
            if elapsed >= COURTESY || ring.taken() == self.answered {
                self.be_heard();
            }
            if elapsed >= limit {
                return false;
            }
            if elapsed < COURTESY { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// Room for large results on the board. It is given out from the start to the end, and all of it is free again when
/// the program has taken every answer.
pub(crate) struct Room<'a> {
    board: &'a Board,
    next: &'a mut u64,
}

impl Room<'_> {
    /// Puts what goes beside there, and says where that begins; none when there is not enough room.
    pub(crate) fn place(&mut self, body: &Body, plan: &Plan) -> Option<u64> {
        let start = *self.next;
        RESULTS.part(start, plan.len)?;
        body.place(plan, self.board, RESULTS, start);
        *self.next = (start + plan.len).next_multiple_of(ALIGN);
        Some(start)
    }
}
