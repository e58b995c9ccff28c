//! A program as a future, with its checks.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, join_all, select};
use futures::stream::FuturesUnordered;
use loopool::{
    Cancelled, JoinError, Task, cancellable, create_local_task, create_task, protect, shield,
    timeout_at, yield_now,
};

use crate::program::{Answer, Ends, Node};
use crate::world::{Counted, Flow, Watch, World};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The program's main task.
pub(crate) fn program(world: &Arc<World>, root: &Arc<Node>) -> impl Future<Output = ()> + use<> {
    task(world, root, world.root.clone())
}

/// What is made as a task: counted, and watched for requests that nobody answered.
fn task(
    world: &Arc<World>,
    node: &Arc<Node>,
    watch: Arc<Watch>,
) -> impl Future<Output = ()> + use<> {
    let alive = Alive::new(world);
    let inside = run(world, node, &Flow::of(watch.clone()));
    let world = world.clone();
    async move {
        let _alive = alive;
        let _end = TaskEnd { world: &world, watch: &watch };
        let mut inside = inside;
        poll_fn(|cx| {
            world.polls.fetch_add(1, Ordering::SeqCst);
            if watch.must_end.load(Ordering::SeqCst) {
                world.complain("a request that nobody answered did not end its task");
            }
            let asked = watch.asked.swap(false, Ordering::SeqCst) && world.alone;
            let answers = world.answers.load(Ordering::SeqCst);
            if inside.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            watch.after_poll();
            if asked && world.answers.load(Ordering::SeqCst) == answers {
                if world.protects.load(Ordering::SeqCst) == 0 && !world.has_sets {
                    watch.must_end.store(true, Ordering::SeqCst);
                } else {
                    // It may be held, or on its way to the members of a set that has stopped half-way.
                    watch.asked.store(true, Ordering::SeqCst);
                }
            }
            Poll::Pending
        })
        .await;
        watch.finished.store(true, Ordering::SeqCst);
    }
}

/// Looks, when a task's future is dropped, whether its scopes were asked.
struct TaskEnd<'a> {
    world: &'a World,
    watch: &'a Watch,
}

impl Drop for TaskEnd<'_> {
    fn drop(&mut self) {
        if self.watch.was_bypassed() {
            self.world.complain("a task was ended although a scope was open in it");
        }
    }
}

fn run(world: &Arc<World>, node: &Arc<Node>, flow: &Arc<Flow>) -> Boxed {
    let (world, node, flow) = (world.clone(), node.clone(), flow.clone());
    let alive = Alive::new(&world);
    Box::pin(async move {
        let _alive = alive;
        let branch = |node: &Arc<Node>| run(&world, node, &Flow::branch(&flow));
        match &*node {
            Node::Suspend => Suspend { key: world.key(), world: &world }.await,
            Node::Yield => yield_now().await,
            Node::Ask => world.ask(),
            Node::Seq(parts) => {
                for part in parts {
                    run(&world, part, &flow).await;
                }
            }
            Node::Join(parts) => drop(join_all(parts.iter().map(branch)).await),
            Node::Set(parts) => {
                let mut set: FuturesUnordered<_> = parts.iter().map(branch).collect();
                while set.next().await.is_some() {}
            }
            Node::Select(left, right) => match select(branch(left), branch(right)).await {
                Either::Left(((), loser)) | Either::Right(((), loser)) => drop(loser),
            },
            Node::Scope(inside, how) => {
                let value = Value::new(&world);
                let inside = value.watch(run(&world, inside, &flow));
                let open = Counted::new(&flow.watch.open);
                let result = cancellable(inside).await;
                drop(open);
                match result {
                    Ok(()) => value.arrived(),
                    Err(cancelled) => {
                        value.did_not_arrive();
                        world.answers.fetch_add(1, Ordering::SeqCst);
                        answer(&world, &flow, how, cancelled).await;
                    }
                }
            }
            Node::Timeout(inside, ends) => {
                let deadline = match ends {
                    Ends::Never => world.begin + Duration::from_secs(3600),
                    Ends::AtOnce => world.begin,
                    Ends::Later => world.fire,
                };
                let value = Value::new(&world);
                let inside = value.watch(run(&world, inside, &flow));
                match timeout_at(deadline, inside).await {
                    Ok(()) => value.arrived(),
                    Err(_) => {
                        value.did_not_arrive();
                        if matches!(ends, Ends::Never) {
                            world.complain("a timeout long before its time");
                        }
                    }
                }
            }
            Node::Protect(inside) => {
                let value = Value::new(&world);
                let protecting = Counted::new(&world.protects);
                protect(value.watch(run(&world, inside, &flow))).await;
                drop(protecting);
                value.arrived();
            }
            Node::Shield(inside) => {
                let (task, _watch) = spawn(&world, inside);
                if let Err(error) = shield(task).await {
                    world.complain(format!("a shielded task ended: {error}"));
                }
            }
            Node::Task(inside, how) => {
                let (task, watch) = spawn(&world, inside);
                let open = Counted::new(&flow.watch.open);
                let result = awaited(&world, task, &watch).await;
                drop(open);
                match result {
                    Ok(()) => {}
                    Err(error) => match error.passed_on() {
                        Some(cancelled) => {
                            if watch.finished.load(Ordering::SeqCst) {
                                world.complain("a task's value was lost");
                            }
                            answer(&world, &flow, how, cancelled).await;
                        }
                        None => world.complain(format!("an awaited task ended: {error}")),
                    },
                }
            }
        }
    })
}

