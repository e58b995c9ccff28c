//! Says hello from a task: for `compare binary-size`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let said =
        runtime.block_on(async { tokio::spawn(async { writeln!(io::stdout(), "hello") }).await });
    said.map_err(|_| io::ErrorKind::Other)?
}
