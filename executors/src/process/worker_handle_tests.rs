use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;

use super::*;
use crate::BlobBuf;
use crate::options::JobOptions;
use crate::process::policy::Terms;
use crate::process::remote_job::{LOST_WORKERS_AT_MOST, Reply, Target};
use crate::process::shared::Shared;
use crate::process::tail::pipe;
use crate::process::transport::body::Body;
use crate::promise::Promise;

/// One that nobody is behind.
fn worker() -> WorkerHandle {
    let (socket, _) = socket::pair().unwrap();
    let (output, _) = pipe().unwrap();
    let (lifeline, _) = nix::unistd::pipe().unwrap();
    let (board, _) = Board::new().unwrap();
    let bell = OwnedFd::from(EventFd::new().unwrap());
    let mut worker =
        WorkerHandle::new(0, socket, Leash::new(lifeline), OutputPipe::new(output), board, bell);
    worker.phase = Phase::Busy;
    worker
}

fn job(id: u64) -> RemoteJob {
    job_with(id, &1u32)
}

fn job_with(id: u64, argument: &impl serde::Serialize) -> RemoteJob {
    fn nothing(_: u32) {}
    let shared = Arc::new(Shared::new(None).unwrap());
    let (promise, _job) = Promise::<()>::owned_by(shared.clone(), id);
    let terms = Terms::new(&JobOptions::default(), "nothing", false, &shared, &promise);
    let target = Target::of::<u32, ()>(nothing).unwrap();
    RemoteJob::new(id, target, Body::encode(argument).unwrap(), terms, promise, Reply::outcome)
}

fn send(worker: &mut WorkerHandle, job: RemoteJob) {
    assert!(worker.send(job, Instant::now()).is_ok());
}

#[test]
fn a_worker_that_claims_what_waits_is_not_relieved_again_and_again() {
    let mut worker = worker();
    for id in 0..3 {
        send(&mut worker, job(id));
    }
    assert!(worker.relief().is_some_and(|at| at <= Instant::now() + Duration::from_secs(1)));
    // The first one still runs, as far as is known.
    assert!(worker.board.ring().claim(0) && worker.board.ring().claim(1));
    let back: Vec<u64> = worker.relieve().iter().map(|job| job.id).collect();
    assert_eq!((back, worker.relief()), (vec![2], None), "the second one can't be taken back");
}

#[test]
fn a_job_that_always_comes_next_in_those_who_die_is_to_blame_in_the_end() {
    let mut next = job(7);
    for _ in 0..LOST_WORKERS_AT_MOST {
        let mut worker = worker();
        send(&mut worker, next);
        send(&mut worker, job(8));
        let (victim, mut rest) = worker.estate();
        assert!(victim.is_none());
        assert_eq!(rest.iter().map(|job| job.id).collect::<Vec<_>>(), [7, 8]);
        next = rest.remove(0);
    }
    let mut worker = worker();
    send(&mut worker, next);
    let (victim, rest) = worker.estate();
    assert_eq!((victim.map(|job| job.id), rest.len()), (Some(7), 0));
}

#[test]
fn a_job_whose_descriptors_go_over_the_socket_is_sent_only_as_the_first() {
    let blob = BlobBuf::zeroed(1 << 20).freeze();
    let mut worker = worker();
    send(&mut worker, job(1));
    let (sealed, error) = worker.send(job_with(2, &blob), Instant::now()).unwrap_err();
    assert!(matches!(error, SendError::NotNow));
    assert_eq!(worker.in_flight(), 1);
    // Nobody is at the other end.
    let mut worker = self::worker();
    let (_, error) = worker.send(sealed, Instant::now()).unwrap_err();
    assert!(matches!(error, SendError::Deaf));
    // Where none may be sent there is nothing to be said over the socket.
    worker.most_sealed = 0;
    send(&mut worker, job_with(3, &blob));
    send(&mut worker, job_with(4, &blob));
}
