//! Random augmentation of one training image, in a fixed order: crop, resized crop, flips; then, after normalization,
//! cutout.
//!
//! An image is channels x height x width. A disabled augmentation draws no random numbers.

use std::borrow::Cow;

use super::ImageShape;
use super::crop::{random_crop, random_window, resized_crop};
use super::random::Stream;
use crate::config::Augment;

/// Augmentation before normalization.
pub(super) fn change_pixels<'a>(
    mut image: Cow<'a, [u8]>,
    shape: ImageShape,
    options: &Augment,
    stream: &mut Stream,
) -> Cow<'a, [u8]> {
    if options.random_crop > 0 {
        image = Cow::Owned(random_crop(&image, shape, options.random_crop, stream));
    }
    if options.random_resized_crop {
        let window = random_window(shape, options.scale, options.ratio, stream);
        image = Cow::Owned(resized_crop(&image, shape, window));
    }
    if options.hflip > 0.0 && stream.chance(options.hflip) {
        flip_horizontally(image.to_mut(), shape);
    }
    if options.vflip > 0.0 && stream.chance(options.vflip) {
        image = Cow::Owned(flipped_vertically(&image, shape));
    }
    image
}

/// Flips left and right.
fn flip_horizontally(image: &mut [u8], shape: ImageShape) {
    image.chunks_exact_mut(shape.width).for_each(<[u8]>::reverse);
}

/// Flips top and bottom.
fn flipped_vertically(image: &[u8], shape: ImageShape) -> Vec<u8> {
    let planes = image.chunks_exact(shape.plane());
    planes.flat_map(|plane| plane.rchunks_exact(shape.width)).collect::<Vec<_>>().concat()
}

/// A square of `side` pixels around a random pixel, clipped at the borders, as `[top, bottom, left, right)`. Cutout
/// sets a normalized image to 0 there in each channel; 0 is the mean, or black without normalization. DeVries and
/// Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
pub(super) fn cutout(shape: ImageShape, side: usize, stream: &mut Stream) -> [i32; 4] {
    let mut clipped = |length: usize| {
        let center = stream.below(length as u64) as usize;
        // No image side exceeds i32.
        [center.saturating_sub(side / 2), center.saturating_add(side - side / 2).min(length)].map(|edge| edge as i32)
    };
    let ([top, bottom], [left, right]) = (clipped(shape.height), clipped(shape.width));
    [top, bottom, left, right]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture::NO_AUGMENT;
    use super::super::random::Purpose;
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 2, width: 3 };
    const IMAGE: [u8; 12] = [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60];

    fn stream(index: u64) -> Stream {
        Stream::new(1, Purpose::Augmentation, 0, index)
    }

    fn changed(options: &Augment, index: u64) -> Vec<u8> {
        change_pixels(Cow::Borrowed(&IMAGE), SHAPE, options, &mut stream(index)).into_owned()
    }

    #[test]
    fn with_everything_off_nothing_changes_and_nothing_is_drawn() {
        let mut untouched = stream(0);
        let image = change_pixels(Cow::Borrowed(&IMAGE), SHAPE, &NO_AUGMENT, &mut untouched);
        assert!(matches!(image, Cow::Borrowed(pixels) if pixels == IMAGE));
        assert_eq!(untouched.bits(), stream(0).bits());
    }

    #[test]
    fn flips_swap_sides_within_each_channel() {
        let hflip = Augment { hflip: 1.0, ..NO_AUGMENT };
        assert_eq!(changed(&hflip, 0), [3, 2, 1, 6, 5, 4, 30, 20, 10, 60, 50, 40]);
        let vflip = Augment { vflip: 1.0, ..NO_AUGMENT };
        assert_eq!(changed(&vflip, 0), [4, 5, 6, 1, 2, 3, 40, 50, 60, 10, 20, 30]);
    }

    #[test]
    fn a_flip_happens_as_often_as_its_probability_says() {
        let options = Augment { hflip: 0.25, ..NO_AUGMENT };
        let flips = (0..10_000).filter(|&index| changed(&options, index) != IMAGE).count();
        // Binomial(10000, 1/4): mean 2500, standard deviation 43.3; five standard deviations on each side.
        assert!((2_284..=2_716).contains(&flips), "{flips}");
    }

    #[test]
    fn all_changes_together_are_repeatable_and_differ_from_stream_to_stream() {
        let options = Augment { random_crop: 1, random_resized_crop: true, hflip: 0.5, vflip: 0.5, ..NO_AUGMENT };
        assert!((0..100).all(|index| changed(&options, index) == changed(&options, index)));
        assert!((0..100).map(|index| changed(&options, index)).collect::<BTreeSet<_>>().len() > 50);
    }

    #[test]
    fn cutout_is_the_clipped_square_around_each_pixel() {
        // Squares of side 2 on 2x3 pixels cover rows center-1..=center.
        let expected: BTreeSet<[i32; 4]> =
            [[0, 1, 0, 1], [0, 1, 0, 2], [0, 1, 1, 3], [0, 2, 0, 1], [0, 2, 0, 2], [0, 2, 1, 3]].into();
        let drawn: BTreeSet<_> = (0..500).map(|index| cutout(SHAPE, 2, &mut stream(index))).collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn cutout_of_an_odd_side_has_its_pixel_in_the_middle() {
        let shape = ImageShape { channels: 1, height: 9, width: 9 };
        let area = |index| {
            let [top, bottom, left, right] = cutout(shape, 3, &mut stream(index));
            (bottom - top) * (right - left)
        };
        // 3x3 inside, 2x3 at an edge, 2x2 in a corner.
        assert_eq!((0..500).map(area).collect::<BTreeSet<_>>(), [4, 6, 9].into());
    }
}
