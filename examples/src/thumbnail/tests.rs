use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{Frame, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

const RED: Rgb<u8> = Rgb([220, 20, 30]);
const BLUE: Rgb<u8> = Rgb([20, 30, 220]);

/// Red above blue, so that a turned picture is told from one that is not.
fn red_above_blue(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |_, y| if y < height / 2 { RED } else { BLUE })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn make_from(
    picture: impl Into<Vec<u8>>,
    format: Format,
    width: u32,
) -> Result<Thumbnail, Refusal> {
    make(Order { width, format, picture: picture.into().into() })
}

fn decode(thumbnail: &Thumbnail) -> RgbaImage {
    let picture = image::load_from_memory_with_format(&thumbnail.png, ImageFormat::Png).unwrap();
    assert_eq!((picture.width(), picture.height()), thumbnail.size);
    picture.into_rgba8()
}

/// Whether a pixel has that colour, as far as JPEG and resizing leave it.
fn is(pixel: Rgba<u8>, colour: Rgb<u8>) -> bool {
    (0..3).all(|channel| pixel[channel].abs_diff(colour[channel]) < 40)
}

/// An Exif segment with nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let tiff = [
        b"MM\0*\0\0\0\x08".as_slice(),
        b"\0\x01",
        b"\x01\x12\0\x03\0\0\0\x01\0",
        &[orientation],
        b"\0\0",
        b"\0\0\0\0",
    ]
    .concat();
    let length = u16::try_from(2 + 6 + tiff.len()).unwrap().to_be_bytes();
    [b"\xff\xe1".as_slice(), &length, b"Exif\0\0", &tiff].concat()
}

fn jpeg_with_orientation(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let jpeg = encoded(picture, ImageFormat::Jpeg);
    [&jpeg[..2], &exif(orientation), &jpeg[2..]].concat()
}

#[test]
fn every_format_gives_a_smaller_png() {
    let picture = red_above_blue(400, 200);
    for (format, of_image) in [
        (Format::Jpeg, ImageFormat::Jpeg),
        (Format::Png, ImageFormat::Png),
        (Format::Gif, ImageFormat::Gif),
        (Format::WebP, ImageFormat::WebP),
    ] {
        let thumbnail = make_from(encoded(&picture, of_image), format, 100).unwrap();
        assert_eq!((thumbnail.original, thumbnail.size), ((400, 200), (100, 50)), "{format:?}");
        let small = decode(&thumbnail);
        assert!(
            is(*small.get_pixel(50, 5), RED) && is(*small.get_pixel(50, 45), BLUE),
            "{format:?}"
        );
    }
}

#[test]
fn exif_orientations_are_applied() {
    // Where red lies in the thumbnail of a picture that is stored with red above blue: the middle of
    // the top, right, bottom or left side.
    let (top, right, bottom, left) = ((20, 2), (37, 20), (20, 37), (2, 20));
    let expected = [top, top, bottom, bottom, left, right, right, left];
    for (orientation, (x, y)) in (1u8..).zip(expected) {
        let jpeg = jpeg_with_orientation(&red_above_blue(80, 80), orientation);
        let small = decode(&make_from(jpeg, Format::Jpeg, 40).unwrap());
        assert!(is(*small.get_pixel(x, y), RED), "orientation {orientation}");
        assert!(is(*small.get_pixel(39 - x, 39 - y), BLUE), "orientation {orientation}");
    }
}

#[test]
fn mirrored_orientations_are_told_from_turned_ones() {
    // Red only in the upper left quarter of what is stored.
    let picture = RgbImage::from_fn(80, 80, |x, y| if x < 40 && y < 40 { RED } else { BLUE });
    let (nw, ne, se, sw) = ((10, 10), (30, 10), (30, 30), (10, 30));
    for (orientation, (x, y)) in (1u8..).zip([nw, ne, se, sw, nw, ne, se, sw]) {
        let jpeg = jpeg_with_orientation(&picture, orientation);
        let small = decode(&make_from(jpeg, Format::Jpeg, 40).unwrap());
        assert!(is(*small.get_pixel(x, y), RED), "orientation {orientation}");
        let red = small.pixels().filter(|pixel| is(**pixel, RED)).count();
        assert!((300..500).contains(&red), "orientation {orientation}: {red} red pixels");
    }
}

#[test]
fn the_width_is_that_of_the_turned_picture() {
    let lying = jpeg_with_orientation(&red_above_blue(400, 100), 6);
    let thumbnail = make_from(lying, Format::Jpeg, 50).unwrap();
    assert_eq!((thumbnail.original, thumbnail.size), ((100, 400), (50, 200)));
}

#[test]
fn pictures_are_never_enlarged() {
    let png = encoded(&red_above_blue(30, 20), ImageFormat::Png);
    let thumbnail = make_from(png, Format::Png, 4096).unwrap();
    assert_eq!(thumbnail.size, (30, 20));
}

#[test]
fn a_long_and_thin_picture_keeps_at_least_a_pixel() {
    let png = encoded(&red_above_blue(3000, 2), ImageFormat::Png);
    assert_eq!(make_from(png, Format::Png, 10).unwrap().size, (10, 1));
}

