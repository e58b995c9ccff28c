//! Says hello from a task: for `compare binary-size`.

use std::io::{self, Write};

use async_executor::Executor;

fn main() -> io::Result<()> {
    let executor = Executor::new();
    async_io::block_on(executor.run(executor.spawn(async { writeln!(io::stdout(), "hello") })))
}
