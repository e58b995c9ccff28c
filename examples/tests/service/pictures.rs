//! Pictures to send, and a look at what comes back.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::client::Answer;

/// Red above blue.
pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |_, y| {
        if y < height / 2 { Rgb([220, 20, 30]) } else { Rgb([20, 30, 220]) }
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn jpeg(width: u32, height: u32) -> Vec<u8> {
    picture(width, height, ImageFormat::Jpeg)
}

/// Checks that an answer is a thumbnail of such a picture, red above blue, of this size.
#[track_caller]
pub(crate) fn assert_thumbnail(answer: &Answer, width: u32, height: u32) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("image/png"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let picture = image::load_from_memory_with_format(&answer.body, ImageFormat::Png).unwrap();
    let picture = picture.into_rgb8();
    assert_eq!(picture.dimensions(), (width, height));
    let [top, bottom] = [0, height - 1].map(|y| *picture.get_pixel(width / 2, y));
    assert!(top[0] > 150 && top[2] < 100, "the top is {top:?}");
    assert!(bottom[2] > 150 && bottom[0] < 100, "the bottom is {bottom:?}");
}