#[test]
fn an_animation_gives_its_first_frame() {
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new(&mut gif);
    for colour in [RED, BLUE, BLUE] {
        let [r, g, b] = colour.0;
        let frame = RgbaImage::from_pixel(60, 40, Rgba([r, g, b, 255]));
        encoder.encode_frame(Frame::new(frame)).unwrap();
    }
    drop(encoder);
    let small = decode(&make_from(gif, Format::Gif, 30).unwrap());
    assert!(small.pixels().all(|pixel| is(*pixel, RED)));
}

#[test]
fn transparent_pixels_do_not_bleed_into_their_neighbours() {
    let picture = RgbaImage::from_fn(100, 100, |x, _| {
        if x % 2 == 0 { Rgba([220, 20, 30, 255]) } else { Rgba([0, 255, 0, 0]) }
    });
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    let small = decode(&make_from(png.into_inner(), Format::Png, 10).unwrap());
    assert!(small.pixels().all(|pixel| is(*pixel, RED)), "{:?}", small.get_pixel(5, 5));
}

#[test]
fn sixteen_bits_become_eight() {
    let picture = image::ImageBuffer::from_pixel(40, 40, Luma([0x8000u16]));
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    let thumbnail = make_from(png.into_inner(), Format::Png, 20).unwrap();
    let small = image::load_from_memory(&thumbnail.png).unwrap();
    assert_eq!(small.color(), image::ColorType::L8);
    assert!(small.into_luma8().pixels().all(|pixel| pixel[0].abs_diff(0x80) <= 1));
}

#[test]
fn colours_keep_their_profile() {
    let mut profile = vec![7; 128];
    profile[16..20].copy_from_slice(b"RGB ");
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new(&mut jpeg);
    encoder.set_icc_profile(profile.clone()).unwrap();
    encoder.encode_image(&red_above_blue(50, 50)).unwrap();
    let thumbnail = make_from(jpeg, Format::Jpeg, 20).unwrap();
    let mut decoder =
        image::codecs::png::PngDecoder::new(Cursor::new(thumbnail.png.to_vec())).unwrap();
    assert_eq!(decoder.icc_profile().unwrap(), Some(profile));
}

#[test]
fn files_that_end_too_early_are_refused() {
    // Noise, so that no format can store it in a few bytes.
    let mut seed = 1u32;
    let noise = RgbImage::from_fn(64, 64, |_, _| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Rgb([(seed >> 24) as u8, (seed >> 16) as u8, (seed >> 8) as u8])
    });
    for (format, of_image) in [
        (Format::Jpeg, ImageFormat::Jpeg),
        (Format::Png, ImageFormat::Png),
        (Format::Gif, ImageFormat::Gif),
        (Format::WebP, ImageFormat::WebP),
    ] {
        let whole = encoded(&noise, of_image);
        assert!(make_from(whole.as_slice(), format, 32).is_ok());
        for part in [0, 1, 12, 30, whole.len() / 4, whole.len() / 2, whole.len() * 9 / 10] {
            let made = make_from(&whole[..part], format, 32);
            assert!(matches!(made, Err(Refusal::Broken(_))), "{format:?} cut to {part}: {made:?}");
        }
    }
}

#[test]
fn a_jpeg_whose_preview_ends_but_whose_picture_does_not_is_refused() {
    let whole = encoded(&red_above_blue(300, 300), ImageFormat::Jpeg);
    let preview = encoded(&red_above_blue(30, 30), ImageFormat::Jpeg);
    let length = u16::try_from(2 + preview.len()).unwrap().to_be_bytes();
    let mut jpeg = [&whole[..2], b"\xff\xe1", &length, &preview, &whole[2..]].concat();
    assert!(make_from(jpeg.as_slice(), Format::Jpeg, 30).is_ok());
    jpeg.truncate(jpeg.len() - 20);
    assert!(matches!(make_from(jpeg, Format::Jpeg, 30), Err(Refusal::Broken(_))));
}

#[test]
fn bytes_after_the_end_of_a_jpeg_do_no_harm() {
    let mut jpeg = encoded(&red_above_blue(60, 60), ImageFormat::Jpeg);
    jpeg.extend_from_slice(b"\0\0 some maker's notes \xff\xd8");
    assert!(make_from(jpeg, Format::Jpeg, 30).is_ok());
}

/// A PNG header that announces a size, followed by next to nothing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&red_above_blue(1, 1), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn too_many_pixels_are_refused_by_the_header_alone() {
    let made = make_from(png_header(10_001, 10_000), Format::Png, 256);
    assert_eq!(made.unwrap_err(), Refusal::TooManyPixels { width: 10_001, height: 10_000 });
    // Exactly the limit gets past the header, and fails for what is missing after it.
    let made = make_from(png_header(10_000, 10_000), Format::Png, 256);
    assert!(matches!(made, Err(Refusal::Broken(_))), "{made:?}");

    let mut gif = encoded(&red_above_blue(1, 1), ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let made = make_from(gif, Format::Gif, 256);
    assert_eq!(made.unwrap_err(), Refusal::TooManyPixels { width: 65535, height: 65535 });
}

#[test]
fn what_is_no_picture_is_refused() {
    for format in [Format::Jpeg, Format::Png, Format::Gif, Format::WebP] {
        let made = make_from(b"an honest text, but not a picture".as_slice(), format, 256);
        assert!(matches!(made, Err(Refusal::Broken(_))), "{format:?}: {made:?}");
    }
}
