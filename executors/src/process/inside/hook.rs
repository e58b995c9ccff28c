//! The constructor: code that runs in every start of the program, before `main`.
//!
//! In an ordinary start it notes its first argument and returns. In a start as a worker it never does.
//! Making a pool asks what was noted: when the constructor did not run here, or saw something else
//! than the program sees, it would not work in a worker either, which would then run `main`, make a
//! pool and so on.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use super::takeover;
use crate::process::image;

/// Where the C library looks for functions to be called before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn(c_int, *const *const c_char) = on_start;

/// The first argument that the constructor saw. Written before there is a second thread, so relaxed
/// accesses pair with nothing.
static SEEN: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn on_start(argc: c_int, argv: *const *const c_char) {
    // SAFETY: called by the C library with what it gives to constructors.
    let (count, first) = unsafe { arguments::first(argc, argv) };
    if first.is_null() {
        return;
    }
    SEEN.store(first.cast_mut(), Relaxed);
    // SAFETY: a C string of the program's arguments or of our own buffer; both live for ever.
    let text = unsafe { image::text(first) };
    if count == 1 && takeover::is_worker_name(text) && !takeover::is_for_main(text) {
        takeover::take_over(text);
    }
}

/// Whether the constructor ran and saw what the program sees.
pub(crate) fn works() -> bool {
    std::hint::black_box(&HOOK);
    let seen = SEEN.load(Relaxed);
    if seen.is_null() {
        return false;
    }
    // SAFETY: as in `on_start`.
    let seen = unsafe { image::text(seen) };
    let actual = image::first_argument();
    seen == arguments::noted(&actual)
}

/// Where the constructor lies, for the test that starts a program without it.
pub fn constructor_address() -> usize {
    on_start as extern "C" fn(c_int, *const *const c_char) as usize
}

/// glibc gives the arguments to constructors.
#[cfg(target_env = "gnu")]
mod arguments {
    use std::ffi::{c_char, c_int};

    /// What is noted of an argument: all of it.
    pub(crate) fn noted(argument: &[u8]) -> &[u8] {
        argument
    }

    /// How many arguments there are, and the first.
    ///
    /// # Safety
    /// The arguments are those of a constructor.
    pub(crate) unsafe fn first(argc: c_int, argv: *const *const c_char) -> (usize, *const c_char) {
        if argc < 1 || argv.is_null() {
            return (0, std::ptr::null());
        }
        // SAFETY: `argv` has `argc` elements.
        (argc as usize, unsafe { *argv })
    }
}

/// Others (musl) give nothing, and what is in the registers must not be looked at.
#[cfg(any(not(target_env = "gnu"), test))]
#[cfg_attr(target_env = "gnu", allow(dead_code, reason = "compiled here for its tests"))]
mod command_line {
    use std::cell::UnsafeCell;
    use std::ffi::{c_char, c_int};

    /// A worker's name is shorter, and longer first arguments are told apart well enough by this.
    const NOTED_AT_MOST: usize = 254;

    /// What is noted of an argument: its beginning.
    pub(crate) fn noted(argument: &[u8]) -> &[u8] {
        &argument[..argument.len().min(NOTED_AT_MOST)]
    }

    struct Buffer(UnsafeCell<[u8; NOTED_AT_MOST + 2]>);

    // SAFETY: written once, by the constructor, before there is a second thread.
    unsafe impl Sync for Buffer {}

    static BUFFER: Buffer = Buffer(UnsafeCell::new([0; NOTED_AT_MOST + 2]));

    /// How many arguments there are (1, or 2 for more), and the first, cut to the length above.
    ///
    /// # Safety
    /// Called once, before there is a second thread.
    pub(crate) unsafe fn first(
        _argc: c_int,
        _argv: *const *const c_char,
    ) -> (usize, *const c_char) {
        // SAFETY: the file's descriptor is our own; the buffer is not shared yet, and its last byte
        // stays 0, so that it ends a string.
        unsafe {
            let file = libc::open(c"/proc/self/cmdline".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if file < 0 {
                return (0, std::ptr::null());
            }
            let buffer = &mut *BUFFER.0.get();
            let len = libc::read(file, buffer.as_mut_ptr().cast(), NOTED_AT_MOST + 1);
            libc::close(file);
            let Ok(len) = usize::try_from(len) else { return (0, std::ptr::null()) };
            let count = count_arguments(&buffer[..len]);
            buffer[NOTED_AT_MOST] = 0;
            (count, buffer.as_ptr().cast())
        }
    }

    /// 0, 1, or 2 for more or for a first argument that does not fit.
    pub(crate) fn count_arguments(line: &[u8]) -> usize {
        match line.iter().position(|byte| *byte == 0) {
            None if line.is_empty() => 0,
            Some(end) if end + 1 == line.len() => 1,
            _ => 2,
        }
    }
}

#[cfg(not(target_env = "gnu"))]
use command_line as arguments;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ran_in_this_test() {
        assert!(works());
    }

    #[test]
    fn the_command_line_tells_the_same_as_the_c_library() {
        // SAFETY: nothing else uses that buffer in this test.
        let (count, first) = unsafe { command_line::first(0, std::ptr::null()) };
        assert_eq!(count, std::env::args_os().count().min(2));
        // SAFETY: what `first` gives is a C string in a static.
        let first = unsafe { image::text(first) };
        let actual = image::first_argument();
        assert_eq!(first, command_line::noted(&actual));
    }

    #[test]
    fn arguments_are_counted() {
        assert_eq!(command_line::count_arguments(b""), 0);
        assert_eq!(command_line::count_arguments(b"a\0"), 1);
        assert_eq!(command_line::count_arguments(b"a\0b\0"), 2);
        assert_eq!(command_line::count_arguments(b"too long to end"), 2);
    }
}
