//! Whether a JPEG file is all there.
//!
//! The end marker can't just be searched for: the small preview that cameras store in the header has
//! one of its own. So the segments are walked by their lengths, and the coded data by its escapes.

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Whether the end marker of the picture itself is in these bytes.
pub(super) fn is_reached(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((marker, after)) = next_marker(rest) {
        match marker {
            END_OF_IMAGE => return true,
            // Start of image, restarts and the like: a marker alone.
            0x01 | 0xd0..=0xd8 => rest = after,
            _ => {
                let Some(&[high, low]) = after.first_chunk() else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(next) = after.get(length.max(2)..) else { return false };
                rest = if marker == START_OF_SCAN { after_coded_data(next) } else { next };
            }
        }
    }
    false
}

/// The next marker and what follows it. Fill bytes and rubbish before it are skipped, as decoders do.
fn next_marker(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let start = bytes.iter().position(|&byte| byte == 0xff)?;
        bytes = &bytes[start + 1..];
        match bytes.first()? {
            0x00 | 0xff => {}
            &marker => return Some((marker, &bytes[1..])),
        }
    }
}

/// What follows coded data: in it 0xff is followed by 0, or by the number of a restart.
fn after_coded_data(mut bytes: &[u8]) -> &[u8] {
    while let Some(at) = bytes.iter().position(|&byte| byte == 0xff) {
        match bytes.get(at + 1) {
            Some(0x00 | 0xd0..=0xd7) => bytes = &bytes[at + 2..],
            // It may be a fill byte, so only this one is skipped over.
            Some(0xff) => bytes = &bytes[at + 1..],
            _ => return &bytes[at..],
        }
    }
    &[]
}
