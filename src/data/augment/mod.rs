//! Random augmentation of one training image. The order: a random part is resized, crop, flips, affine, automatic
//! changes, color jitter, grayscale, blur, solarize; then, after normalization, cutout and erasing. Mixtures of images
//! come last, on the device.
//!
//! An image is channels x height x width. A disabled augmentation draws no random numbers.

mod affine;
mod blur;
mod color;
mod crop;
mod erase;
#[cfg(test)]
mod golden;
mod learned_policies;
mod mix;
mod op;
mod policy;

use std::borrow::Cow;

use super::random::Stream;
use super::{ImageShape, Samples};
use crate::config::{Augment, AutoPolicy, ColorJitter, Interpolation, RandomAffine, Sampling as Choice};
use affine::{Sampling, inverse_matrix, transform};
pub(super) use color::luma_601;
pub(super) use crop::{Size, Window, resized_crop};
use crop::{random_crop, random_window};
pub(super) use erase::Erased;
pub use mix::{MixedPart, Mixture};
use op::Canvas;

/// All augmentations of a run, applied to the images of one shape.
#[derive(Debug)]
pub(super) struct Augmenter {
    options: Augment,
    shape: ImageShape,
    /// Of automatic changes.
    canvas: Canvas,
}

impl Augmenter {
    /// `mean` is the mean of each channel in 0..=1; timm's `RandAugment` fills with it, torchvision's policies with
    /// black.
    pub(super) fn new(options: &Augment, shape: ImageShape, mean: &[f32]) -> Self {
        let is_timm = options.auto.policy == AutoPolicy::TimmRandAugment;
        let byte = |mean: &f32| (255.0 * mean).round_ties_even() as u8;
        let fill = if is_timm { mean.iter().map(byte).collect() } else { vec![0; shape.channels] };
        let canvas = Canvas { sampling: options.auto.interpolation, fill };
        Self { options: options.clone(), shape, canvas }
    }

    pub(super) fn options(&self) -> &Augment {
        &self.options
    }

    /// The part of an image of this size to resize to the model's input; `None` for the whole image.
    pub(super) fn window(&self, size: Size, stream: &mut Stream) -> Option<Window> {
        let options = &self.options;
        options.random_resized_crop.then(|| random_window(size, options.scale, options.ratio, stream))
    }

    /// Changes a resized image, before normalization. An image of 16 bits is rounded to 8 bits if an augmentation that
    /// computes new values is on.
    pub(super) fn change_pixels<'a>(&self, image: Samples<'a>, stream: &mut Stream) -> Samples<'a> {
        match image {
            Samples::Bytes(bytes) => {
                let moved = self.change_places(bytes, stream);
                Samples::Bytes(self.change_values(moved, stream))
            }
            Samples::Words(words) => {
                let moved = Samples::Words(self.change_places(Cow::Owned(words), stream).into_owned());
                match self.has_new_values() {
                    true => Samples::Bytes(self.change_values(moved.into_bytes(), stream)),
                    false => moved,
                }
            }
        }
    }

    /// Crops and flips.
    fn change_places<'a, T: Copy + Default>(&self, mut image: Cow<'a, [T]>, stream: &mut Stream) -> Cow<'a, [T]> {
        let (options, shape) = (&self.options, self.shape);
        if options.random_crop > 0 {
            image = Cow::Owned(random_crop(&image, shape, options.random_crop, stream));
        }
        if options.hflip > 0.0 && stream.chance(options.hflip) {
            flip_horizontally(image.to_mut(), shape);
        }
        if options.vflip > 0.0 && stream.chance(options.vflip) {
            image = Cow::Owned(flipped_vertically(&image, shape));
        }
        image
    }

    /// Whether an augmentation of [`change_values`](Self::change_values) is on.
    fn has_new_values(&self) -> bool {
        let options = &self.options;
        let chances = [options.grayscale, options.gaussian_blur.probability, options.solarize.probability];
        options.affine.is_on()
            || options.auto.policy != AutoPolicy::None
            || options.color_jitter.is_on()
            || chances.iter().any(|chance| *chance > 0.0)
    }

    /// Augmentations that compute new values.
    fn change_values<'a>(&self, mut image: Cow<'a, [u8]>, stream: &mut Stream) -> Cow<'a, [u8]> {
        let (options, shape) = (&self.options, self.shape);
        if options.affine.is_on() {
            image = Cow::Owned(moved(&image, shape, &options.affine, stream));
        }
        if options.auto.policy != AutoPolicy::None {
            policy::apply(image.to_mut(), shape, &options.auto, &self.canvas, stream);
        }
        if options.color_jitter.is_on() && stream.chance(options.color_jitter.probability) {
            jitter(image.to_mut(), shape, &options.color_jitter, stream);
        }
        if options.grayscale > 0.0 && stream.chance(options.grayscale) {
            color::grayscale(image.to_mut(), shape);
        }
        let blur = options.gaussian_blur;
        if blur.probability > 0.0 && stream.chance(blur.probability) {
            let sigma = stream.uniform(blur.sigma[0], blur.sigma[1]);
            blur::gaussian_blur(image.to_mut(), shape, blur.kernel_size, sigma);
        }
        if options.solarize.probability > 0.0 && stream.chance(options.solarize.probability) {
            color::solarize(image.to_mut(), options.solarize.threshold);
        }
        image
    }

    /// The mixture of a batch; `None` if mixing is off.
    pub(super) fn mixture(&self, images: usize, stream: &mut Stream) -> Option<Mixture> {
        mix::draw(&self.options.mixing, self.shape, images, stream)
    }

    /// The rectangles to erase after normalization.
    pub(super) fn erased(&self, stream: &mut Stream) -> Vec<Erased> {
        let mut erased = Vec::new();
        if self.options.cutout > 0 {
            let rectangle = erase::cutout(self.shape, self.options.cutout, stream);
            erased.push(Erased { rectangle, noise: None });
        }
        erased.extend(erase::random_erasing(self.shape, &self.options.random_erasing, stream));
        erased
    }
}