async fn answer(world: &Arc<World>, flow: &Arc<Flow>, how: &Answer, cancelled: Cancelled) {
    if !flow.take(cancelled.request()) {
        world.complain("a flow was given a request twice");
    }
    if let Some(clean_up) = &how.clean_up {
        run(world, clean_up, flow).await;
    }
    if how.raise {
        flow.raise(cancelled.request());
        let _raising = Counted::new(&flow.watch.raising);
        match cancelled.reraise().await {}
    }
}

fn spawn(world: &Arc<World>, node: &Arc<Node>) -> (Task<()>, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    let future = task(world, node, watch.clone());
    (if world.alone { create_local_task(future) } else { create_task(future) }, watch)
}

/// Awaits, and notes when a request is passed on.
async fn awaited(world: &World, mut task: Task<()>, watch: &Watch) -> Result<(), JoinError> {
    poll_fn(|cx| {
        let before = task.cancelling();
        let polled = Pin::new(&mut task).poll(cx);
        if polled.is_pending() && task.cancelling() > before {
            world.answers.fetch_add(1, Ordering::SeqCst);
            watch.ask();
        }
        polled
    })
    .await
}

struct Suspend<'a> {
    world: &'a World,
    key: usize,
}

impl Future for Suspend<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.world.polls.fetch_add(1, Ordering::SeqCst);
        if self.world.wait(self.key, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Suspend<'_> {
    fn drop(&mut self) {
        self.world.forget(self.key);
    }
}

/// A value that must arrive once it was made.
struct Value<'a> {
    world: &'a World,
    made: Arc<AtomicBool>,
    arrived: AtomicBool,
}

impl<'a> Value<'a> {
    fn new(world: &'a World) -> Self {
        Value { world, made: Arc::default(), arrived: AtomicBool::new(false) }
    }

    fn watch(&self, inside: Boxed) -> impl Future<Output = ()> + Send + use<> {
        let made = self.made.clone();
        async move {
            inside.await;
            made.store(true, Ordering::SeqCst);
        }
    }

    fn arrived(&self) {
        self.arrived.store(true, Ordering::SeqCst);
    }

    fn did_not_arrive(&self) {
        if self.made.load(Ordering::SeqCst) {
            self.world.complain("a value was made and an error arrived");
        }
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        if self.made.load(Ordering::SeqCst) && !self.arrived.load(Ordering::SeqCst) {
            self.world.complain("a value was made and did not arrive");
        }
    }
}

/// Counts what was made and not dropped yet.
struct Alive(Arc<World>);

impl Alive {
    fn new(world: &Arc<World>) -> Self {
        world.alive.fetch_add(1, Ordering::SeqCst);
        Alive(world.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.0.complain("something was dropped twice");
        }
    }
}
