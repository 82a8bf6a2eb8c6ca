//! Draws what each augmentation of `[data.augment]` does to an image: `cargo run --example augmentations -- out.png
//! [image]`. Without an image, it paints one.

use std::{error::Error, fs, path::Path, sync::Arc};

use gradwatch::{
    config::{
        Augment, AutoPolicy, Automatic, ColorJitter, DataConfig, EraseFill, GaussianBlur, Mixing, RandomAffine,
        RandomErasing, Solarize,
    },
    data::{Dataset, ImageShape, Loader, LoaderOptions, PixelScale},
    evaluation::Numerics,
    libtorch::host_copy,
    picture::ImageGrid,
};
use image::{Rgb, RgbImage, imageops::FilterType};
use tch::Device;

const SIDE: u32 = 256;
/// Epochs, whose draws differ.
const EPOCHS: [u64; 2] = [1, 4];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().ok_or("give the file to write")?;
    let image = match arguments.next() {
        Some(path) => image::open(path)?.resize_to_fill(SIDE, SIDE, FilterType::Triangle).into_rgb8(),
        None => painted(),
    };
    let (mut pixels, mut captions) = (Vec::new(), Vec::new());
    for (name, augment) in augmentations() {
        for epoch in EPOCHS {
            pixels.extend(augmented(&image, augment.clone(), epoch)?);
            captions.push(name.to_owned());
        }
    }
    let side = SIDE as usize;
    let picture = ImageGrid { pixels: &pixels, shape: [3, side, side], captions: &captions }.draw()?;
    fs::write(&output, picture.png)?;
    Ok(())
}

/// Each augmentation at a strength that shows it.
fn augmentations() -> Vec<(&'static str, Augment)> {
    let auto = |policy| Augment { auto: Automatic::of_policy(policy), ..Augment::OFF };
    let erasing = |fill| RandomErasing { probability: 1.0, fill, ..RandomErasing::OFF };
    let degrees = RandomAffine { degrees: 30.0, ..RandomAffine::OFF };
    let affine = RandomAffine { translate: [0.2; 2], scale: [0.7, 1.3], shear: 20.0, ..degrees };
    let jitter = ColorJitter { brightness: 0.5, contrast: 0.5, saturation: 0.5, hue: 0.2, ..ColorJitter::OFF };
    let blur = GaussianBlur { probability: 1.0, sigma: [3.0, 6.0], ..GaussianBlur::OFF };
    vec![
        ("nothing", Augment::OFF),
        ("random_resized_crop", Augment { random_resized_crop: true, ..Augment::OFF }),
        ("random_crop", Augment { random_crop: 64, ..Augment::OFF }),
        ("hflip", Augment { hflip: 1.0, ..Augment::OFF }),
        ("vflip", Augment { vflip: 1.0, ..Augment::OFF }),
        ("affine: degrees", Augment { affine: degrees, ..Augment::OFF }),
        ("affine", Augment { affine, ..Augment::OFF }),
        ("randaugment", auto(AutoPolicy::RandAugment)),
        ("trivialaugment_wide", auto(AutoPolicy::TrivialAugmentWide)),
        ("autoaugment_imagenet", auto(AutoPolicy::AutoAugmentImagenet)),
        ("augmix", auto(AutoPolicy::AugMix)),
        ("timm_randaugment", auto(AutoPolicy::TimmRandAugment)),
        ("color_jitter", Augment { color_jitter: jitter, ..Augment::OFF }),
        ("grayscale", Augment { grayscale: 1.0, ..Augment::OFF }),
        ("gaussian_blur", Augment { gaussian_blur: blur, ..Augment::OFF }),
        ("solarize", Augment { solarize: Solarize { probability: 1.0, ..Solarize::OFF }, ..Augment::OFF }),
        ("cutout", Augment { cutout: 96, ..Augment::OFF }),
        ("random_erasing", Augment { random_erasing: erasing(EraseFill::Zero), ..Augment::OFF }),
        ("erasing: fill pixel", Augment { random_erasing: erasing(EraseFill::Pixel), ..Augment::OFF }),
        ("mixing: mixup", Augment { mixing: Mixing { mixup: 1.0, ..Mixing::OFF }, ..Augment::OFF }),
        ("mixing: cutmix", Augment { mixing: Mixing { cutmix: 1.0, ..Mixing::OFF }, ..Augment::OFF }),
    ]
}

/// Pixels of the image as the model would see it, channels x height x width.
fn augmented(image: &RgbImage, augment: Augment, epoch: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    let planes = |image: &RgbImage| -> Vec<u8> {
        (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel]).collect::<Vec<_>>()).collect()
    };
    let side = SIDE as usize;
    let shape = ImageShape { channels: 3, height: side, width: side };
    // The partner of a mixture is the image upside down.
    let pixels = [planes(image), planes(&image::imageops::rotate180(image))].concat();
    let dataset = Dataset::in_memory(Path::new("augmentations"), shape, vec!["painted".into()], vec![0, 0], pixels)?;
    let config = DataConfig { batch_size: 2, augment, workers: 0, ..DataConfig::default() };
    let scale = PixelScale::new(vec![0.5; 3], vec![0.25; 3])?;
    let options = LoaderOptions { shuffle: false, ..LoaderOptions::for_training(&config, 1, scale) };
    let batch = Loader::new(Arc::new(dataset), options)?.epoch(epoch, 0).next().ok_or("an epoch has a batch")??;
    let (images, _) = Numerics::plain(Device::Cpu).to_device(&batch)?;
    let values = host_copy(&images)?;
    Ok(values.iter().take(3 * side * side).map(|value| (255.0 * (0.25 * value + 0.5)).round() as u8).collect())
}

/// A house on a hill, under the sun.
fn painted() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (x, y) = (f64::from(x) / f64::from(SIDE), f64::from(y) / f64::from(SIDE));
        let hill = 0.72 - 0.1 * (3.0 * x).sin();
        let is_roof = y > 0.32 && y < 0.5 && (x - 0.62).abs() < 1.1 * (y - 0.32);
        let is_wall = (0.48..0.76).contains(&x) && (0.5..0.72).contains(&y);
        let is_door = (0.58..0.65).contains(&x) && (0.58..0.72).contains(&y);
        let sun = (x - 0.22).hypot(y - 0.2);
        Rgb(if is_door {
            [90, 50, 30]
        } else if is_roof {
            [190, 50, 40]
        } else if is_wall {
            [235, 220, 190]
        } else if y > hill {
            [60, (190.0 - 120.0 * (y - hill)) as u8, 70]
        } else if sun < 0.1 {
            [255, 225, 90]
        } else {
            [(120.0 + 100.0 * y) as u8, (170.0 + 60.0 * y) as u8, 240]
        })
    })
}
