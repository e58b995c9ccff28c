//! What the manager hears: answers, messages and output of workers, and what epoll says of all of them.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::manager::Manager;
use super::policy::Tally;
use super::tail::Output;
use super::transport::files::Files;
use super::transport::socket::{self, FRAME_LIMIT, Received};
use super::transport::wire::{FromWorker, clip};
use super::worker_handle::{AnswerBySocket, Phase, WorkerHandle};

/// How many frames of one worker are taken before the others get their turn.
const FRAMES_A_TURN: usize = 16;

/// How many answers of one worker are taken before the others get their turn.
const ANSWERS_A_TURN: u32 = 64;

/// How much output of one worker is read before the others get their turn.
const OUTPUT_A_TURN: usize = 64 * 1024;

/// What an epoll event is about; the rest of the token is the worker's serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Wake,
    Control,
    ServerOutput,
    Socket,
    Output,
    Process,
    Bell,
}

const SOURCES: [Source; 7] = [
    Source::Wake,
    Source::Control,
    Source::ServerOutput,
    Source::Socket,
    Source::Output,
    Source::Process,
    Source::Bell,
];

const SOURCE_BITS: u32 = 3;

fn token(source: Source, serial: u64) -> u64 {
    serial << SOURCE_BITS | source as u64
}

fn source(token: u64) -> Option<(Source, u64)> {
    let source = SOURCES.get((token & ((1 << SOURCE_BITS) - 1)) as usize)?;
    Some((*source, token >> SOURCE_BITS))
}

impl Manager {
    /// Takes in what epoll says.
    pub(super) fn take_events(&mut self, events: &[EpollEvent]) {
        // Who has heard nothing may be parked next, while another one rests.
        if !events.is_empty() {
            self.note_awake();
        }
        for event in events {
            match source(event.data()) {
                Some((Source::Control, _)) => self.hear_server(),
                Some((Source::ServerOutput, _)) => self.read_server_output(),
                Some((Source::Socket, serial)) => self.hear(serial),
                Some((Source::Output, serial)) => self.read_output(serial),
                Some((Source::Process, serial)) => self.bury(serial),
                Some((Source::Bell, serial)) => self.hear_bell(serial),
                Some((Source::Wake, _)) | None => {}
            }
        }
    }

    pub(super) fn has_answers(&self) -> bool {
        self.workers.values().any(WorkerHandle::has_answers)
    }

    /// Takes what answers there are; with `light`, leaves the long ones, and says whether there were any.
    pub(super) fn take_answers(&mut self, now: Instant, light: bool) -> bool {
        let mut from = 0;
        let mut left = false;
        while let Some((&serial, _)) =
            self.workers.range(from..).find(|(_, worker)| worker.has_answers())
        {
            left |= self.take_answers_of(serial, now, light);
            from = serial + 1;
        }
        left
    }

    pub(super) fn take_answers_of(&mut self, serial: u64, now: Instant, light: bool) -> bool {
        let mut taken = 0;
        let mut left = false;
        let mut tally = Tally::default();
        let before = self.workers.get(&serial).map_or(0, WorkerHandle::in_flight);
        loop {
            let Some(worker) = self.workers.get_mut(&serial) else { return false };
            if taken == ANSWERS_A_TURN || !worker.has_answers() {
                break;
            }
            if worker.next_is_long() {
                if light {
                    left = true;
                    break;
                }
                if worker.misses_an_answer() {
                    self.hear(serial);
                }
            }
            let Some(worker) = self.workers.get_mut(&serial) else { return false };
            match worker.next_answer() {
                Ok(None) => break,
                Ok(Some((job, reply))) => {
                    taken += 1;
                    tally.add(job.terms.name);
                    let lost = worker.has_lost_files;
                    self.conclude(serial, job, reply);
                    if lost {
                        // Perhaps one that it would use again.
                        self.discharge(serial);
                    }
                }
                Err(why) => {
                    self.convict(serial, &why);
                    return false;
                }
            }
        }
        let Some(worker) = self.workers.get_mut(&serial) else { return left };
        if taken > 0 {
            let took = now - worker.head_since;
            if taken == 1 && worker.in_flight() == 0 {
                self.apart.note_answer(serial, took);
            }
            worker.note_pace(taken, now);
            worker.note_answers(taken, now);
            self.staffing.note_success();
            self.note_all_ran(&tally, taken, took);
        } else if worker.in_flight() < before {
            // What was first had been taken back, and the time of the next one begins now.
            worker.head_since = now;
        }
        let is_done =
            |worker: &WorkerHandle| worker.phase == Phase::Busy && worker.in_flight() == 0;
        if self.workers.get(&serial).is_some_and(is_done) {
            self.make_idle(serial);
        }
        left
    }

