//! Images per second of the loader, without a model: MNIST-like images in memory, PNG files decoded on demand, JPEG
//! files beside PyTorch, and the start with as many files as ImageNet.

mod jpeg;
mod many_files;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gradwatch::config::{Augment, OnBadImage};
use gradwatch::data::{Dataset, ImageShape, Loader, LoaderOptions, PixelScale};
use gradwatch::libtorch::keep_freed_memory;

const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    // First, because it compares the most memory that the process has had.
    many_files::print()?;
    // As in training.
    keep_freed_memory();
    for workers in [0, 1, 2] {
        let rate = best_rate(in_memory(60_000)?, workers, 5)?;
        println!("28x28 u8 in memory, crop 2 + hflip, workers {workers}: {rate:>9.0} images/s");
    }
    let folder = tempfile::tempdir()?;
    for workers in [0, 1, 2] {
        let rate = best_rate(png_files(folder.path(), 256)?, workers, 3)?;
        println!("300x300 png to 224x224,   crop 2 + hflip, workers {workers}: {rate:>9.0} images/s");
    }
    jpeg::print()
}

/// The fastest of several epochs, the one least disturbed by other processes.
fn best_rate(dataset: Arc<Dataset>, workers: usize, epochs: u64) -> Result<f64, Box<dyn Error>> {
    let augment = Augment { random_crop: 2, hflip: 0.5, ..Augment::OFF };
    let options = LoaderOptions {
        batch_size: 128,
        seed: 1,
        workers,
        prefetch: 4,
        drop_last: false,
        shuffle: true,
        shuffle_buffer: 10_000,
        label_shuffle_epochs: Vec::new(),
        image_size: None,
        augment: Some(augment),
        scale: PixelScale::measured(&dataset, workers, OnBadImage::Stop)?,
        on_bad_image: OnBadImage::Stop,
        as_bytes: false,
    };
    let images = dataset.len() as f64;
    let loader = Loader::new(dataset, options)?;
    let mut best = 0.0_f64;
    for epoch in 0..epochs {
        let start = Instant::now();
        for batch in loader.epoch(epoch, 0) {
            std::hint::black_box(batch?);
        }
        best = best.max(images / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn class_names() -> Vec<String> {
    (0..CLASSES).map(|class| class.to_string()).collect()
}

fn in_memory(images: usize) -> Result<Arc<Dataset>, Box<dyn Error>> {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let labels = (0..CLASSES as u32).cycle().take(images).collect();
    let pixels = (0..=255).cycle().take(images * shape.values()).collect();
    Ok(Arc::new(Dataset::in_memory(Path::new("memory"), shape, class_names(), labels, pixels)?))
}

fn png_files(folder: &Path, images: u32) -> Result<Arc<Dataset>, Box<dyn Error>> {
    let mut files = Vec::new();
    for index in 0..images {
        let path = folder.join(format!("{index}.png"));
        image::GrayImage::from_fn(300, 300, |x, y| image::Luma([(x * y + index) as u8])).save(&path)?;
        files.push((path, index % CLASSES as u32));
    }
    let shape = ImageShape { channels: 1, height: 224, width: 224 };
    Ok(Arc::new(Dataset::from_files(folder, shape, class_names(), files)?))
}
