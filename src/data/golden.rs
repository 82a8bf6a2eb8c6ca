//! Compares pixels with those of Pillow, torchvision, and timm, recorded by tests/golden/images.py.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::augment::Window;
use super::fitting::Fitting;
use super::{Framing, ImageShape, decode};
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

pub(super) fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
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
        assert!(case.size.is_none_or(|size| size == [height, width]));
        let default = Framing::default();
        let framing = Framing {
            resize: case.resize,
            crop_fraction: case.crop_fraction.unwrap_or(1.0),
            interpolation: case.interpolation.unwrap_or(default.interpolation),
            ..default
        };
        let fitting = Fitting { shape: ImageShape { channels: case.channels, height, width }, framing };
        let window = case.window.map(|[top, left, height, width]| Window { top, left, height, width });
        let pixels = decode::read_fitted(&folder().join(&case.file), fitting, |_| window).unwrap();
        let (mean, most) = difference(&pixels, &want);
        // JPEG decoders round differently; lossy WebP converts its colors differently.
        let is_lossy = ["jpg", "jpeg", "lossy.webp"].iter().any(|end| case.file.to_lowercase().ends_with(end));
        let is_whole = case.size.is_none() && !is_lossy;
        let (mean_bound, most_bound) = if is_whole { (0.0, 0) } else { (1.0, if is_lossy { 12 } else { 2 }) };
        assert!(mean <= mean_bound && most <= most_bound, "{} {}: {mean} {most}", case.expected, case.file);
    }
}
