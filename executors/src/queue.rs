//! The waiting jobs of an executor: first in, first out within a priority, bounded if wished.
//!
//! # Protocol
//! Everything here is under the executor's lock. What is foreign (destructors of jobs, wakers) goes into
//! [`Leftovers`], to be dealt with once the lock is free.
//! 1. A job that is cancelled while it waits gives its place away at once (the bound counts jobs that still want
//!    to run), and what it holds is freed before such jobs outnumber the others. The count of these may be one too
//!    low for a moment: a job marks itself first and tells the queue second, and `pop` may meet it in between.
//!    Hence a signed count.
//! 2. Of [`ONE_IN`] jobs that are taken while several priorities wait, one is the oldest of all. So nobody waits
//!    for ever: with n older ones ahead, a job is taken after at most `ONE_IN` · (n + 1) others.
//! 3. Who waits for a place in a full queue has a ticket. Each place that becomes free is *granted* to the first
//!    of them, in the critical section in which it became free, and counts as taken from then on: so nobody who
//!    comes later gets it, and who goes away hands it on.
//! 4. A closed queue wakes everybody who waits for a place, now and later: they ask, and are refused.
//! 5. Entries that were taken out, and wait elsewhere, go on having their places: the executor says how many they are.
//! 6. Some entries are *demanding*: they need more than somebody who runs them. Who can't have any more of these takes the
//!    others. They lie apart, so that none is searched for.
//!
//! Modelled in `loom-tests/tests/queue.rs`.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use crate::caught::{drop_caught, drop_each_caught, run_caught};
use crate::options::Priority;

/// Something that waits and may be cancelled meanwhile.
pub(crate) trait Queued {
    /// Marks it as running; false when it does not want to be run any more.
    fn start(&self) -> bool;

    /// Whether it does not want to be run any more.
    fn is_gone(&self) -> bool;

    /// Rule 6.
    fn is_demanding(&self) -> bool {
        false
    }
}

/// Which entries are to be taken.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Only those that are more urgent than this.
    pub(crate) above: Option<Priority>,
    /// Demanding ones, too.
    pub(crate) demanding: bool,
}

impl Wanted {
    /// Whichever comes first.
    pub(crate) const ANY: Wanted = Wanted { above: None, demanding: true };

    fn includes(self, band: usize) -> bool {
        let is_urgent = self.above.is_none_or(|priority| band / KINDS < priority as usize);
        is_urgent && (self.demanding || band.is_multiple_of(KINDS))
    }
}

/// Demanding entries, and others.
const KINDS: usize = 2;

/// Below this many gone entries the queue is not searched for them.
const PURGE_AT_LEAST: usize = 32;

/// Rule 2.
pub(crate) const ONE_IN: u32 = 8;

pub(crate) struct JobQueue<J> {
    /// By priority, the highest first, and of each those that are not demanding first; each with the numbers in
    /// ascending order.
    bands: [VecDeque<(u64, J)>; Priority::COUNT * KINDS],
    /// Of the next job that is pushed.
    next_number: u64,
    /// How many were taken while several priorities waited, since one of them was the oldest.
    preferred: u32,
    gone: isize,
    /// Rule 5.
    elsewhere: usize,
    limit: Option<usize>,
    closed: bool,
    next_ticket: u64,
    for_place: VecDeque<(u64, Waker)>,
    granted: Vec<u64>,
}

/// Somebody's turn to have a place in a queue.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Ticket {
    /// Whether nobody has waited with it yet, or it was used up.
    pub(crate) fn is_unused(&self) -> bool {
        self.0.is_none()
    }
}

