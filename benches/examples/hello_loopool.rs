//! Says hello from a task: for `compare binary-size`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let said = loopool::run(async {
        loopool::create_task(async { writeln!(io::stdout(), "hello") }).await
    });
    said.map_err(|_| io::ErrorKind::Other)?
}
