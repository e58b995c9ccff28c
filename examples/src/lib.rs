//! The thumbnail service: what a program built on [`loopool`] looks like.
//!
//! It takes pictures from strangers over HTTP and answers with thumbnails. Decoding is what crashes,
//! leaks and hangs, so it happens in a pool of processes; a picture that kills its decoder costs the
//! one request that brought it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | the command line |
//! | [`server`] | the accept loop, the connections, and how they are drained |
//! | [`routes`] | which request goes where |
//! | [`upload`] | reading a body within its limits |
//! | [`pools`] | the executors, and one way to ask each of them |
//! | [`profile`] | what holds the worker processes in: sandbox, memory, time |
//! | [`jobs`] | the jobs that requests wait for, and how somebody else cancels them |
//! | [`crashes`] | the last crash reports |
//! | [`thumbnail`] | the job: bytes of a picture in, bytes of a smaller one out |
//! | [`faults`] | jobs that crash on purpose |
//! | [`blocked`] | loops that are blocked on purpose |
//! | [`answer`] | responses, and errors as JSON |
//! | [`metrics`], [`latency`] | what is counted, and how it is told to Prometheus |
//! | [`live`] | the same, as a stream of events for the page |
//! | [`page`] | the page itself |

pub mod answer;
pub mod blocked;
pub mod crashes;
pub mod faults;
pub mod format;
pub mod jobs;
pub mod latency;
pub mod live;
pub mod metrics;
pub mod options;
pub mod page;
pub mod pools;
pub mod profile;
pub mod routes;
pub mod server;
pub mod thumbnail;
pub mod upload;
