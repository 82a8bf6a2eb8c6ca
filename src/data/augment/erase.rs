//! Rectangles that are set to 0 or to noise after normalization.

use super::super::ImageShape;
use super::super::random::Stream;
use crate::config::{EraseFill, RandomErasing};

/// Number of random areas and aspect ratios to try, as in torchvision and timm.
const TRIES: usize = 10;

/// A rectangle as `[top, bottom, left, right)`.
pub(in super::super) type Rectangle = [i32; 4];

/// A rectangle, and its normalized values if they are not 0: channels x height x width.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Erased {
    pub rectangle: Rectangle,
    pub noise: Option<Vec<f32>>,
}

/// A square of `side` pixels around a random pixel, clipped at the borders, to be set to 0; 0 is the mean, or black
/// without normalization. DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout"
/// (2017).
pub(super) fn cutout(shape: ImageShape, side: usize, stream: &mut Stream) -> Rectangle {
    let mut clipped = |length: usize| {
        let center = stream.below(length as u64) as usize;
        // No image side exceeds i32.
        [center.saturating_sub(side / 2), center.saturating_add(side - side / 2).min(length)].map(|edge| edge as i32)
    };
    let ([top, bottom], [left, right]) = (clipped(shape.height), clipped(shape.width));
    [top, bottom, left, right]
}

/// The rectangles of torchvision's and timm's `RandomErasing`.
pub(super) fn random_erasing(shape: ImageShape, options: &RandomErasing, stream: &mut Stream) -> Vec<Erased> {
    if options.probability == 0.0 || !stream.chance(options.probability) {
        return Vec::new();
    }
    let rectangles: Vec<Rectangle> = (0..options.count).filter_map(|_| rectangle(shape, options, stream)).collect();
    rectangles
        .into_iter()
        .map(|rectangle| Erased { rectangle, noise: noise(shape, rectangle, options.fill, stream) })
        .collect()
}

fn rectangle(shape: ImageShape, options: &RandomErasing, stream: &mut Stream) -> Option<Rectangle> {
    let [narrowest, widest] = options.ratio.map(f64::ln);
    for _ in 0..TRIES {
        let share = stream.uniform(options.scale[0], options.scale[1]) / options.count as f64;
        let area = shape.plane() as f64 * share;
        let ratio = stream.uniform(narrowest, widest).exp();
        let height = (area * ratio).sqrt().round_ties_even() as usize;
        let width = (area / ratio).sqrt().round_ties_even() as usize;
        if height < shape.height && width < shape.width {
            let top = stream.below((shape.height - height + 1) as u64) as usize;
            let left = stream.below((shape.width - width + 1) as u64) as usize;
            return Some([top, top + height, left, left + width].map(|edge| edge as i32));
        }
    }
    None
}

fn noise(shape: ImageShape, rectangle: Rectangle, fill: EraseFill, stream: &mut Stream) -> Option<Vec<f32>> {
    let [top, bottom, left, right] = rectangle;
    let plane = ((bottom - top) * (right - left)) as usize;
    match fill {
        EraseFill::Zero => None,
        EraseFill::Channel => {
            let colors = (0..shape.channels).map(|_| stream.normal() as f32).collect::<Vec<_>>();
            Some(colors.into_iter().flat_map(|color| std::iter::repeat_n(color, plane)).collect())
        }
        EraseFill::Pixel => Some((0..shape.channels * plane).map(|_| stream.normal() as f32).collect()),
    }
}
