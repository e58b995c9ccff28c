//! Unix signals, as futures.
//!
//! The handler of a signal writes a byte into a socket that the loop waits on, so signals that come
//! faster than they are looked at count once, as the system itself does. Any number of tasks, loops
//! and runtimes may wait for the same signal.
//!
//! A child of `fork` inherits the handler and the socket. What it is sent is not its parent's, so the handler
//! looks whose [`Origin`] it is before it writes.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use loopool_executors::origin::Origin;
use signal_hook::SigId;
use signal_hook::low_level::{register, unregister};

use crate::fork::Forked;
use crate::reactor::registration::Done;
use crate::reactor::{Direction, Registration};

/// The numbers of the signals that services wait for.
pub use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};

/// Waits for a signal, again and again.
///
/// From the first `Signal` of a number on, the signal has lost its default effect for the rest of the
/// process's life: SIGTERM does not end it any more, whoever waits for it decides. That goes for its
/// [forks](Forked), too: what one of them is sent reaches the `Signal`s that it makes itself, and nobody if
/// there are none.
///
/// ```no_run
/// use loopool::signal::{SIGTERM, Signal};
///
/// # fn main() -> std::io::Result<()> {
/// loopool::run(async {
///     let mut terminate = Signal::new(SIGTERM)?;
///     terminate.recv().await
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct Signal {
    io: Registration<UnixStream>,
    id: SigId,
    origin: Origin,
}

impl Signal {
    /// Begins to listen for the signal of this number.
    ///
    /// # Errors
    /// When the signal can't be caught (SIGKILL, SIGSTOP and those that mean a crash), or the system
    /// gives no descriptors.
    pub fn new(signal: i32) -> io::Result<Self> {
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            let message = format!("signal {signal} cannot be caught");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let origin = Origin::here();
        let tell = move || {
            if !origin.is_left_behind() {
                // Refused when the socket is full: then there is something to read already.
                let _ = (&sender).write(&[0]);
            }
        };
        // SAFETY: all that a handler may do. The origin is atomics, as somebody has asked for one before, or the
        // process id; a write to a socket is one system call, and an error of the system's is but a number. No
        // panic comes from there, and `errno` is seen to by the crate.
        let id = unsafe { register(signal, tell) }?;
        Ok(Signal { io: Registration::new(receiver), id, origin })
    }

    /// Waits for the signal.
    ///
    /// # Errors
    /// When the event loop was closed; and [`Forked`] in a fork of the process that made this.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub async fn recv(&mut self) -> io::Result<()> {
        let mut bytes = [0; 64];
        let read = |mut stream: &UnixStream| {
            if self.origin.is_left_behind() {
                // What is in the socket is the parent's.
                return Err(Forked.into());
            }
            // All that have come by now are one.
            let mut some = false;
            loop {
                match stream.read(&mut bytes) {
                    Ok(count) if count == bytes.len() => some = true,
                    Err(error) if some && error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if !(some && error.kind() == ErrorKind::WouldBlock) => {
                        return Err(error);
                    }
                    Ok(_) | Err(_) => return Ok(Done { value: (), drained: false }),
                }
            }
        };
        self.io.io(Direction::Read, read).await
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // A thread of the parent might have held a lock in there.
        if !self.origin.is_left_behind() {
            unregister(self.id);
        }
    }
}

/// Waits for Ctrl-C (SIGINT), once. From then on SIGINT does nothing else, as with every [`Signal`], also while the
/// program ends.
///
/// # Errors
/// As for [`Signal::new`] and [`Signal::recv`].
pub async fn ctrl_c() -> io::Result<()> {
    Signal::new(SIGINT)?.recv().await
}
