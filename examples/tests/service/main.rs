//! The service as its users meet it: the real program, started on a free port, asked over real
//! sockets, sent real signals. Every test has a service of its own.

mod answers;
mod blocked;
mod cancel;
mod client;
mod connections;
mod crowd;
mod faults;
mod harness;
mod limits;
mod pictures;
mod signals;
mod starting;
mod workers;
