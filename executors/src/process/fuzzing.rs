//! Where a fuzzer gets in: every decoder that reads what another process has written, as it is called when
//! that process is not to be believed. None may panic, hang, or set memory aside on the word of a length.
//!
//! The first byte of the input chooses the decoder. `fuzz/` runs this under libFuzzer; the test below feeds
//! it messages that were right before they were changed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::remote_job::Reply;
use super::transport::board::{Board, RESULTS};
use super::transport::body::{self, BoardResults, ResultFile, Source, new_file};
use super::transport::mapping::Mapping;
use super::transport::wire::{
    AnswerInSlot, BlobPlace, Done, FromServer, FromWorker, Place, Task, ToServer, ToWorker,
};
use crate::BlobBuf;
use crate::blob::{Blob, SEALED_FROM};

/// What a decoder reads.
const SURFACES: [fn(&[u8]); 10] = [
    frame::<FromWorker>,
    frame::<ToWorker>,
    frame::<FromServer>,
    frame::<ToServer>,
    result_of_a_job,
    argument_of_a_job,
    frame::<Task>,
    frame::<Done>,
    answer_in_a_slot,
    result_on_the_board,
];

/// Reads `data` as whatever its first byte says.
pub fn read_anything(data: &[u8]) {
    if let Some((first, rest)) = data.split_first() {
        SURFACES[usize::from(*first) % SURFACES.len()](rest);
    }
}

/// A value of everything that a format has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Sample {
    Nothing,
    Numbers(u8, i64, f64, Option<u128>),
    Texts(Vec<String>, char),
    Blobs { one: Blob, more: Vec<Option<Blob>> },
    Nested(Box<Sample>, std::collections::BTreeMap<u32, bool>),
}

/// What was understood is understood again in the same way, once it is written as we write it.
fn frame<T: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok((frame, tail)) = postcard::take_from_bytes::<T>(data) {
        assert!(tail.len() <= data.len());
        let ours = postcard::to_stdvec(&frame).unwrap_or_default();
        let again = postcard::from_bytes::<T>(&ours).map(|again| postcard::to_stdvec(&again));
        assert!(again.is_ok_and(|again| again.as_ref() == Ok(&ours)));
    }
}

/// Two bytes say how much of the rest is a head that travels with the message; what follows is the file.
fn parts(data: &[u8]) -> Option<(Place, &[u8], &[u8])> {
    let (place, rest) = postcard::take_from_bytes::<Place>(data).ok()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (tail, file) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
    Some((place, tail, file))
}

fn file_of(contents: &[u8]) -> Option<File> {
    let file = new_file("loopool-fuzz").ok()?;
    file.write_all_at(contents, 0).ok()?;
    Some(file)
}

/// The program reads what a worker says is a result.
fn result_of_a_job(data: &[u8]) {
    let Some((place, tail, contents)) = parts(data) else { return };
    let file = file_of(contents).and_then(|file| ResultFile::of(file.into()).ok());
    result_from(place, tail, file.as_ref().map(|file| file as &dyn Source));
}

/// The same, where it lies on the board, from a place on that is anywhere.
fn result_on_the_board(data: &[u8]) {
    thread_local! {
        static BOARD: Option<Board> = Board::new().ok().map(|(board, _)| board);
    }
    let Ok((start, rest)) = postcard::take_from_bytes::<u64>(data) else { return };
    let Some((place, tail, contents)) = parts(rest) else { return };
    BOARD.with(|board| {
        let Some(board) = board else { return };
        if let Some(area) = RESULTS.part(start, contents.len() as u64) {
            board.write(area, &[contents]);
        }
        result_from(place, tail, Some(&BoardResults { board, start }));
    });
}

fn result_from(place: Place, tail: &[u8], beside: Option<&dyn Source>) {
    for count in 0..=2 {
        if let Ok(reply) = Reply::read(place, tail, beside, &sealed()[..count]) {
            let _ = reply.outcome::<Sample>();
        }
    }
}

