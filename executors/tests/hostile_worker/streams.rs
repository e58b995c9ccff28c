//! Connections that are cut, closed or never read, and what else a process can do to its streams.

use std::time::Duration;

use super::{Attack, Target, attack};

pub(crate) const ATTACKS: &[Attack] = &[
    attack("a connection that takes nothing", |target| half_closed(target, libc::SHUT_RD)),
    attack("a connection that gives nothing", |target| half_closed(target, libc::SHUT_WR)),
    attack("a connection that is cut", |target| half_closed(target, libc::SHUT_RDWR)),
    attack("a closed socket", |target| {
        target.socket.close();
        doze();
    }),
    attack("all descriptors closed", |_| {
        (0..64).for_each(|fd| {
            // SAFETY: they are the worker's, which this job has taken over.
            unsafe { libc::close(fd) };
        });
        doze();
    }),
    attack("a process that stands still", |_| {
        // SAFETY: a plain system call.
        unsafe { libc::raise(libc::SIGSTOP) };
    }),
    attack(OUTPUT, output),
    attack("silence after half a message", |target| {
        target.socket.send(&[5], &[]);
        doze();
    }),
];

pub(crate) const OUTPUT: &str = "output that is no text and has no lines";

/// A moment in which the program can notice.
fn doze() {
    std::thread::sleep(Duration::from_millis(20));
}

fn half_closed(target: &mut Target<'_>, how: i32) {
    target.socket.shut(how);
    doze();
}

fn output(target: &mut Target<'_>) {
    use std::io::Write;
    for _ in 0..20 {
        let noise: Vec<u8> = target.random.bytes(10_000).into_iter().map(|it| it | 0x80).collect();
        let _ = std::io::stderr().write_all(&noise);
        let _ = std::io::stdout().write_all(&noise);
    }
}
