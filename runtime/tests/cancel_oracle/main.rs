//! Cancellation against an oracle: nests of scopes, timeouts, protected futures and awaited tasks, up to
//! three deep, with every way to answer a request and with requests that arrive at every step. What a
//! run does, in which order and in how many polls, must be what the rules prescribe.
//!
//! An ordinary run takes a sample; `LOOPOOL_ORACLE_FULL=1` takes all, for which `--release` is wanted.

mod drive;
mod event;
mod model;
mod nest;

use std::collections::HashMap;

use loopool::RequestId;

use crate::event::Event;
use crate::model::Request;
use crate::nest::Case;

/// So many run at a time.
const BATCH: usize = 4096;

#[test]
fn every_nest_does_what_the_rules_say() {
    let all = std::env::var_os("LOOPOOL_ORACLE_FULL").is_some();
    // Prime, so that the sample has everything in it.
    let stride = if all { 1 } else { 149 };
    let mut cases = nest::cases(stride).peekable();
    let mut compared = 0;
    let mut wrong = Vec::new();
    while cases.peek().is_some() {
        let batch: Vec<_> = cases.by_ref().take(BATCH).collect();
        for (case, log) in batch.iter().zip(drive::run(&batch)) {
            compared += 1;
            let expected = model::run(case);
            if !same(&expected, &log) {
                wrong.push((*case, expected, log));
            }
        }
    }
    assert!(compared > if all { 200_000 } else { 4_000 }, "only {compared} were compared");
    // The shortest says most.
    wrong.sort_by_key(|(_, expected, log)| expected.len() + log.len());
    let Some((case, expected, log)) = wrong.first() else { return };
    panic!("{} of {compared} differ, as this one:\n{}", wrong.len(), describe(case, expected, log));
}

/// Whether the logs agree when requests are matched with ids, one to one.
fn same(expected: &[Event<Request>], found: &[Event<RequestId>]) -> bool {
    let mut ids = HashMap::new();
    let mut requests = HashMap::new();
    let mut match_up = |request: Request, id: RequestId| {
        *ids.entry(request).or_insert(id) == id && *requests.entry(id).or_insert(request) == request
    };
    expected.len() == found.len()
        && expected.iter().zip(found).all(|(&expected, &found)| match (expected, found) {
            (Event::Asked(Some(a)), Event::Asked(Some(b))) => match_up(a, b),
            (Event::Asked(None), Event::Asked(None)) => true,
            (Event::Took(a, x, m), Event::Took(b, y, n))
            | (Event::CleanUpTook(a, x, m), Event::CleanUpTook(b, y, n)) => {
                a == b && m == n && match_up(x, y)
            }
            (Event::Polled(a), Event::Polled(b))
            | (Event::Finished(a), Event::Finished(b))
            | (Event::Dropped(a), Event::Dropped(b)) => a == b,
            (Event::TimedOut(a, m), Event::TimedOut(b, n)) => a == b && m == n,
            (Event::Stranger(a), Event::Stranger(b)) => a == b,
            (Event::Ended(a), Event::Ended(b)) => a == b,
            _ => false,
        })
}

fn describe(case: &Case, expected: &[Event<Request>], found: &[Event<RequestId>]) -> String {
    let lines = |log: Vec<String>| log.join("\n    ");
    format!(
        "{case:?}\n  expected\n    {}\n  found\n    {}",
        lines(expected.iter().map(|event| format!("{event:?}")).collect()),
        lines(found.iter().map(|event| format!("{event:?}")).collect()),
    )
}