/// The way to sample one image.
fn sampling(choice: Choice, stream: &mut Stream) -> Sampling {
    match choice {
        Choice::Nearest => Sampling::Nearest,
        Choice::Bilinear => Sampling::Smooth(Interpolation::Bilinear),
        Choice::Bicubic => Sampling::Smooth(Interpolation::Bicubic),
        Choice::Random if stream.chance(0.5) => Sampling::Smooth(Interpolation::Bilinear),
        Choice::Random => Sampling::Smooth(Interpolation::Bicubic),
    }
}

/// torchvision's `RandomAffine`, filled with black.
fn moved(image: &[u8], shape: ImageShape, options: &RandomAffine, stream: &mut Stream) -> Vec<u8> {
    let [width, height] = [shape.width, shape.height].map(|side| side as f64);
    let angle = stream.uniform(-options.degrees, options.degrees);
    let [most_x, most_y] = options.translate;
    let mut pixels = |most: f64| stream.uniform(-most, most).round_ties_even();
    let translate = [pixels(most_x * width), pixels(most_y * height)];
    let zoom = stream.uniform(options.scale[0], options.scale[1]);
    let shear = stream.uniform(-options.shear, options.shear);
    let matrix = inverse_matrix([width / 2.0, height / 2.0], angle, translate, zoom, [shear, 0.0]);
    transform(image, shape, matrix, sampling(options.interpolation, stream), &[])
}

/// torchvision's `ColorJitter`.
fn jitter(image: &mut [u8], shape: ImageShape, options: &ColorJitter, stream: &mut Stream) {
    let mut order = [0, 1, 2, 3];
    stream.shuffle(&mut order);
    let mut factor = |strength: f64| stream.uniform((1.0 - strength).max(0.0), 1.0 + strength) as f32;
    let [brightness, contrast, saturation] =
        [options.brightness, options.contrast, options.saturation].map(&mut factor);
    let turn = stream.uniform(-options.hue, options.hue);
    for change in order {
        match change {
            0 if options.brightness > 0.0 => color::brightness(image, brightness),
            1 if options.contrast > 0.0 => color::contrast(image, shape, contrast),
            2 if options.saturation > 0.0 => color::saturation(image, shape, saturation),
            3 if options.hue > 0.0 => color::hue(image, shape, turn),
            _ => {}
        }
    }
}

/// Flips left and right.
fn flip_horizontally<T>(image: &mut [T], shape: ImageShape) {
    image.chunks_exact_mut(shape.width).for_each(<[T]>::reverse);
}

