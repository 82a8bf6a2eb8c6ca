//! Datasets of the runs: small ones cut from Fashion-MNIST, and their defects.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Training images of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// 6,000 images.
    Clean,
    /// The same images with shuffled labels.
    Shuffled,
    /// The same images with a fifth of the labels drawn at random.
    Noisy,
    /// Five classes have one image per fifty images of the others.
    Imbalanced,
    /// One image per five.
    Uneven,
    /// 300 images.
    Few,
    /// No files.
    Synthetic,
}

const IMAGES: usize = 6_000;
const VALIDATION: usize = 1_000;
const PIXELS: usize = 28 * 28;

/// Data settings of the config; writes the files if they are missing.
pub(crate) fn settings(variant: Variant, folder: &Path) -> Vec<String> {
    if variant == Variant::Synthetic {
        let sizes = ["data.image_size=28", "data.channels=1", "data.samples=6600"].map(str::to_owned);
        return std::iter::once("data.source=synthetic".to_owned()).chain(sizes).collect();
    }
    let folder = folder.join(format!("{variant:?}").to_lowercase());
    if !folder.is_dir() {
        write(variant, &folder);
    }
    vec!["data.source=idx".into(), format!("data.path={}", folder.display()), "data.normalize=computed".into()]
}

fn unpacked(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist").join(format!("{name}.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("Fashion-MNIST was verified when it was fetched");
    bytes
}

fn write(variant: Variant, folder: &Path) {
    let images = unpacked("train-images-idx3-ubyte").split_off(16);
    let labels = unpacked("train-labels-idx1-ubyte").split_off(8);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut chosen: Vec<(usize, u8)> = match variant {
        Variant::Imbalanced => uneven(&labels, 50),
        Variant::Uneven => uneven(&labels, 5),
        Variant::Few => labels.iter().copied().enumerate().take(300).collect(),
        _ => labels.iter().copied().enumerate().take(IMAGES).collect(),
    };
    match variant {
        Variant::Shuffled => {
            for last in (1..chosen.len()).rev() {
                let other = random.next_u64() as usize % (last + 1);
                (chosen[last].1, chosen[other].1) = (chosen[other].1, chosen[last].1);
            }
        }
        Variant::Noisy => {
            for (index, (_, label)) in chosen.iter_mut().enumerate() {
                if index % 5 == 0 {
                    *label = (random.next_u64() % 10) as u8;
                }
            }
        }
        _ => {}
    }
    let train = chosen.iter().map(|&(index, label)| (&images[index * PIXELS..][..PIXELS], label));
    let temporary = folder.with_extension("part");
    fs::create_dir_all(&temporary).expect("the folder of traces can be written");
    write_idx(&temporary, "train", train);
    let images = unpacked("t10k-images-idx3-ubyte").split_off(16);
    let labels = unpacked("t10k-labels-idx1-ubyte").split_off(8);
    let validation = (0..VALIDATION).map(|index| (&images[index * PIXELS..][..PIXELS], labels[index]));
    write_idx(&temporary, "t10k", validation);
    fs::rename(temporary, folder).expect("the folder of traces can be written");
}

/// All images of the first five classes up to the total, and one per `ratio` images of the others.
fn uneven(labels: &[u8], ratio: usize) -> Vec<(usize, u8)> {
    let mut seen = [0; 10];
    let is_chosen = |(_, label): &(usize, u8)| {
        let count = &mut seen[usize::from(*label)];
        *count += 1;
        *label < 5 || *count % ratio == 0
    };
    labels.iter().copied().enumerate().filter(is_chosen).take(IMAGES).collect()
}

fn write_idx<'a>(folder: &Path, split: &str, images: impl Iterator<Item = (&'a [u8], u8)> + Clone) {
    let count = (images.clone().count() as u32).to_be_bytes();
    let side = 28u32.to_be_bytes();
    let pixels = images.clone().flat_map(|(pixels, _)| pixels.iter().copied());
    let header = [&[0, 0, 8, 3], &count[..], &side, &side].concat();
    let save = |name: &str, bytes: Vec<u8>| {
        let path: PathBuf = folder.join(format!("{split}-{name}-ubyte"));
        fs::write(path, bytes).expect("the folder of traces can be written");
    };
    save("images-idx3", header.into_iter().chain(pixels).collect());
    let labels = images.map(|(_, label)| label);
    save("labels-idx1", [&[0, 0, 8, 1], &count[..]].concat().into_iter().chain(labels).collect());
}
