use futures::stream::{FuturesUnordered, StreamExt};
use loopool::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn lp<T>(f: impl Future<Output = T>) -> T {
    let l = EventLoop::new().unwrap();
    l.run_until_complete(f).unwrap()
}
async fn turns(n: usize) {
    for _ in 0..n {
        yield_now().await
    }
}

#[test]
fn scope_cleans_up_and_reraises() {
    lp(async {
        let log = Rc::new(RefCell::new(vec![]));
        let l = log.clone();
        let t = create_local_task(async move {
            let r = cancellable(async {
                cancellable(std::future::pending::<()>()).await.map_err(|c| {
                    l.borrow_mut().push(("inner", c));
                    c
                })?;
                Ok::<(), Cancelled>(())
            })
            .await;
            match r {
                Ok(Err(c)) => {
                    yield_now().await;
                    l.borrow_mut().push(("outer value", c));
                    c.reraise().await
                }
                Ok(Ok(())) => 1,
                Err(_) => 2,
            }
        });
        turns(2).await;
        let id = t.cancel().unwrap();
        assert_eq!(t.cancel(), Some(id));
        let e = t.await.unwrap_err();
        assert!(e.is_cancelled());
        assert_eq!(e.passed_on(), None);
        assert_eq!(
            log.borrow().iter().map(|(s, c)| (*s, c.request())).collect::<Vec<_>>(),
            vec![("inner", id), ("outer value", id)]
        );
    });
}

#[test]
fn chain_of_tasks() {
    lp(async {
        let log = Rc::new(RefCell::new(vec![]));
        let l = log.clone();
        let outer = create_local_task(async move {
            let l2 = l.clone();
            let inner = create_local_task(async move {
                match cancellable(std::future::pending::<()>()).await {
                    Ok(()) => {}
                    Err(c) => {
                        turns(3).await;
                        l2.borrow_mut().push("inner cleaned");
                        c.reraise().await
                    }
                }
            });
            let e = inner.await.unwrap_err();
            l.borrow_mut().push("outer");
            let c = e.passed_on().unwrap();
            c.reraise().await
        });
        turns(4).await;
        outer.cancel();
        assert!(outer.await.unwrap_err().is_cancelled());
        assert_eq!(*log.borrow(), ["inner cleaned", "outer"]);
    });
}

#[test]
fn unordered_and_forty() {
    lp(async {
        for n in [5usize, 40] {
            let log = Rc::new(RefCell::new(0));
            let l = log.clone();
            let t = create_local_task(async move {
                let v: Vec<_> = (0..n)
                    .map(|_| {
                        let l = l.clone();
                        async move {
                            if cancellable(std::future::pending::<()>()).await.is_err() {
                                turns(2).await;
                                *l.borrow_mut() += 1;
                            }
                        }
                    })
                    .collect();
                futures::future::join_all(v).await;
                "done"
            });
            turns(3).await;
            t.cancel();
            assert_eq!(t.await.unwrap(), "done");
            assert_eq!(*log.borrow(), n);
        }
        let t = create_local_task(async move {
            let mut set: FuturesUnordered<_> = (0..10)
                .map(|_| {
                    create_local_task(async {
                        cancellable(std::future::pending::<()>()).await.is_err()
                    })
                })
                .collect();
            let mut n = 0;
            while let Some(r) = set.next().await {
                n += usize::from(r.unwrap());
            }
            n
        });
        turns(4).await;
        t.cancel();
        assert_eq!(t.await.unwrap(), 10);
    });
}

#[test]
fn timeouts() {
    lp(async {
        let d = Duration::from_millis(5);
        let r = timeout(d, async {
            match cancellable(std::future::pending::<()>()).await {
                Err(c) => {
                    assert_eq!(cancelling(), 1);
                    turns(3).await;
                    c.reraise().await
                }
                Ok(()) => 3,
            }
        })
        .await;
        assert!(r.is_err());
        let r = timeout(d, async {
            match cancellable(std::future::pending::<()>()).await {
                Err(_) => {
                    turns(3).await;
                    9
                }
                Ok(()) => 3,
            }
        })
        .await;
        assert_eq!(r.unwrap(), 9);
        assert_eq!(cancelling(), 0);
        let r = timeout(
            d,
            protect(async {
                sleep(d * 3).await;
                4
            }),
        )
        .await;
        assert_eq!(r.unwrap(), 4);
        // nested, loop busy
        let mut inner_seen = false;
        let r = timeout(d * 2, async {
            let r = timeout(d, async {
                std::thread::sleep(d * 4);
                sleep(d * 1000).await
            })
            .await;
            inner_seen = r.is_err();
            sleep(d * 1000).await
        })
        .await;
        assert!(r.is_err() && inner_seen);
        // held in parallel
        let begun = Instant::now();
        let t = create_local_task(async move {
            futures::join!(protect(sleep(d * 4)), timeout(d, std::future::pending::<()>()))
                .1
                .is_err()
        });
        turns(2).await;
        t.cancel();
        let polls = || metrics().loops[0].polls;
        let before = polls();
        assert!(t.await.unwrap());
        assert!(begun.elapsed() >= d * 4);
        assert!(polls() - before < 20, "{}", polls() - before);
    });
}

#[test]
fn protect_holds_without_spinning() {
    lp(async {
        let t = create_local_task(async move {
            protect(sleep(Duration::from_millis(30))).await;
            std::future::pending::<()>().await
        });
        turns(2).await;
        t.cancel();
        let before = metrics().loops[0].polls;
        assert!(t.await.unwrap_err().is_cancelled());
        assert!(metrics().loops[0].polls - before < 10);
    });
}

#[test]
fn foreign_executor() {
    let r = futures::executor::block_on(async {
        cancellable(async { cancellable(async { 4 }).await }).await
    });
    assert_eq!(r, Ok(Ok(4)));
}
