//! Mixtures of the images of a batch: mixup and CutMix.

use super::super::ImageShape;
use super::super::random::Stream;
use crate::config::{MixMode, Mixing};

/// Mixes each image of a batch with its partner, the one at the same place from the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// One per image.
    pub parts: Vec<MixedPart>,
}

/// What an image takes from its partner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixedPart {
    /// The pixels that it takes, as `[top, bottom, left, right)`.
    pub rectangle: [i32; 4],
    /// Weight of the partner's pixels there.
    pub weight: f32,
    /// Weight of the partner's label.
    pub share: f32,
}

impl MixedPart {
    const NOTHING: Self = Self { rectangle: [0; 4], weight: 0.0, share: 0.0 };
}

/// Draws the mixture of a batch of `images` images, as in timm; `None` if mixing is off.
pub(in super::super) fn draw(
    options: &Mixing,
    shape: ImageShape,
    images: usize,
    stream: &mut Stream,
) -> Option<Mixture> {
    options.is_on().then(|| Mixture {
        parts: match options.mode {
            MixMode::Batch => vec![part(options, shape, stream); images],
            MixMode::Image => (0..images).map(|_| part(options, shape, stream)).collect(),
        },
    })
}

fn part(options: &Mixing, shape: ImageShape, stream: &mut Stream) -> MixedPart {
    if !stream.chance(options.probability) {
        return MixedPart::NOTHING;
    }
    let is_cut = match (options.mixup > 0.0, options.cutmix > 0.0) {
        (true, true) => stream.chance(options.switch_probability),
        (_, is_cut) => is_cut,
    };
    let (height, width) = (shape.height as i32, shape.width as i32);
    if !is_cut {
        let weight = (1.0 - stream.beta(options.mixup)) as f32;
        return MixedPart { rectangle: [0, height, 0, width], weight, share: weight };
    }
    let side = (1.0 - stream.beta(options.cutmix)).sqrt();
    let mut clipped = |length: usize| {
        let half = (length as f64 * side) as i64 / 2;
        let center = stream.below(length as u64) as i64;
        [center - half, center + half].map(|edge| edge.clamp(0, length as i64) as i32)
    };
    let [top, bottom] = clipped(shape.height);
    let [left, right] = clipped(shape.width);
    let area = f64::from((bottom - top) * (right - left));
    MixedPart { rectangle: [top, bottom, left, right], weight: 1.0, share: (area / shape.plane() as f64) as f32 }
}

#[cfg(test)]
mod tests {
    use super::super::super::random::Purpose;
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 3, height: 20, width: 30 };

    fn drawn(options: Mixing, batch: u64) -> Vec<MixedPart> {
        let mut stream = Stream::new(1, Purpose::Mixture, 0, batch);
        draw(&options, SHAPE, 8, &mut stream).map(|mixture| mixture.parts).unwrap_or_default()
    }

    #[test]
    fn off_is_no_mixture() {
        assert!(drawn(Mixing::OFF, 0).is_empty());
        assert!(drawn(Mixing { mixup: 1.0, probability: 0.0, ..Mixing::OFF }, 0).is_empty());
    }

    #[test]
    fn the_share_of_a_label_is_the_area_or_the_weight_of_the_pixels() {
        for batch in 0..500 {
            for part in drawn(Mixing { cutmix: 1.0, mode: MixMode::Image, ..Mixing::OFF }, batch) {
                let [top, bottom, left, right] = part.rectangle;
                assert!(0 <= top && top <= bottom && bottom <= 20 && 0 <= left && left <= right && right <= 30);
                assert_eq!((part.weight, part.share), (1.0, ((bottom - top) * (right - left)) as f32 / 600.0));
            }
            let parts = drawn(Mixing { mixup: 0.2, ..Mixing::OFF }, batch);
            assert!(parts.iter().all(|part| *part == parts[0] && part.share == part.weight));
            assert_eq!(parts[0].rectangle, [0, 20, 0, 30]);
        }
    }

    #[test]
    fn the_switch_and_the_weights_are_drawn_as_published() {
        let options = Mixing { mixup: 0.2, cutmix: 1.0, switch_probability: 0.25, ..Mixing::OFF };
        let parts: Vec<MixedPart> = (0..4_000).map(|batch| drawn(options, batch)[0]).collect();
        let (cut, mixed): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.weight == 1.0 && part.share < 1.0);
        // Binomial(4000, 1/4): mean 1000, standard deviation 27.4; five standard deviations on each side.
        assert!((863..=1_137).contains(&cut.len()), "{}", cut.len());
        // Beta(0.2, 0.2): mean 1/2, variance 1 / (4 (2 x 0.2 + 1)) = 0.179; five standard deviations of 3000 draws.
        let mean = mixed.iter().map(|part| f64::from(part.share)).sum::<f64>() / mixed.len() as f64;
        let variance =
            mixed.iter().map(|part| (f64::from(part.share) - mean).powi(2)).sum::<f64>() / mixed.len() as f64;
        assert!((mean - 0.5).abs() < 0.04 && (variance - 0.179).abs() < 0.01, "{mean} {variance}");
    }
}
