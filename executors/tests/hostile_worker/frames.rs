//! Messages: changed, cut short, out of turn, with lengths that lie.

use super::random::Random;
use super::{Attack, Target, attack};

pub(crate) const ATTACKS: &[Attack] = &[
    attack("messages with changed bytes", changed),
    attack("messages that are cut short", cut_short),
    attack("messages out of their turn", out_of_turn),
    attack("lengths without end", lengths_without_end),
    attack("noise", noise),
    attack("messages that are too long", too_long),
    attack("answers to jobs of others", answers_to_others),
    attack("empty messages", empty),
    Attack { answers: true, ..attack("answers of one's own that are none", own_answers) },
];

/// A number as the codec writes it.
pub(crate) fn varint(value: u64) -> Vec<u8> {
    postcard::to_stdvec(&value).unwrap()
}

fn text(value: &str) -> Vec<u8> {
    [varint(value.len() as u64), value.as_bytes().to_vec()].concat()
}

/// The answer to the job in a slot, with a value that lies in a file, whose descriptor is the first one.
pub(crate) fn answer_in_file(slot: u64, offset: u64, len: u64) -> Vec<u8> {
    [&[5][..], &varint(slot), &[0, 1], &varint(offset), &varint(len), &[1, 0, 1]].concat()
}

/// The same, with a value that lies on the board, from `start` on.
fn answer_on_the_board(slot: u64, start: u64, offset: u64, len: u64) -> Vec<u8> {
    let span = [varint(offset), varint(len)].concat();
    [&[5][..], &varint(slot), &[0, 1], &span, &[0], &varint(start), &[0, 0]].concat()
}

/// The same, with a value that follows.
pub(crate) fn answer_with_tail(slot: u64, tail: &[u8]) -> Vec<u8> {
    [&[5][..], &varint(slot), &[0, 0, 1, 0, 0], tail].concat()
}

/// No job is in such a slot.
pub(crate) fn nobodys(random: &mut Random) -> u64 {
    random.next() >> 33 | 1 << 30
}

/// A message of each kind that a worker may ever send, as the codec writes it. The jobs in it are nobody's.
fn samples(random: &mut Random) -> Vec<Vec<u8>> {
    let id = nobodys(random);
    let done = |verdict: Vec<u8>| [&[5][..], &varint(id), &verdict, &[1, 1, 0]].concat();
    vec![
        vec![0, 2],
        vec![1],
        [vec![2], text("no model file")].concat(),
        vec![3],
        [vec![4], text("the last words"), vec![1], text("a/place.rs:1:1")].concat(),
        answer_in_file(id, 0, 100),
        answer_on_the_board(id, 0, 0, 100),
        answer_with_tail(id, &[0, 1, 2, 3]),
        done([vec![1], text("a panic"), vec![0]].concat()),
        done([vec![2], text("not an argument")].concat()),
        done([vec![3], text("not a result")].concat()),
    ]
}

/// One change after the other to something that made sense.
pub(crate) fn change(message: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(message.len());
        match random.below(7) {
            0 if !message.is_empty() => message[at] ^= 1 << random.below(8),
            1 if !message.is_empty() => message[at] = random.of(&[0, 1, 0x7f, 0x80, 0xff]),
            2 if !message.is_empty() => drop(message.remove(at)),
            3 => message.insert(at, random.next() as u8),
            4 => message.truncate(at),
            5 => {
                let odd = varint(random.odd_number());
                message.splice(at..at, odd);
            }
            _ => {
                let again = message.clone();
                message.extend(again);
            }
        }
    }
}

fn changed(target: &mut Target<'_>) {
    for _ in 0..100 {
        let samples = samples(target.random);
        let mut message = samples[target.random.below(samples.len())].clone();
        change(&mut message, target.random);
        // Empty ones have an attack of their own: they look like the end.
        if !message.is_empty() && !target.socket.send(&message, &[]) {
            return;
        }
    }
}

fn cut_short(target: &mut Target<'_>) {
    let samples = samples(target.random);
    let sample = &samples[target.random.below(samples.len())];
    for len in 1..sample.len() {
        target.socket.send(&sample[..len], &[]);
    }
}

fn out_of_turn(target: &mut Target<'_>) {
    let samples = samples(target.random);
    for _ in 0..10 {
        let at = target.random.below(5);
        target.socket.send(&samples[at], &[]);
    }
}

fn lengths_without_end(target: &mut Target<'_>) {
    let huge = varint(target.random.odd_number() | 1 << 33);
    let id = varint(nobodys(target.random));
    let overlong = [0xff; 12];
    let messages = [
        [&[2][..], &huge].concat(),
        [&[4][..], &huge, b"abc"].concat(),
        [&[5][..], &id, &[1], &huge].concat(),
        [&[5][..], &id, &[2], &huge, b"x"].concat(),
        [&[5][..], &overlong].concat(),
        [&overlong[..], &[5]].concat(),
    ];
    let at = target.random.below(messages.len());
    target.socket.send(&messages[at], &[]);
}

fn noise(target: &mut Target<'_>) {
    for _ in 0..50 {
        let len = 1 + target.random.below(2000);
        let noise = target.random.bytes(len);
        target.socket.send(&noise, &[]);
    }
}

fn too_long(target: &mut Target<'_>) {
    let len = 60_000 + target.random.below(100_000);
    let message = answer_with_tail(nobodys(target.random), &vec![5; len]);
    target.socket.send(&message, &[]);
}

/// Earlier jobs, which are over, and such that were never submitted.
fn answers_to_others(target: &mut Target<'_>) {
    for _ in 0..60 {
        let back = 1 + target.random.below(30) as u64;
        let slot = u64::from((target.slot as u32).wrapping_sub(back as u32));
        target.socket.send(&answer_with_tail(slot, &[0, 0, 0]), &[]);
        target.socket.send(&answer_in_file(slot, 0, 8), &[]);
    }
}

fn empty(target: &mut Target<'_>) {
    target.socket.send(&[], &[]);
}

fn own_answers(target: &mut Target<'_>) {
    let len = target.random.below(200);
    let tail = target.random.bytes(len);
    let (offset, len) = (target.random.odd_number(), target.random.odd_number());
    let start = target.random.odd_number();
    let message = match target.random.below(5) {
        0 => answer_with_tail(target.slot, &tail),
        // A table of blobs that are nowhere.
        1 => {
            let table = [&[1, 0][..], &varint(offset), &varint(len), &[1, 0]].concat();
            answer_with_tail(target.slot, &table)
        }
        2 => answer_in_file(target.slot, offset, len),
        3 => answer_on_the_board(target.slot, start, offset, len),
        _ => [&[5][..], &varint(target.slot), &[0, 0, 7], &tail].concat(),
    };
    target.socket.send(&message, &[]);
    target.say_by_socket();
}
