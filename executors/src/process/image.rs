//! The main program in memory: where its code lies, and which build it is.
//!
//! A function crosses as its distance from a static of ours. That names the same function in every
//! process of the same build, wherever the program was loaded; it does not name one in a shared
//! library, so both sides check that what they send or call lies in the program's own code.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// What distances are counted from.
static ANCHOR: u8 = 0;

fn anchor() -> usize {
    (&raw const ANCHOR).expose_provenance()
}

/// A function of the main program, as its distance from our anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset(pub(super) i64);

impl Offset {
    /// The offset of the code at `address`; none when it is not code of the main program.
    pub(super) fn of(address: usize) -> Option<Offset> {
        let offset = Offset(address.wrapping_sub(anchor()) as i64);
        Image::get().is_code(address).then_some(offset)
    }

    /// The address, if there is code of the main program there.
    pub(super) fn resolve(self) -> Option<*const ()> {
        let address = anchor().wrapping_add(self.0 as usize);
        Image::get().is_code(address).then(|| std::ptr::with_exposed_provenance(address))
    }
}

/// What is known of the main program.
#[derive(Debug, Default)]
struct Image {
    code: Vec<Range<usize>>,
    build_id: Option<String>,
}

/// Rule 6 of `forks.rs`.
pub(crate) fn read() {
    let _ = Image::get();
}

impl Image {
    fn get() -> &'static Image {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        crate::forks::watch();
        IMAGE.get_or_init(|| {
            let mut image = Image::default();
            // SAFETY: the callback gets `image` as its data, which outlives the call, and stops after
            // the first entry, which is the main program.
            unsafe { libc::dl_iterate_phdr(Some(read_image), (&raw mut image).cast()) };
            image
        })
    }

    fn is_code(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

/// Called by `dl_iterate_phdr` with the main program first.
unsafe extern "C" fn read_image(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    image: *mut c_void,
) -> c_int {
    // SAFETY: the loader gives a valid entry with `dlpi_phnum` headers, whose addresses are those of
    // the loaded program; `image` is the one of `Image::get`.
    unsafe {
        let info = &*info;
        let image = &mut *image.cast::<Image>();
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        for header in headers {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            let len = header.p_memsz as usize;
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
                image.code.push(start..start.saturating_add(len));
            }
            if header.p_type == libc::PT_NOTE && image.build_id.is_none() {
                let start = std::ptr::with_exposed_provenance::<u8>(start);
                let notes = std::slice::from_raw_parts(start, len);
                image.build_id = gnu_build_id(notes, (header.p_align as usize).max(4));
            }
        }
    }
    1
}

const NT_GNU_BUILD_ID: u32 = 3;

/// Looks for the linker's build id in a note segment.
fn gnu_build_id(notes: &[u8], align: usize) -> Option<String> {
    let word = |at: usize| {
        Some(u32::from_ne_bytes(notes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
    };
    let mut at = 0;
    loop {
        let (name_len, content_len, kind) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let name = at + 12;
        let content = (name + name_len).next_multiple_of(align.min(8));
        let bytes = notes.get(content..content.checked_add(content_len)?)?;
        if kind == NT_GNU_BUILD_ID as usize && notes.get(name..name + name_len)? == b"GNU\0" {
            return Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        at = (content + content_len).next_multiple_of(align.min(8));
    }
}

/// Names this build: the linker's build id, or, where there is none, the file.
pub(super) fn build() -> String {
    if let Some(id) = &Image::get().build_id {
        return id.clone();
    }
    match std::fs::metadata("/proc/self/exe") {
        Ok(file) => {
            let (device, inode) = (file.dev(), file.ino());
            format!("file {device}:{inode}:{}:{}.{}", file.size(), file.mtime(), file.mtime_nsec())
        }
        Err(error) => format!("file ({error})"),
    }
}

/// Whether this crate's code is part of the main program, not of a shared library.
pub(super) fn is_main_program() -> bool {
    Offset::of(build as fn() -> String as usize).is_some()
}

/// Whether this process got rights from its executable that whoever started it has not.
pub(super) fn is_privileged() -> bool {
    // SAFETY: reads a word the kernel left for the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The umask, which can't be asked for without being set.
pub(super) fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// The arguments' first, as the program itself sees it.
pub(super) fn first_argument() -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    std::env::args_os().next().map(OsStringExt::into_vec).unwrap_or_default()
}

/// The bytes of a C string.
///
/// # Safety
/// `text` points to a string that ends with a NUL and stays as it is for `'a`.
pub(super) unsafe fn text<'a>(text: *const std::ffi::c_char) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_ours_goes_there_and_back() {
        let address = umask as fn() -> Option<u32> as usize;
        let offset = Offset::of(address).unwrap();
        assert_eq!(offset.resolve().unwrap().addr(), address);
    }

    #[test]
    fn a_function_of_the_c_library_is_foreign_and_so_is_data() {
        assert!(
            Offset::of(libc::getpid as unsafe extern "C" fn() -> libc::pid_t as usize).is_none()
        );
        assert!(Offset::of(anchor()).is_none());
        assert!(Offset(i64::MAX).resolve().is_none());
    }

    #[test]
    fn the_build_id_is_found_after_another_note() {
        let mut notes = Vec::new();
        for (kind, content) in [(1u32, [1u8; 5].as_slice()), (3, &[0xab, 0xcd])] {
            notes.extend(4u32.to_ne_bytes());
            notes.extend((content.len() as u32).to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(b"GNU\0");
            notes.extend(content);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(gnu_build_id(&notes, 4).unwrap(), "abcd");
        assert_eq!(gnu_build_id(&notes[..30], 4), None);
        assert_eq!(gnu_build_id(&[0xff; 64], 4), None);
    }

    #[test]
    fn this_test_is_the_main_program() {
        assert!(is_main_program());
        assert!(!build().is_empty());
        assert!(umask().is_some());
    }
}