/// Flips top and bottom.
fn flipped_vertically<T: Copy>(image: &[T], shape: ImageShape) -> Vec<T> {
    let planes = image.chunks_exact(shape.plane());
    planes.flat_map(|plane| plane.rchunks_exact(shape.width)).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture::NO_AUGMENT;
    use super::super::random::Purpose;
    use super::*;
    use crate::config::{GaussianBlur, RandomErasing, Solarize};

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 2, width: 3 };
    const IMAGE: [u8; 12] = [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60];

    fn stream(index: u64) -> Stream {
        Stream::new(1, Purpose::Augmentation, 0, index)
    }

    fn changed(options: &Augment, index: u64) -> Vec<u8> {
        let augmenter = Augmenter::new(options, SHAPE, &[0.5; 2]);
        augmenter.change_pixels(Samples::Bytes(Cow::Borrowed(&IMAGE)), &mut stream(index)).into_bytes().into_owned()
    }

    #[test]
    fn with_everything_off_nothing_changes_and_nothing_is_drawn() {
        let mut untouched = stream(0);
        let augmenter = Augmenter::new(&NO_AUGMENT, SHAPE, &[0.5; 2]);
        let image = augmenter.change_pixels(Samples::Bytes(Cow::Borrowed(&IMAGE)), &mut untouched);
        assert!(matches!(image, Samples::Bytes(Cow::Borrowed(pixels)) if pixels == IMAGE));
        assert!(augmenter.window(SHAPE.size(), &mut untouched).is_none());
        assert!(augmenter.erased(&mut untouched).is_empty());
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
    fn sixteen_bits_are_cropped_and_flipped_like_eight_and_rounded_only_for_new_values() {
        let words: Vec<u16> = IMAGE.iter().map(|&byte| 257 * u16::from(byte) + 3).collect();
        let change = |options: &Augment, index| {
            let augmenter = Augmenter::new(options, SHAPE, &[0.5; 2]);
            augmenter.change_pixels(words.clone().into(), &mut stream(index))
        };
        let places = Augment { random_crop: 1, hflip: 0.5, vflip: 0.5, ..NO_AUGMENT };
        let values = Augment { solarize: Solarize { probability: 1.0, threshold: 30.0 }, ..places.clone() };
        for index in 0..50 {
            let Samples::Words(moved) = change(&places, index) else { panic!("rounded") };
            let want = changed(&places, index);
            let word_of = |byte| if byte == 0 { 0 } else { 257 * u16::from(byte) + 3 };
            assert!(moved.into_iter().eq(want.into_iter().map(word_of)));
            assert_eq!(change(&values, index), changed(&values, index).into());
        }
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
        let options = Augment {
            random_crop: 1,
            hflip: 0.5,
            vflip: 0.5,
            affine: RandomAffine { degrees: 45.0, translate: [0.3; 2], ..RandomAffine::OFF },
            color_jitter: ColorJitter { brightness: 0.5, contrast: 0.5, ..ColorJitter::OFF },
            gaussian_blur: GaussianBlur { probability: 0.5, kernel_size: 3, ..GaussianBlur::OFF },
            solarize: Solarize { probability: 0.5, threshold: 30.0 },
            ..NO_AUGMENT
        };
        assert!((0..100).all(|index| changed(&options, index) == changed(&options, index)));
        assert!((0..100).map(|index| changed(&options, index)).collect::<BTreeSet<_>>().len() > 50);
    }

    #[test]
    fn cutout_is_the_clipped_square_around_each_pixel() {
        // Squares of side 2 on 2x3 pixels cover rows center-1..=center.
        let expected: BTreeSet<[i32; 4]> =
            [[0, 1, 0, 1], [0, 1, 0, 2], [0, 1, 1, 3], [0, 2, 0, 1], [0, 2, 0, 2], [0, 2, 1, 3]].into();
        let drawn: BTreeSet<_> = (0..500).map(|index| erase::cutout(SHAPE, 2, &mut stream(index))).collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn cutout_of_an_odd_side_has_its_pixel_in_the_middle() {
        let shape = ImageShape { channels: 1, height: 9, width: 9 };
        let area = |index| {
            let [top, bottom, left, right] = erase::cutout(shape, 3, &mut stream(index));
            (bottom - top) * (right - left)
        };
        // 3x3 inside, 2x3 at an edge, 2x2 in a corner.
        assert_eq!((0..500).map(area).collect::<BTreeSet<_>>(), [4, 6, 9].into());
    }

    #[test]
    fn erased_rectangles_keep_to_the_area_and_the_ratio() {
        let shape = ImageShape { channels: 3, height: 64, width: 48 };
        let options = RandomErasing { probability: 0.5, count: 2, ..RandomErasing::OFF };
        let draws: Vec<_> =
            (0..2_000).map(|index| erase::random_erasing(shape, &options, &mut stream(index))).collect();
        let rectangles: Vec<_> = draws.iter().flatten().collect();
        let images = draws.iter().filter(|draw| !draw.is_empty()).count();
        // Binomial(2000, 1/2): mean 1000, standard deviation 22.4; five standard deviations on each side.
        assert!((888..=1_112).contains(&images), "{images}");
        for Erased { rectangle: [top, bottom, left, right], noise } in rectangles {
            assert!(*top >= 0 && *bottom <= 64 && *left >= 0 && *right <= 48 && noise.is_none());
            let (height, width) = (f64::from(bottom - top), f64::from(right - left));
            // Half of 0.02 to 0.33 of the area; rounding changes a side by at most half a pixel.
            let area = |by: f64| (height + by) * (width + by) / f64::from(64 * 48);
            assert!(area(0.5) >= 0.01 && area(-0.5) <= 0.165, "{height} x {width}");
            assert!((height + 0.5) / (width - 0.5) >= 0.3 && (height - 0.5) / (width + 0.5) <= 3.3);
        }
    }
}
