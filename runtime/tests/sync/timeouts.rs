//! Who waits only so long leaves nothing behind, and takes nothing with him.

use std::sync::Arc;
use std::time::Duration;

use loopool::sync::{Event, Mutex, Semaphore, mpsc};
use loopool::{create_task, timeout};

use super::support::{poll_once, run};

/// What is waited for here never comes meanwhile.
const SHORT: Duration = Duration::from_millis(1);

#[test]
fn nothing_is_left_behind() {
    run(1, async {
        let mutex = Mutex::new(());
        let guard = mutex.lock().await;
        assert!(timeout(SHORT, mutex.lock()).await.is_err());
        drop(guard);
        assert!(mutex.try_lock().is_some());

        let semaphore = Semaphore::new(1);
        assert!(timeout(SHORT, semaphore.acquire_many(2)).await.is_err());
        assert!(semaphore.try_acquire().is_some());

        let (sender, mut receiver) = mpsc::channel(1);
        assert!(timeout(SHORT, receiver.recv()).await.is_err());
        sender.send(1).await.unwrap();
        assert!(timeout(SHORT, sender.send(2)).await.is_err());
        assert_eq!(receiver.recv().await, Some(1));
        assert!(timeout(SHORT, receiver.recv()).await.is_err());
        assert_eq!(sender.capacity(), 1);

        let event = Event::new();
        assert!(timeout(SHORT, event.wait()).await.is_err());
        event.set();
        assert!(timeout(SHORT, event.wait()).await.is_ok());
    });
}

/// The first of two who wait gives up: the second one has its turn.
#[test]
fn the_next_one_has_its_turn() {
    run(2, async {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.clone().lock_owned().await;
        let mut first = Box::pin(mutex.lock());
        assert!(poll_once(&mut first).await.is_pending());
        let other = mutex.clone();
        let second = create_task(async move { *other.lock().await += 1 });
        assert!(timeout(SHORT, first).await.is_err());
        drop(guard);
        second.await.unwrap();
        assert_eq!(*mutex.lock().await, 1);
    });
}
