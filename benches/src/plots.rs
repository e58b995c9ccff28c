//! A picture per row of the table: a bar per runtime as long as its median, and a line over its range.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::Error;
use crate::report::{Summary, number};
use crate::runtimes::Name;

/// In pixels, as all here.
const WIDTH: i32 = 720;
const ROW: i32 = 28;
const BAR: i32 = 16;
const TITLE: i32 = 40;
const MARGIN: i32 = 12;

/// Where the bars begin, and where the longest range ends.
const FROM: i32 = 110;
const TO: i32 = 520;

const OURS: RGBColor = RGBColor(0x2b, 0x6c, 0xb0);
const RIVAL: RGBColor = RGBColor(0xdd, 0x84, 0x52);
const OTHER: RGBColor = RGBColor(0xb8, 0xb8, 0xb8);

/// Writes a file per row into `directory`, which is made if it is not there.
///
/// # Errors
/// When a file can't be written.
pub fn write(directory: &Path, results: &[Summary]) -> Result<(), Error> {
    fs::create_dir_all(directory)?;
    // What has no number has no bar.
    let mut rest: Vec<_> =
        results.iter().filter(|result| !result.median.is_nan()).cloned().collect();
    while let Some(first) = rest.first() {
        let workload = first.workload.clone();
        let (row, others) = rest.into_iter().partition(|result| result.workload == workload);
        rest = others;
        draw(&directory.join(format!("{workload}.svg")), &row)?;
    }
    Ok(())
}

fn draw(path: &Path, row: &[Summary]) -> Result<(), Error> {
    let height = TITLE + ROW * row.len() as i32 + MARGIN;
    let root = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |words: &str, x, y, size: i32| {
        let font = ("sans-serif", size).into_font().color(&BLACK);
        root.draw(&Text::new(words.to_owned(), (x, y - size / 2), font))
    };
    let longest = row.iter().map(|result| result.max).fold(f64::MIN_POSITIVE, f64::max);
    let place = |value: f64| FROM + (value / longest * f64::from(TO - FROM)) as i32;
    text(&format!("{}, {}", row[0].workload, row[0].unit), MARGIN, TITLE / 2, 16)?;
    for (number_of_row, result) in row.iter().enumerate() {
        let middle = TITLE + ROW * number_of_row as i32 + ROW / 2;
        text(result.runtime, MARGIN, middle, 13)?;
        let bar = [(FROM, middle - BAR / 2), (place(result.median), middle + BAR / 2)];
        root.draw(&Rectangle::new(bar, colour(result.runtime).filled()))?;
        let range = vec![(place(result.min), middle), (place(result.max), middle)];
        root.draw(&PathElement::new(range, BLACK.stroke_width(2)))?;
        let (median, min, max) = (number(result.median), number(result.min), number(result.max));
        text(&format!("{median} ({min}–{max})"), TO + MARGIN, middle, 13)?;
    }
    root.present()?;
    Ok(())
}

fn colour(runtime: &str) -> RGBColor {
    match () {
        () if runtime == Name::Loopool.name() => OURS,
        () if Name::RIVALS.iter().any(|rival| rival.name() == runtime) => RIVAL,
        () => OTHER,
    }
}
