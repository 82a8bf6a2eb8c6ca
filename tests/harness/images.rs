//! Real images for runs.

use std::{fs, path::Path};

/// Writes the first `images` training images of Fashion-MNIST, and 40 others, as a separate dataset.
pub(crate) fn write_images(folder: &Path, images: usize) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist");
    fs::create_dir(folder).unwrap();
    for (split, count) in [("train", images), ("t10k", 40)] {
        for (kind, header, bytes) in [("images-idx3", 16, 784), ("labels-idx1", 8, 1)] {
            let name = format!("{split}-{kind}-ubyte");
            let zipped = fs::File::open(source.join(format!("{name}.gz"))).unwrap_or_else(|error| {
                panic!("{}: {error}; run `make setup`", source.display());
            });
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(zipped), &mut all).unwrap();
            all.truncate(header + count * bytes);
            all[4..8].copy_from_slice(&(count as u32).to_be_bytes());
            fs::write(folder.join(name), all).unwrap();
        }
    }
}

/// The classes of [`write_photos`] and [`write_shards`].
const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

/// A color image of 20 x 16 pixels with stripes, as wide as its class, and a color of its own.
fn photo(number: usize) -> image::RgbImage {
    let class = number % 3;
    image::RgbImage::from_fn(20, 16, |x, y| {
        let is_bright = (x as usize / (class + 1)).is_multiple_of(2);
        image::Rgb([if is_bright { 220 } else { 30 }, (number * 37 % 256) as u8, 12 * y as u8])
    })
}

/// Writes `images` photos in three classes as PNG files for training, and 15 for validation.
pub(crate) fn write_photos(folder: &Path, images: usize) {
    for (split, count) in [("train", images), ("val", 15)] {
        for number in 0..count {
            let path = folder.join(split).join(CLASSES[number % 3]);
            fs::create_dir_all(&path).unwrap();
            photo(number).save(path.join(format!("{number:03}.png"))).unwrap();
        }
    }
}

/// Writes `images` photos into five shards for training, 15 into `val.tar`, and three of an unknown class into
/// `unknown.tar`.
pub(crate) fn write_shards(folder: &Path, images: usize) {
    fs::create_dir_all(folder).unwrap();
    let shards = (0..5).map(|shard| (format!("train-{shard}.tar"), shard * images / 5..(shard + 1) * images / 5, None));
    let others = [("val.tar".to_owned(), 0..15, None), ("unknown.tar".to_owned(), 0..3, Some("dodo"))];
    for (name, numbers, class) in shards.chain(others) {
        let mut shard = tar::Builder::new(fs::File::create(folder.join(name)).unwrap());
        for number in numbers {
            let mut png = std::io::Cursor::new(Vec::new());
            photo(number).write_to(&mut png, image::ImageFormat::Png).unwrap();
            let label = class.unwrap_or(CLASSES[number % 3]);
            for (extension, bytes) in [("png", &png.into_inner()[..]), ("cls", label.as_bytes())] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                shard.append_data(&mut header, format!("{number:03}.{extension}"), bytes).unwrap();
            }
        }
        shard.into_inner().unwrap();
    }
}
