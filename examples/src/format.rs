//! Which kind of file a picture is: by what the client says, and by its first bytes.
//!
//! Only a few bytes are compared here, so this may be done in the server's own process.

use image::ImageFormat;
use serde::{Deserialize, Serialize};

/// The kinds of files that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// JPEG
    Jpeg,
    /// PNG
    Png,
    /// GIF
    Gif,
    /// WebP
    WebP,
}

/// What a client's `content-type` means for us.
#[derive(Debug, PartialEq, Eq)]
pub enum Declared {
    /// Nothing, or only "some bytes": the first bytes decide.
    Nothing,
    /// One of the four.
    Picture,
    /// Something that is never a picture we take.
    Other,
}

/// What the first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// One of the four.
    Picture(Format),
    /// A picture, but of a kind that is not taken; its name.
    OtherPicture(&'static str),
    /// Not a picture that anybody here knows.
    Unknown,
}

impl Format {
    pub(crate) fn of_image_crate(self) -> ImageFormat {
        match self {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Gif => ImageFormat::Gif,
            Format::WebP => ImageFormat::WebP,
        }
    }
}

/// Reads a `content-type`, parameters and letter case aside.
pub fn declared(content_type: Option<&str>) -> Declared {
    let Some(content_type) = content_type else { return Declared::Nothing };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "" | "application/octet-stream" => Declared::Nothing,
        "image/jpeg" | "image/jpg" | "image/png" | "image/gif" | "image/webp" => Declared::Picture,
        _ => Declared::Other,
    }
}

/// Reads the first bytes.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Sniffed::Picture(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Sniffed::Picture(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Sniffed::Picture(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            Sniffed::Picture(Format::WebP)
        }
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Sniffed::OtherPicture("TIFF"),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Sniffed::OtherPicture("BMP"),
        [0, 0, 1, 0, ..] => Sniffed::OtherPicture("ICO"),
        [b'8', b'B', b'P', b'S', ..] => Sniffed::OtherPicture("Photoshop"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => Sniffed::OtherPicture("AVIF"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..]
        | [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', ..] => {
            Sniffed::OtherPicture("HEIC")
        }
        [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', ..] => Sniffed::OtherPicture("JPEG XL"),
        _ => Sniffed::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_read_without_parameters_and_letter_case() {
        assert_eq!(declared(None), Declared::Nothing);
        assert_eq!(declared(Some("application/octet-stream")), Declared::Nothing);
        assert_eq!(declared(Some("Image/JPEG; q=1")), Declared::Picture);
        assert_eq!(declared(Some("image/svg+xml")), Declared::Other);
        assert_eq!(declared(Some("text/plain")), Declared::Other);
    }

    #[test]
    fn first_bytes_tell_the_kind() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), Sniffed::Picture(Format::Jpeg));
        assert_eq!(sniff(b"GIF89a"), Sniffed::Picture(Format::Gif));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 "), Sniffed::Picture(Format::WebP));
        assert_eq!(sniff(b"RIFF\0\0\0\0WAVE"), Sniffed::Unknown);
        assert_eq!(sniff(b"MM\0*...."), Sniffed::OtherPicture("TIFF"));
        assert_eq!(sniff(b"\0\0\0\x18ftypheic"), Sniffed::OtherPicture("HEIC"));
        assert_eq!(sniff(b"\x89PN"), Sniffed::Unknown);
        assert_eq!(sniff(b""), Sniffed::Unknown);
    }
}
