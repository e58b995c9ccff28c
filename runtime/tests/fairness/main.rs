//! Who gets his turn when others take all they can get.
//!
//! Everything is counted in steps of those who take; nothing is timed.
//!
//! | file | shows |
//! |---|---|
//! | `starving.rs` | nobody is starved, by whatever it is: every greedy thing against every modest one |
//! | `budget.rs` | a task over leaves that are always ready lets others run, and loses nothing |
//! | `sharing.rs` | what is queued for anybody is had by somebody |
//! | `sockets.rs` | ready sockets are served in turn, and new ones are spread over the loops |

mod budget;
mod sharing;
mod sockets;
mod starving;
mod steps;

use std::time::Duration;

use futures::join;
use loopool::Runtime;
use loopool::net::{TcpListener, TcpStream};

/// Nothing here takes so long; it is the limit against hanging.
const HANG: Duration = Duration::from_secs(120);

/// Runs `main` on so many loops. A hang ends the test.
fn run<T>(loops: usize, main: impl Future<Output = T>) -> T {
    let runtime = Runtime::builder().loops(loops).build().unwrap();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // A loop that starves its main future can't be stopped from outside.
            panic_and_abort(&test);
        }
    });
    let output = runtime.run(main);
    drop(done);
    watch.join().unwrap();
    output
}

fn panic_and_abort(test: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{test}: nothing has happened for {HANG:?}");
    std::process::abort();
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Two ends of a connection.
async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = join!(connect, listener.accept());
    (client.unwrap(), server.unwrap().0)
}
