//! Everything that one process reads and another one has written: messages, results, arguments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    loopool_executors::process::fuzzing::read_anything(data);
});
