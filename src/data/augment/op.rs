//! The operations of automatic augmentation, with one parameter each.

use super::super::ImageShape;
use super::super::random::Stream;
use super::affine::{rotation, transform};
use super::{color, sampling};
use crate::config::Sampling;

/// A change of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Op {
    Identity,
    /// Pixels per pixel, to the right for rows further down.
    ShearX(f64),
    ShearY(f64),
    /// Pixels.
    TranslateX(f64),
    TranslateY(f64),
    /// Degrees, counterclockwise.
    Rotate(f64),
    /// Factors; 1 keeps the image.
    Brightness(f64),
    Saturation(f64),
    Contrast(f64),
    Sharpness(f64),
    /// Number of bits to keep.
    Posterize(u32),
    /// Bytes from this one on are inverted.
    Solarize(f64),
    /// What is added to bytes below 128.
    SolarizeAdd(u8),
    AutoContrast,
    Equalize,
    Invert,
}

/// How moved images are sampled, and what they show outside of their borders.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    pub sampling: Sampling,
    /// One value per channel.
    pub fill: Vec<u8>,
}

impl Op {
    /// Applies it in place. `stream` draws the interpolation if that is random.
    pub(super) fn apply(self, image: &mut Vec<u8>, shape: ImageShape, canvas: &Canvas, stream: &mut Stream) {
        let mut moved = |matrix| {
            *image = transform(image, shape, matrix, sampling(canvas.sampling, stream), &canvas.fill);
        };
        match self {
            Self::Identity => {}
            Self::ShearX(shear) => moved([1.0, shear, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(shear) => moved([1.0, 0.0, 0.0, shear, 1.0, 0.0]),
            Self::TranslateX(pixels) => moved([1.0, 0.0, -pixels, 0.0, 1.0, 0.0]),
            Self::TranslateY(pixels) => moved([1.0, 0.0, 0.0, 0.0, 1.0, -pixels]),
            Self::Rotate(degrees) => moved(rotation(shape, degrees)),
            Self::Brightness(factor) => color::brightness(image, factor as f32),
            Self::Saturation(factor) => color::saturation(image, shape, factor as f32),
            Self::Contrast(factor) => color::contrast(image, shape, factor as f32),
            Self::Sharpness(factor) => color::sharpness(image, shape, factor as f32),
            Self::Posterize(bits) => color::posterize(image, bits),
            Self::Solarize(threshold) => color::solarize(image, threshold),
            Self::SolarizeAdd(add) => color::solarize_add(image, add),
            Self::AutoContrast => color::autocontrast(image, shape),
            Self::Equalize => color::equalize(image, shape),
            Self::Invert => color::invert(image),
        }
    }
}
