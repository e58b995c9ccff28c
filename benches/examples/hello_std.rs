//! Says hello, without a runtime: for `compare binary-size`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    writeln!(std::io::stdout(), "hello")
}
