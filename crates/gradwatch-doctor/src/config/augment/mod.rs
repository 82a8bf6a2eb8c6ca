//! The `[data.augment]` table: random augmentation of training images.

mod automatic;
mod color;
mod erasing;
mod geometry;
mod mixing;
mod recipe;

use serde::Serialize;

use super::{
    range::{AREA_SHARE, ASPECT_RATIO, SHARE},
    reader::Section,
};

pub use automatic::{AutoPolicy, Automatic, Sampling};
pub use color::{ColorJitter, GaussianBlur, Solarize};
pub use erasing::{EraseFill, RandomErasing};
pub use geometry::RandomAffine;
pub use mixing::{MixMode, Mixing};
pub use recipe::Recipe;

/// Random augmentation of training images, in the order of the fields. With everything off, images are unchanged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Augment {
    /// Published values for all other keys that are not set; `None` is everything off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Number of times in a row that an epoch shows an image, each time augmented anew. An epoch has as many batches as
    /// without repeats, and shows fewer images. Hoffer et al. 2020.
    pub repeats: usize,
    /// Whether to crop a random area and aspect ratio and resize it to the original size.
    pub random_resized_crop: bool,
    /// Smallest and largest fraction of the area that `random_resized_crop` keeps.
    pub scale: [f64; 2],
    /// Smallest and largest aspect ratio (width / height) of `random_resized_crop`.
    pub ratio: [f64; 2],
    /// Zero padding in pixels on each side before a crop back to the original size; 0 is off.
    pub random_crop: usize,
    /// Probability of a horizontal flip.
    pub hflip: f64,
    /// Probability of an upside-down flip.
    pub vflip: f64,
    /// Random rotation, translation, zoom, and shear.
    pub affine: RandomAffine,
    /// A learned or random sequence of changes.
    pub auto: Automatic,
    /// Random brightness, contrast, saturation, and hue.
    pub color_jitter: ColorJitter,
    /// Probability of turning gray.
    pub grayscale: f64,
    /// Random blur.
    pub gaussian_blur: GaussianBlur,
    /// Random inversion of bright pixels.
    pub solarize: Solarize,
    /// Side in pixels of a random square that is set to the mean; 0 is off.
    pub cutout: usize,
    /// Random rectangles that are set to the mean or to noise.
    pub random_erasing: RandomErasing,
    /// Mixtures of two images and their labels.
    pub mixing: Mixing,
}

/// Everything off.
impl Default for Augment {
    fn default() -> Self {
        Self::OFF
    }
}

impl Augment {
    /// Everything off.
    pub const OFF: Self = Self {
        recipe: None,
        repeats: 1,
        random_resized_crop: false,
        scale: [0.08, 1.0],
        ratio: [3.0 / 4.0, 4.0 / 3.0],
        random_crop: 0,
        hflip: 0.0,
        vflip: 0.0,
        affine: RandomAffine::OFF,
        auto: Automatic::OFF,
        color_jitter: ColorJitter::OFF,
        grayscale: 0.0,
        gaussian_blur: GaussianBlur::OFF,
        solarize: Solarize::OFF,
        cutout: 0,
        random_erasing: RandomErasing::OFF,
        mixing: Mixing::OFF,
    };

    pub(super) fn read(mut table: Section<'_>) -> Self {
        let recipe: Option<Recipe> = table.optional_choice("recipe");
        let default = recipe.map_or(Self::OFF, Recipe::augment);
        let config = Self {
            recipe,
            repeats: table.count("repeats", default.repeats, 1..=1000),
            random_resized_crop: table.any("random_resized_crop", default.random_resized_crop),
            scale: table.interval("scale", default.scale, &AREA_SHARE),
            ratio: table.interval("ratio", default.ratio, &ASPECT_RATIO),
            random_crop: table.count("random_crop", default.random_crop, 0..=1024),
            hflip: table.number("hflip", default.hflip, &SHARE),
            vflip: table.number("vflip", default.vflip, &SHARE),
            affine: RandomAffine::read(table.section("affine"), default.affine),
            auto: Automatic::read(&mut table, default.auto),
            color_jitter: ColorJitter::read(table.section("color_jitter"), default.color_jitter),
            grayscale: table.number("grayscale", default.grayscale, &SHARE),
            gaussian_blur: GaussianBlur::read(table.section("gaussian_blur"), default.gaussian_blur),
            solarize: Solarize::read(table.section("solarize"), default.solarize),
            cutout: table.count("cutout", default.cutout, 0..=8192),
            random_erasing: RandomErasing::read(table.section("random_erasing"), default.random_erasing),
            mixing: Mixing::read(table.section("mixing"), default.mixing),
        };
        if config.random_crop > 0 && config.random_resized_crop {
            table.problem("random_crop", "both random_crop and random_resized_crop are on; want only one");
        }
        table.finish();
        config
    }
}
