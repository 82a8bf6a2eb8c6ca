//! Real images for runs.

use std::{fs, ops::Range, path::Path};

use super::parquet::{Row, write_rows};

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

/// The classes of [`write_photos`], [`write_shards`], and [`write_parquet`].
const CLASSES: [&str; 3] = ["ant", "bee", "cat"];

/// A color image of 20 x 16 pixels with stripes, as wide as its class, and a color of its own.
fn photo(number: usize) -> image::RgbImage {
    let class = number % 3;
    image::RgbImage::from_fn(20, 16, |x, y| {
        let is_bright = (x as usize / (class + 1)).is_multiple_of(2);
        image::Rgb([if is_bright { 220 } else { 30 }, (number * 37 % 256) as u8, 12 * y as u8])
    })
}

/// A photo as a PNG file.
fn png(number: usize) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    photo(number).write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
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
            let label = class.unwrap_or(CLASSES[number % 3]);
            for (extension, bytes) in [("png", &png(number)[..]), ("cls", label.as_bytes())] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                shard.append_data(&mut header, format!("{number:03}.{extension}"), bytes).unwrap();
            }
        }
        shard.into_inner().unwrap();
    }
}

/// An image of 24 x 24 pixels with any of a red square, a blue disc, and a green bar at positions derived from the number,
/// on a gray background; and its classes.
pub(crate) fn shapes(number: u32) -> (image::RgbImage, Vec<&'static str>) {
    let is_there = [number.is_multiple_of(2), number % 5 < 2, number.is_multiple_of(7)];
    let (left, top, bar) = (number * 7 % 13, number * 5 % 17, number * 3 % 22);
    let image = image::RgbImage::from_fn(24, 24, |x, y| {
        let is_inside = [
            (left..left + 7).contains(&x) && (top..top + 7).contains(&y),
            x.abs_diff(20 - left).pow(2) + y.abs_diff(20 - top).pow(2) <= 16,
            (bar..bar + 2).contains(&x) && y > 1,
        ];
        let colors = [[220, 30, 30], [30, 30, 220], [30, 200, 30]];
        let on_top = (0..3).find(|&shape| is_there[shape] && is_inside[shape]);
        // The first row is the number, so that no two images are equal.
        let background = if y == 0 { (number >> (x / 3) & 1) as u8 * 40 + 60 } else { 90 };
        image::Rgb(on_top.map_or([background; 3], |shape| colors[shape]))
    });
    let names = ["square", "disc", "bar"].into_iter().zip(is_there);
    (image, names.filter_map(|(name, is_there)| is_there.then_some(name)).collect())
}

/// Writes `images` images of [`shapes`] for training and `held` for validation, and `labels.csv` with all of their classes.
pub(crate) fn write_shapes(folder: &Path, images: u32, held: u32) {
    fs::create_dir_all(folder.join("images")).unwrap();
    let mut rows = "path,label,split\n".to_owned();
    for number in 0..images + held {
        let (image, classes) = shapes(number);
        let path = format!("images/{number:03}.png");
        image.save(folder.join(&path)).unwrap();
        let split = if number < images { "train" } else { "val" };
        rows.push_str(&format!("{path},{},{split}\n", classes.join("|")));
    }
    fs::write(folder.join("labels.csv"), rows).unwrap();
}

/// Writes `images` photos into two Parquet files for training, in row groups of ten rows, 15 into `val.parquet`, and
/// three of an unknown class into `unknown.parquet`.
pub(crate) fn write_parquet(folder: &Path, images: usize) {
    write_row_groups(folder, images, 10);
}

/// The same in row groups of `rows` rows.
pub(crate) fn write_row_groups(folder: &Path, images: usize, rows_in_group: usize) {
    fs::create_dir_all(folder).unwrap();
    let rows = |numbers: Range<usize>, class: Option<&str>| -> Vec<Row> {
        let label = |number: usize| class.unwrap_or(CLASSES[number % 3]).to_owned();
        numbers.map(|number| (Some(png(number)), Some(label(number)))).collect()
    };
    let write =
        |name: &str, rows: &[Row]| write_rows(&folder.join(name), &rows.chunks(rows_in_group).collect::<Vec<_>>());
    write("train-0.parquet", &rows(0..images / 2, None));
    write("train-1.parquet", &rows(images / 2..images, None));
    write("val.parquet", &rows(0..15, None));
    write("unknown.parquet", &rows(0..3, Some("dodo")));
}
