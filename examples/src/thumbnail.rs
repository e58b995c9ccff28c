//! The job: bytes of a picture in, bytes of a smaller PNG out.
//!
//! [`make`] is a plain function of plain data, so that every executor can run it, processes
//! included. It keeps to this order: what the header says is judged before any pixel is decoded, the
//! picture is made small before it is turned, and 16-bit samples become 8-bit ones last, when few
//! are left.

use std::io::Cursor;

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageReader, Limits};
use loopool::Blob;
use serde::{Deserialize, Serialize};

use crate::format::Format;

mod jpeg_end;

/// The most pixels a picture may have.
pub const MAX_PIXELS: u64 = 100_000_000;

/// The most memory that one decoder may ask for. 100 megapixels with four 16-bit samples are 800 MB.
const MAX_DECODER_MEMORY: u64 = 1 << 30;

/// A larger colour profile than this is left away: thumbnails are to be small.
const MAX_COLOUR_PROFILE: usize = 16 * 1024;

/// What is to be made of what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The most pixels that the thumbnail is to be wide.
    pub width: u32,
    /// What kind of file it is.
    pub format: Format,
    /// The file.
    pub picture: Blob,
}

/// A thumbnail, and what it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Thumbnail {
    /// The thumbnail's file.
    pub png: Blob,
    /// Width and height of the thumbnail.
    pub size: (u32, u32),
    /// Width and height of the picture as it is meant to be seen.
    pub original: (u32, u32),
}

/// Why there is no thumbnail, although nothing crashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The file is damaged; the text says how.
    Broken(String),
    /// The picture has more pixels than [`MAX_PIXELS`].
    TooManyPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Broken(why) => write!(f, "The picture is damaged: {why}."),
            Refusal::TooManyPixels { width, height } => write!(
                f,
                "The picture has {width} × {height} pixels; at most {} megapixels are taken.",
                MAX_PIXELS / 1_000_000
            ),
        }
    }
}

/// Makes the thumbnail.
///
/// # Errors
/// The [`Refusal`], when the file is damaged or too large. What goes wrong in a worse way is the
/// executor's to tell.
pub fn make(order: Order) -> Result<Thumbnail, Refusal> {
    let Order { width, format, picture } = order;
    let mut decoder = open(&picture, format)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let colours = decoder.icc_profile().ok().flatten();
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let (original, size) = sizes((picture.width(), picture.height()), orientation, width);
    let mut small = shrink(picture, size)?;
    small.apply_orientation(orientation);
    let size = (small.width(), small.height());
    let png = encode(small, colours)?;
    Ok(Thumbnail { png: png.into(), size, original })
}

/// Reads the header, and refuses what it announces before memory is spent on it.
fn open(picture: &[u8], format: Format) -> Result<impl ImageDecoder, Refusal> {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(picture), format.of_image_crate());
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Refusal::TooManyPixels { width, height });
    }
    if width == 0 || height == 0 {
        return Err(Refusal::Broken("it has no pixels".to_owned()));
    }
    // The decoder would fill up what is missing with grey.
    if format == Format::Jpeg && !jpeg_end::is_reached(picture) {
        return Err(Refusal::Broken("the end of the file is missing".to_owned()));
    }
    Ok(decoder)
}

/// From the stored size: the size as it is meant to be seen, and the thumbnail's size *as stored*,
/// which is the one to shrink to before the picture is turned.
fn sizes(stored: (u32, u32), turn: Orientation, width: u32) -> ((u32, u32), (u32, u32)) {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let lies = matches!(turn, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    let swap = |(a, b): (u32, u32)| if lies { (b, a) } else { (a, b) };
    let seen = swap(stored);
    let small_width = width.min(seen.0);
    // Rounded to the nearest; no product of two u32 overflows a u64.
    let (w, h) = (u64::from(seen.0), u64::from(seen.1));
    let small_height = (u64::from(small_width) * h + w / 2) / w;
    // It is at most the height it had, so it fits.
    let small_height = u32::try_from(small_height).unwrap_or(u32::MAX).max(1);
    (seen, swap((small_width, small_height)))
}

fn shrink(picture: DynamicImage, (width, height): (u32, u32)) -> Result<DynamicImage, Refusal> {
    if (picture.width(), picture.height()) == (width, height) {
        return Ok(picture);
    }
    // 32-bit floats do not come from any of the four kinds of file, all else can be resized as it is.
    let mut small = DynamicImage::new(width, height, picture.color());
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .use_alpha(true);
    Resizer::new()
        .resize(&picture, &mut small, &options)
        .map_err(|error| Refusal::Broken(format!("it could not be resized ({error})")))?;
    Ok(small)
}

fn encode(small: DynamicImage, colours: Option<Vec<u8>>) -> Result<Vec<u8>, Refusal> {
    let small = match small {
        DynamicImage::ImageLuma16(_) => small.into_luma8().into(),
        DynamicImage::ImageLumaA16(_) => small.into_luma_alpha8().into(),
        DynamicImage::ImageRgb16(_) => small.into_rgb8().into(),
        DynamicImage::ImageRgba16(_) => small.into_rgba8().into(),
        _ => small,
    };
    let mut png = Vec::new();
    let mut encoder =
        PngEncoder::new_with_quality(&mut png, CompressionType::Fast, PngFilter::Adaptive);
    if let Some(profile) = colours.filter(|profile| fits(profile, &small)) {
        // A thumbnail without its profile is a little pale, but it is one.
        let _ = encoder.set_icc_profile(profile);
    }
    let (width, height, color) = (small.width(), small.height(), small.color().into());
    encoder.write_image(small.as_bytes(), width, height, color).map_err(broken)?;
    Ok(png)
}

/// Whether a colour profile may go with these pixels. Bytes 16 to 19 name what it describes; that of
/// a CMYK file does not fit the RGB that was decoded from it.
fn fits(profile: &[u8], picture: &DynamicImage) -> bool {
    let wanted: &[u8] = if picture.color().has_color() { b"RGB " } else { b"GRAY" };
    profile.len() <= MAX_COLOUR_PROFILE && profile.get(16..20) == Some(wanted)
}

fn broken(error: ImageError) -> Refusal {
    let text = match error {
        ImageError::Limits(_) => "decoding it needs too much memory".to_owned(),
        other => other.to_string(),
    };
    // Texts of decoders are of many styles; ours end the sentence themselves.
    Refusal::Broken(text.trim_end_matches(['.', '\n', ' ']).to_owned())
}

#[cfg(test)]
mod tests;
