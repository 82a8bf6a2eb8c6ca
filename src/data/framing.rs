//! How an image file is decoded, resized, and cropped.

use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, Decode, Interpolation};

/// How an image file is decoded, resized, and cropped. Keys that are missing in a stored one have the values of runs
/// from before they existed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Framing {
    /// Length of the shorter side before the crop; see [`DataConfig::resize`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// Fraction of each side to keep; see [`DataConfig::crop_fraction`].
    #[serde(default = "whole")]
    pub crop_fraction: f64,
    /// Interpolation of resizing.
    #[serde(default = "bilinear")]
    pub interpolation: Interpolation,
    /// Decoding of JPEG files.
    #[serde(default = "exact")]
    pub decode: Decode,
    /// Rules for decoding; see [`DataConfig::edition`].
    #[serde(default = "second")]
    pub edition: usize,
}

/// The whole image, by the rules of new runs.
impl Default for Framing {
    fn default() -> Self {
        Self::of_config(&DataConfig::default())
    }
}

impl Framing {
    /// The framing of a run.
    pub fn of_config(config: &DataConfig) -> Self {
        let &DataConfig { resize, crop_fraction, interpolation, decode, edition, .. } = config;
        Self { resize, crop_fraction, interpolation, decode, edition }
    }
}

fn whole() -> f64 {
    1.0
}

fn bilinear() -> Interpolation {
    Interpolation::Bilinear
}

fn exact() -> Decode {
    Decode::Exact
}

fn second() -> usize {
    2
}