/// Two sealed blobs.
fn sealed() -> [Blob; 2] {
    thread_local! {
        static SEALED: [Blob; 2] = [(); 2].map(|()| BlobBuf::zeroed(SEALED_FROM).freeze());
    }
    SEALED.with(Clone::clone)
}

/// The program reads what lies in a slot of the ring once a job is over.
fn answer_in_a_slot(data: &[u8]) {
    let _ = std::hint::black_box(postcard::take_from_bytes::<AnswerInSlot>(data));
}

/// A worker reads what it has been given.
fn argument_of_a_job(data: &[u8]) {
    let Some((place, tail, contents)) = parts(data) else { return };
    let arena =
        file_of(contents).and_then(|file| Mapping::of(&file, 0, contents.len() as u64).ok());
    let arena = arena.map(Arc::new);
    let head = match place {
        Place::Tail => Some(tail),
        Place::Beside(span) => arena.as_ref().and_then(|arena| {
            arena.get(usize::try_from(span.offset).ok()?..usize::try_from(span.end()?).ok()?)
        }),
    };
    let Some(Ok((places, value))) = head.map(body::open) else { return };
    let sealed = sealed();
    let blob = |place: &BlobPlace| match place {
        BlobPlace::Beside(span) => Blob::mapped(arena.as_ref()?, span.offset, span.len),
        BlobPlace::Sealed(number) => sealed.get(*number as usize).cloned(),
    };
    if let Some(blobs) = places.iter().map(blob).collect::<Option<Vec<Blob>>>() {
        let _ = body::decode::<Sample>(value, blobs);
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport::body::Body;
    use super::super::transport::wire::{Beside, Order, SlotAnswer, Span, Verdict, WorkerSettings};
    use super::*;

    /// How many messages; more with `LOOPOOL_TEST_MESSAGES`.
    const MESSAGES: u64 = 30_000;

    struct Random(u64);

    impl Random {
        /// As good as random (splitmix64).
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit.max(1) as u64) as usize
        }
    }

    fn surface(index: u8, frame: &impl Serialize) -> Vec<u8> {
        [vec![index], postcard::to_stdvec(frame).unwrap()].concat()
    }

    /// A value as it crosses: place, length of the tail, tail, file.
    fn crossing(index: u8, value: &Sample) -> Vec<u8> {
        let body = Body::encode(value).unwrap();
        let plan = body.plan(body::TAIL_LIMIT, 2);
        let file = new_file("test").unwrap();
        body.store(&plan, &file).unwrap();
        let tail = body.tail(&plan).concat();
        let mut contents = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut contents, 0).unwrap();
        let place = postcard::to_stdvec(&plan.place).unwrap();
        [vec![index], place, (tail.len() as u16).to_le_bytes().to_vec(), tail, contents].concat()
    }

    /// Its start comes before all that.
    fn on_the_board(value: &Sample) -> Vec<u8> {
        let mut message = crossing(9, value);
        message.insert(1, 64);
        message
    }

    fn sample() -> Sample {
        let blob = |len: usize| Blob::from(vec![5; len]);
        let inner = Sample::Blobs { one: blob(5000), more: vec![None, Some(blob(9000))] };
        let map = [(1, true), (70_000, false)].into();
        Sample::Nested(Box::new(inner), map)
    }

    /// With blobs in sealed files, and beside them.
    fn mixed() -> Sample {
        let [one, other] = sealed();
        let more = vec![Some(Blob::from(vec![5; 9000])), Some(other), Some(one.clone())];
        Sample::Blobs { one, more }
    }

    /// One of each, as it should be.
    fn messages() -> Vec<Vec<u8>> {
        let place = Place::Beside(Span { offset: 64, len: 300 });
        let settings =
            WorkerSettings { memory_limit: Some(1 << 30), nice: 3, ..WorkerSettings::default() };
        let build = "0123456789abcdef".to_owned();
        let texts = Sample::Texts(vec!["a".to_owned(), "é".repeat(100)], 'ß');
        let order = Order {
            is_daemon: true,
            name: "a name".to_owned(),
            trampoline: -1,
            function: i64::MAX,
            head: place,
            arena: Some(1 << 20),
        };
        let ended = |verdict| Done { verdict, beside: Beside::Board(64), keeps_argument: true };
        let done =
            |verdict| FromWorker::Done { number: 1, done: ended(verdict), has_new_file: true };
        let task =
            |head, beside| Task { trampoline: 1, function: 2, head, beside, has_files: true };
        let panicked = Verdict::Panicked { message: "no".to_owned(), location: None };
        let hello = ToServer::Hello {
            magic: *b"loopool\0",
            protocol: 1,
            nonce: build.clone(),
            build: build.clone(),
            umask: Some(0o22),
            settings,
        };
        vec![
            surface(0, &FromWorker::Hello { pid: 12_345 }),
            surface(0, &FromWorker::InitializerFailed { why: "why".to_owned() }),
            surface(0, &FromWorker::Dying { panic: "p".to_owned(), location: Some(build.clone()) }),
            surface(0, &done(Verdict::Value(place))),
            surface(0, &done(panicked)),
            surface(1, &ToWorker::Files { arena: Some(u64::MAX) }),
            surface(6, &task(Place::Tail, Beside::File)),
            surface(6, &task(place, Beside::Board(1 << 20))),
            surface(7, &ended(Verdict::BadResult("r".to_owned()))),
            surface(8, &SlotAnswer::Here(&ended(Verdict::Value(Place::Tail)))),
            surface(8, &SlotAnswer::BySocket),
            surface(2, &FromServer::Ready { protocol: 1, build: build.clone() }),
            surface(2, &FromServer::Spawned { serial: 1, pid: 2 }),
            surface(3, &hello),
            surface(3, &ToServer::Run(order)),
            crossing(4, &sample()),
            crossing(4, &texts),
            crossing(4, &mixed()),
            crossing(5, &mixed()),
            on_the_board(&mixed()),
            crossing(4, &Sample::Numbers(1, -1, 0.5, Some(u128::MAX))),
            crossing(4, &Sample::Nothing),
            crossing(5, &sample()),
            crossing(5, &texts),
            on_the_board(&sample()),
            on_the_board(&texts),
        ]
    }

    #[test]
    fn what_is_right_is_understood() {
        let (place, rest) = postcard::take_from_bytes::<Place>(&crossing(4, &sample())[1..])
            .map(|(place, rest)| (place, rest.to_vec()))
            .unwrap();
        let len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
        let file = ResultFile::of(file_of(&rest[2 + len..]).unwrap().into()).unwrap();
        let reply = Reply::read(place, &rest[2..2 + len], Some(&file), &[]).unwrap();
        assert_eq!(reply.outcome::<Sample>().unwrap(), sample());
        messages().iter().for_each(|message| read_anything(message));
    }

    #[test]
    fn whatever_is_changed_in_messages_nothing_panics() {
        let count = std::env::var("LOOPOOL_TEST_MESSAGES").map_or(MESSAGES, |n| n.parse().unwrap());
        let mut random = Random(1);
        let right = messages();
        for _ in 0..count {
            let mut message = right[random.below(right.len())].clone();
            for _ in 0..=random.below(5) {
                // Near the beginning, where the numbers are, as often as anywhere.
                let limit =
                    if random.below(2) == 0 { message.len().min(40) } else { message.len() };
                let at = random.below(limit);
                match random.below(7) {
                    0 | 1 if at < message.len() => message[at] ^= 1 << random.below(8),
                    2 if at < message.len() => {
                        message[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                    }
                    3 if at < message.len() => drop(message.remove(at)),
                    4 => message.insert(at, random.next() as u8),
                    5 => message.truncate(at),
                    _ => {
                        let huge = random.next() >> random.below(64);
                        let number = postcard::to_stdvec(&huge).unwrap();
                        message.splice(at..at, number);
                    }
                }
            }
            read_anything(&message);
        }
    }
}
