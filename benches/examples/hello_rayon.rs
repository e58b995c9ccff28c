//! Says hello from a job: for `compare binary-size`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let (said, ()) = rayon::join(|| writeln!(io::stdout(), "hello"), || ());
    said
}
