//! One stream, many readers.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::AsyncReadExt;
use loopool::net::TcpStream;
use loopool::{create_task, spawn_on, timeout};

use crate::support::{Crowd, Random, Tally};

/// Read by reference by several tasks, some of which give up, are cancelled, or stay on a loop; the last
/// to have it drops it. As long as somebody reads to the end, every byte arrives once.
pub(crate) fn a_stream_that_many_read(random: &mut Random) {
    const BYTES: usize = 20_000;
    let runtime = random.runtime();
    let mut crowd = Crowd::default();
    let (got, to_the_end) = (Tally::default(), random.one_in(2));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = Arc::new(TcpStream::from_std(listener.accept().unwrap().0).unwrap());
    runtime.run_until_complete(async {
        let mut readers = Vec::new();
        for number in 0..4 {
            let (stream, got, mut inside) = (stream.clone(), got.clone(), random.split());
            let patient = number == 0 && to_the_end;
            let read = async move {
                let mut buffer = [0; 512];
                let mut left = if patient { usize::MAX } else { inside.below(8) };
                while left > 0 {
                    left -= 1;
                    inside.pause();
                    let room = 1 + inside.below(512);
                    let mut stream = &*stream;
                    let read = async {
                        let count = stream.read(&mut buffer[..room]).await.unwrap();
                        got.add(count);
                        count
                    };
                    let count = match !patient && inside.one_in(2) {
                        true => timeout(Duration::from_micros(200), read).await.unwrap_or(1),
                        false => read.await,
                    };
                    if count == 0 {
                        break;
                    }
                }
            };
            let task = match random.one_in(3) {
                true => spawn_on(random.below(runtime.handle().loops()), move || read).unwrap(),
                false => create_task(read),
            };
            let task = Arc::new(task);
            if !patient && random.one_in(2) {
                let (task, mut random) = (task.clone(), random.split());
                crowd.add(move || {
                    (0..8).for_each(|_| random.pause());
                    task.cancel();
                });
            }
            readers.push(task);
        }
        let mut writing = random.split();
        crowd.add(move || {
            let mut left = BYTES;
            while left > 0 {
                writing.pause();
                let some = left.min(1 + writing.below(1000));
                match client.write(&[0; 1000][..some]) {
                    Ok(count) => left -= count,
                    // Nobody reads any more.
                    Err(_) => break,
                }
            }
        });
        let mut dropping = random.split();
        crowd.add(move || {
            (0..8).for_each(|_| dropping.pause());
            drop(stream);
        });
        crowd.gone().await;
        for reader in readers {
            match Arc::into_inner(reader).unwrap().await {
                Ok(()) => {}
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    });
    match to_the_end {
        true => assert_eq!(got.get(), BYTES),
        false => assert!(got.get() <= BYTES),
    }
}
