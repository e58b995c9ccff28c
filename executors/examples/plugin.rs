//! A shared library that makes a process pool, or tries to: `tests/starting` loads it into a program that
//! knows nothing of us.

use loopool_executors::{ProcessPoolError, ProcessPoolExecutor};

/// 0 when there is a pool; 1 when it was refused because this is no main program; else 2.
///
/// # Safety
/// May be called by anybody, any number of times.
#[unsafe(no_mangle)]
pub extern "C" fn make_a_pool() -> i32 {
    match ProcessPoolExecutor::new(1) {
        Ok(_) => 0,
        Err(ProcessPoolError::NotTheMainProgram) => 1,
        Err(_) => 2,
    }
}