impl<J: Queued> JobQueue<J> {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        JobQueue {
            bands: Default::default(),
            next_number: 0,
            preferred: 0,
            gone: 0,
            elsewhere: 0,
            limit,
            closed: false,
            next_ticket: 0,
            for_place: VecDeque::new(),
            granted: Vec::new(),
        }
    }

    /// How many entries wait that want to be run.
    pub(crate) fn waiting(&self) -> usize {
        let entries = self.entries();
        entries.saturating_add_signed(-self.gone).min(entries)
    }

    /// The number that the next job gets. The older, the smaller.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The number of the oldest entry.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.bands.iter().filter_map(|band| band.front().map(|(number, _)| *number)).min()
    }

    /// Whether somebody without a ticket would have to wait for a place.
    pub(crate) fn is_full(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.elsewhere + self.waiting() + self.granted.len() >= limit)
    }

    /// Whether there is a place for whoever has `ticket`, which is used up by that. Who is told so
    /// [pushes](Self::push) under the same lock.
    #[must_use = "a place that was promised has to be filled"]
    pub(crate) fn admits(&mut self, ticket: &mut Ticket) -> bool {
        let Some(number) = ticket.0 else { return !self.is_full() };
        let granted = self.take_grant(number);
        if granted {
            ticket.0 = None;
        }
        granted
    }

    /// Appends, and tells the entry's number.
    pub(crate) fn push(&mut self, priority: Priority, entry: J) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let band = priority as usize * KINDS + usize::from(entry.is_demanding());
        self.bands[band].push_back((number, entry));
        number
    }

    /// Takes the next entry that wants to be run and marks it as running.
    pub(crate) fn pop(&mut self, leftovers: &mut Leftovers<J>) -> Option<J> {
        self.pop_of(Wanted::ANY, leftovers)
    }

    /// As [`pop`](Self::pop), of those that are wanted.
    pub(crate) fn pop_of(&mut self, wanted: Wanted, leftovers: &mut Leftovers<J>) -> Option<J> {
        loop {
            let (band, contended) = self.next_band(wanted)?;
            let (_, entry) = self.bands[band].pop_front()?;
            if entry.start() {
                if contended {
                    self.preferred = (self.preferred + 1) % ONE_IN;
                }
                self.grant(leftovers);
                return Some(entry);
            }
            self.gone -= 1;
            leftovers.gone.push(entry);
            self.grant(leftovers);
        }
    }

    /// Rule 2. Where the next one is to come from, and whether there was a choice.
    fn next_band(&self, wanted: Wanted) -> Option<(usize, bool)> {
        let fronts = self.bands.iter().enumerate().filter(|(band, _)| wanted.includes(*band));
        let mut fronts = fronts.filter_map(|(band, entries)| Some((entries.front()?.0, band)));
        let mut first = fronts.next()?;
        let mut oldest = first;
        let mut contended = false;
        for front in fronts {
            match front.1 / KINDS == first.1 / KINDS {
                true => first = first.min(front),
                false => contended = true,
            }
            oldest = oldest.min(front);
        }
        let is_its_turn = contended && self.preferred + 1 == ONE_IN;
        Some((if is_its_turn { oldest.1 } else { first.1 }, contended))
    }

    /// Takes the entry with this number and marks it as running, if it waits and wants to be run.
    pub(crate) fn take(&mut self, number: u64, leftovers: &mut Leftovers<J>) -> Option<J> {
        for band in &mut self.bands {
            let Ok(place) = band.binary_search_by_key(&number, |(number, _)| *number) else {
                continue;
            };
            if !band[place].1.start() {
                return None;
            }
            let (_, entry) = band.remove(place)?;
            self.grant(leftovers);
            return Some(entry);
        }
        None
    }

    /// Notes that an entry does not want to be run any more.
    pub(crate) fn note_gone(&mut self, leftovers: &mut Leftovers<J>) {
        self.gone += 1;
        self.grant(leftovers);
        let many = self.gone.max(0) as usize;
        if many < PURGE_AT_LEAST || many * 2 < self.entries() {
            return;
        }
        for band in &mut self.bands {
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(band).into_iter().partition(|(_, entry)| entry.is_gone());
            *band = kept;
            self.gone -= gone.len() as isize;
            leftovers.gone.extend(gone.into_iter().map(|(_, entry)| entry));
        }
    }

    /// Takes everything out, the oldest first, and marks it as running, so that nobody tells of an entry that is
    /// not here any more.
    #[must_use = "end them without the lock"]
    pub(crate) fn drain(&mut self, leftovers: &mut Leftovers<J>) -> Vec<J> {
        let mut entries: Vec<_> = self.bands.iter_mut().flat_map(std::mem::take).collect();
        entries.sort_by_key(|(number, _)| *number);
        let entries = entries.into_iter().map(|(_, entry)| entry);
        let (wanted, gone): (Vec<_>, Vec<_>) = entries.partition(Queued::start);
        self.gone -= gone.len() as isize;
        leftovers.gone.extend(gone);
        self.grant(leftovers);
        wanted
    }

    /// Rule 4.
    pub(crate) fn close(&mut self, leftovers: &mut Leftovers<J>) {
        self.closed = true;
        leftovers.woken.extend(self.for_place.drain(..).map(|(_, waker)| waker));
    }

    /// Rule 3. Ready when whoever has `ticket` may push, or be refused (rule 4); until then `waker` is kept.
    pub(crate) fn poll_place(
        &mut self,
        ticket: &mut Ticket,
        waker: Waker,
        leftovers: &mut Leftovers<J>,
    ) -> Poll<()> {
        let mut place = None;
        match ticket.0 {
            _ if self.closed => {}
            Some(number) if self.granted.contains(&number) => {}
            Some(number) => place = Some(number),
            None => {
                let number = self.next_ticket;
                self.next_ticket += 1;
                ticket.0 = Some(number);
                if self.is_full() {
                    place = Some(number);
                } else {
                    self.granted.push(number);
                }
            }
        }
        let Some(number) = place else {
            leftovers.unused.push(waker);
            return Poll::Ready(());
        };
        match self.for_place.iter_mut().find(|(other, _)| *other == number) {
            Some((_, previous)) => leftovers.unused.push(std::mem::replace(previous, waker)),
            None => self.for_place.push_back((number, waker)),
        }
        Poll::Pending
    }

    /// Rule 3. Whoever has `ticket` goes away.
    pub(crate) fn give_back(&mut self, ticket: &mut Ticket, leftovers: &mut Leftovers<J>) {
        let Some(number) = ticket.0.take() else { return };
        if self.take_grant(number) {
            self.grant(leftovers);
        } else if let Some(place) = self.for_place.iter().position(|(other, _)| *other == number) {
            leftovers.unused.extend(self.for_place.remove(place).map(|(_, waker)| waker));
        }
    }

    /// Whether an entry was taken out that is gone, and that is yet to be [noted](Self::note_gone) (rule 1).
    pub(crate) fn misses_a_note(&self) -> bool {
        self.gone < 0
    }

    fn entries(&self) -> usize {
        self.bands.iter().map(VecDeque::len).sum()
    }

    fn take_grant(&mut self, number: u64) -> bool {
        let place = self.granted.iter().position(|other| *other == number);
        place.map(|place| self.granted.swap_remove(place)).is_some()
    }

    /// Rule 5.
    pub(crate) fn note_elsewhere(&mut self, entries: usize, leftovers: &mut Leftovers<J>) {
        self.elsewhere = entries;
        self.grant(leftovers);
    }

    /// Rule 3. Gives what is free to who waits for it.
    pub(crate) fn grant(&mut self, leftovers: &mut Leftovers<J>) {
        while !self.for_place.is_empty() && !self.is_full() {
            let Some((number, waker)) = self.for_place.pop_front() else { return };
            self.granted.push(number);
            leftovers.woken.push(waker);
        }
    }
}

/// What is to be done without the lock. Done, caught, when it is dropped or [cleared](Self::clear).
pub(crate) struct Leftovers<J> {
    gone: Vec<J>,
    woken: Vec<Waker>,
    unused: Vec<Waker>,
}

impl<J> Default for Leftovers<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J> Leftovers<J> {
    pub(crate) const fn new() -> Self {
        Leftovers { gone: Vec::new(), woken: Vec::new(), unused: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.woken.is_empty() && self.unused.is_empty()
    }

    /// The entries that are to be dropped.
    pub(crate) fn take_gone(&mut self) -> Vec<J> {
        std::mem::take(&mut self.gone)
    }

    /// Does it.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            self.clear_all();
        }
    }

    fn clear_all(&mut self) {
        for waker in self.woken.drain(..) {
            run_caught("the waker of whoever waits for a place", || waker.wake());
        }
        for waker in self.unused.drain(..) {
            drop_caught("a waker", waker);
        }
        drop_each_caught("a cancelled job", self.gone.drain(..));
    }
}

impl<J> Drop for Leftovers<J> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
