//! Says hello from a task: for `compare binary-size`.

use std::io::{self, Write};

use monoio::{FusionDriver, RuntimeBuilder};

fn main() -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<FusionDriver>::new().enable_all().build()?;
    runtime.block_on(async { monoio::spawn(async { writeln!(io::stdout(), "hello") }).await })
}
