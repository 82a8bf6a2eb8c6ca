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
