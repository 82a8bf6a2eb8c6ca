//! Compares pixels with those of Pillow, torchvision, and timm, recorded by tests/golden/images.py.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::augment::Window;
use super::fitting::Fitting;
use super::{Framing, ImageShape, Samples, decode};
use crate::config::Interpolation;

#[derive(Deserialize)]
pub(super) struct Case {
    pub file: String,
    pub channels: usize,
    /// File with the expected pixels.
    pub expected: String,
    /// Change of the whole image.
    pub change: Option<Change>,
    /// Height and width; that of the expected image if it is not resized.
    size: Option<[usize; 2]>,
    resize: Option<usize>,
    crop_fraction: Option<f64>,
    interpolation: Option<Interpolation>,
    /// Top, left, height, width.
    window: Option<[usize; 4]>,
}

#[derive(Deserialize)]
pub(super) struct Change {
    pub op: String,
    pub value: f64,
    pub sampling: Option<String>,
    pub kernel: Option<usize>,
}

impl Case {
    /// The samples of the file after the recorded operation, fitted into height x width.
    fn fitted(&self, height: usize, width: usize) -> Samples<'static> {
        assert!(self.size.is_none_or(|size| size == [height, width]));
        let default = Framing::default();
        let framing = Framing {
            resize: self.resize,
            crop_fraction: self.crop_fraction.unwrap_or(1.0),
            interpolation: self.interpolation.unwrap_or(default.interpolation),
            ..default
        };
        let fitting = Fitting { shape: ImageShape { channels: self.channels, height, width }, framing };
        let window = self.window.map(|[top, left, height, width]| Window { top, left, height, width });
        decode::read_fitted(&folder().join(&self.file), fitting, |_| window).unwrap()
    }
}

pub(super) fn cases() -> Vec<Case> {
    read("cases.json")
}

fn read(name: &str) -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images")
}

/// Height, width, and planes of a PNG file.
pub(super) fn planes(path: &Path, channels: usize) -> (usize, usize, Vec<u8>) {
    let image = image::open(path).unwrap();
    let (height, width) = (image.height() as usize, image.width() as usize);
    let samples = if channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    let planes = (0..channels).flat_map(|channel| samples.iter().skip(channel).step_by(channels).copied()).collect();
    (height, width, planes)
}

/// Mean and largest difference of two images.
pub(super) fn difference(one: &[u8], other: &[u8]) -> (f64, u8) {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(one, other)| one.abs_diff(*other));
    let sum: f64 = differences.clone().map(f64::from).sum();
    (sum / one.len() as f64, differences.max().unwrap_or(0))
}

#[test]
fn pixels_are_those_of_pillow_torchvision_and_timm() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.change.is_none()).collect();
    assert!(cases.len() > 80);
    for case in cases {
        let (height, width, want) = planes(&folder().join("expected").join(&case.expected), case.channels);
        let pixels = case.fitted(height, width);
        let (mean, most) = difference(&pixels.into_bytes(), &want);
        // Lossy WebP converts its colors differently.
        let is_lossy = case.file.ends_with("lossy.webp");
        let is_whole = case.size.is_none() && !is_lossy;
        let (mean_bound, most_bound) = if is_whole { (0.0, 0) } else { (1.0, if is_lossy { 12 } else { 2 }) };
        assert!(mean <= mean_bound && most <= most_bound, "{} {}: {mean} {most}", case.expected, case.file);
    }
}

#[test]
fn samples_of_sixteen_bits_are_kept_and_resized_like_real_numbers() {
    let cases = read("deep.json");
    assert!(cases.len() >= 20);
    for case in cases {
        // The planes are one above the other.
        let image = image::open(folder().join("expected").join(&case.expected)).unwrap();
        let (height, width) = (image.height() as usize / case.channels, image.width() as usize);
        let want = image.into_luma16().into_raw();
        let Samples::Words(words) = case.fitted(height, width) else { panic!("{} has 8 bits", case.file) };
        assert_eq!(words.len(), want.len());
        let most = words.iter().zip(&want).map(|(got, want)| got.abs_diff(*want)).max();
        // Both passes of the resizer round.
        let bound = u16::from(case.size.is_some());
        assert!(most <= Some(bound), "{} {}: {most:?}", case.file, case.expected);
    }
}
