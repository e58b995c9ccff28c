//! What a poll costs more because of the scopes around what is polled, while nobody cancels.
//!
//! The bare future and the wrapped ones are polled in turns, in the same task; the table shows medians of
//! the rounds, in CPU nanoseconds per poll.

use std::future::Future;
use std::hint::black_box;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use loopool::{EventLoop, cancellable, protect, timeout};
use loopool_benches::meter;

const POLLS: u32 = 5_000_000;
const ROUNDS: usize = 21;

/// Never ready, and not for the compiler to see through.
struct Leaf(u64);

impl Future for Leaf {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 = black_box(self.0 + 1);
        if self.0 == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

type Subject = (&'static str, Pin<Box<dyn Future<Output = ()>>>);

/// As deep as the others.
async fn bare() {
    Leaf(0).await;
}

fn subjects() -> Vec<Subject> {
    let long = Duration::from_secs(3600);
    vec![
        ("bare", Box::pin(bare())),
        (
            "cancellable",
            Box::pin(async {
                let _ = cancellable(Leaf(0)).await;
            }),
        ),
        (
            "three cancellable",
            Box::pin(async {
                let _ = cancellable(cancellable(cancellable(Leaf(0)))).await;
            }),
        ),
        ("protect", Box::pin(async { protect(Leaf(0)).await })),
        (
            "timeout",
            Box::pin(async move {
                let _ = timeout(long, Leaf(0)).await;
            }),
        ),
    ]
}

fn measure(subject: &mut Pin<Box<dyn Future<Output = ()>>>, cx: &mut Context<'_>) -> f64 {
    let ((), cost) = meter::measure(|| {
        for _ in 0..POLLS {
            assert!(black_box(subject.as_mut()).poll(cx).is_pending());
        }
    });
    cost.cpu_nanos(POLLS.into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut subjects = subjects();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); subjects.len()];
    EventLoop::new()?.run_until_complete(std::future::poll_fn(|cx| {
        for _ in 0..ROUNDS {
            for ((_, subject), times) in subjects.iter_mut().zip(&mut times) {
                times.push(measure(subject, cx));
            }
        }
        Poll::Ready(())
    }))?;
    let mut medians = times.into_iter().map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    let bare = medians.next().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "| polled | ns per poll | more than bare |\n|---|---|---|")?;
    writeln!(out, "| bare | {bare:.1} | – |")?;
    for ((name, _), median) in subjects.iter().skip(1).zip(medians) {
        writeln!(out, "| {name} | {median:.1} | {:.1} |", median - bare)?;
    }
    Ok(())
}