    /// Listens to something of a worker.
    pub(super) fn listen(&self, fd: impl AsFd, source: Source, serial: u64) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token(source, serial)))
    }

    /// Listens to something that is never read.
    pub(super) fn listen_for_edges(
        &self,
        fd: impl AsFd,
        source: Source,
        serial: u64,
    ) -> nix::Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        self.epoll.add(fd, EpollEvent::new(flags, token(source, serial)))
    }

    /// A worker has rung. The answers are taken in the turn that follows.
    fn hear_bell(&mut self, serial: u64) {
        let worker = self.workers.get_mut(&serial).filter(|worker| !worker.is_silent);
        if worker.is_some_and(|worker| !worker.note_ring()) {
            self.convict(serial, "rings for nothing");
        }
    }

    /// Takes a worker's frames.
    fn hear(&mut self, serial: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            // Whoever listens to `tracing` has panicked, and it was lost.
            buffer = vec![0; FRAME_LIMIT].into_boxed_slice();
        }
        for _ in 0..FRAMES_A_TURN {
            let Some(worker) = self.workers.get(&serial).filter(|worker| !worker.is_silent) else {
                break;
            };
            match socket::receive(worker.socket.as_fd(), &mut buffer) {
                Ok(Some(received)) => {
                    if let Err(why) = self.take_frame(serial, &buffer, received) {
                        self.convict(serial, &why);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // It ends, or pretends to.
                Ok(None) | Err(_) => {
                    self.silence(serial);
                    self.lost_contact(serial);
                }
            }
        }
        self.buffer = buffer;
    }

    /// The error says in what way the frame makes no sense.
    fn take_frame(&mut self, serial: u64, buffer: &[u8], received: Received) -> Result<(), String> {
        if !received.whole {
            return Err("a message that is too long".to_owned());
        }
        let brings_files = received.lost_some || !received.fds.is_empty();
        let frame = postcard::take_from_bytes::<FromWorker>(&buffer[..received.len]);
        let (frame, tail) = frame.map_err(|error| format!("a message that is none: {error}"))?;
        if brings_files && !matches!(frame, FromWorker::Done { .. }) {
            return Err("descriptors that belong to nothing".to_owned());
        }
        let Some(worker) = self.workers.get_mut(&serial) else { return Ok(()) };
        match frame {
            FromWorker::Hello { pid } if worker.claimed_pid.is_none() && pid > 0 => {
                worker.claimed_pid = Some(pid);
                self.adopt_orphan(serial);
            }
            FromWorker::Ready if !worker.was_ready => {
                worker.was_ready = true;
                worker.evidence.tells_of_faults = true;
                self.note_ready();
                self.make_idle(serial);
            }
            FromWorker::InitializerFailed { why } if !worker.was_ready => {
                tracing::error!(
                    why,
                    "the initializer of a process pool failed; the pool is broken"
                );
                self.break_down(&format!("the initializer of its workers failed: {}", clip(why)));
            }
            FromWorker::Faulted(fault) => worker.evidence.fault = Some(fault),
            FromWorker::Denied { call } => {
                worker.evidence.denied = Some(u32::from_le_bytes(call));
            }
            FromWorker::Confined(enforced) if !worker.was_ready => {
                self.shared.note_enforced(enforced, self.memory.guard());
            }
            FromWorker::NotConfined { why } if !worker.was_ready => {
                tracing::error!(why, "a worker's sandbox can't be put on; the pool is broken");
                self.break_down(&format!("its workers' sandbox can't be put on: {}", clip(why)));
            }
            FromWorker::Dying { panic, location } if worker.was_ready => {
                worker.last_words = Some((panic, location));
            }
            FromWorker::Done { number, done, has_new_file } if worker.was_ready => {
                let files = match received.foreign_fds() {
                    Ok(fds) => Ok(Files::of(has_new_file, fds)?),
                    Err(why) => Err(why),
                };
                let tail = tail.to_vec();
                worker.keep_answer(AnswerBySocket { number, done, tail, files })?;
            }
            _ => return Err("a message that is not its turn".to_owned()),
        }
        Ok(())
    }

    fn read_output(&mut self, serial: u64) {
        let Some(worker) = self.workers.get_mut(&serial) else { return };
        let pid = worker.pid();
        if worker.read_output(pid, OUTPUT_A_TURN) == Output::Closed {
            let _ = self.epoll.delete(&worker.output.fd);
        }
    }

    /// Takes what a dead worker had sent, up to a limit.
    pub(super) fn hear_out(&mut self, serial: u64) {
        for _ in 0..FRAMES_A_TURN {
            match self.workers.get(&serial) {
                Some(worker) if !worker.is_silent => self.hear(serial),
                _ => break,
            }
        }
        self.take_answers_of(serial, Instant::now(), false);
    }

    /// Stops listening to a worker's socket and bell, so that it can't keep us busy.
    pub(super) fn silence(&mut self, serial: u64) {
        if let Some(worker) = self.workers.get_mut(&serial)
            && !std::mem::replace(&mut worker.is_silent, true)
        {
            // They are registered until this flag is set, so this can't fail.
            let _ = self.epoll.delete(&worker.socket);
            let _ = self.epoll.delete(&worker.bell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_source() {
        for (index, kind) in SOURCES.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(source(token(kind, 12_345)), Some((kind, 12_345)));
        }
        assert_eq!(source(7), None);
    }
}
