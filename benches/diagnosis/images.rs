//! Datasets of the runs: small ones cut from Fashion-MNIST, and their defects.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use flate2::read::GzDecoder;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Content of the images and labels of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// 6,000 training images.
    Clean,
    /// The same images with shuffled labels.
    Shuffled,
    /// The same images with a fifth of the labels drawn at random.
    Noisy,
    /// The same images with half of the labels drawn at random.
    HalfWrong,
    /// Five classes have one image per fifty images of the others.
    Imbalanced,
    /// One image per five.
    Uneven,
    /// 300 images.
    Few,
    /// Pullovers and shirts, which are hard to tell apart.
    TwoHard,
    /// Trousers and bags, which any network tells apart.
    TwoEasy,
    /// Pullovers and shirts, four to one.
    TwoUneven,
    /// A hundred classes: pairs of narrow images side by side.
    Hundred,
    /// The clean images, but the validation images are negatives.
    Inverted,
    /// No files.
    Synthetic,
}

/// Format of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// 28 x 28, as published.
    Gray28,
    /// With a border of 2 pixels.
    Gray32,
    /// The same, each image in two random colors.
    Color32,
}

impl Variant {
    /// The variant whose accuracy tells how well a run on this one can do.
    pub(crate) fn task(self) -> Self {
        match self {
            Self::Shuffled | Self::HalfWrong | Self::Inverted => Self::Clean,
            other => other,
        }
    }

    /// Whether it needs a head for another number of classes than ten.
    pub(crate) fn is_other_head(self) -> bool {
        self.classes() != 10
    }

    /// Number of classes.
    fn classes(self) -> usize {
        match self {
            Self::TwoHard | Self::TwoEasy | Self::TwoUneven => 2,
            Self::Hundred => 100,
            _ => 10,
        }
    }
}

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
/// Training and validation images of most variants.
const IMAGES: usize = 6_000;
const VALIDATION: usize = 1_000;

/// One gray image with its label.
type Labeled = (Vec<u8>, u8);

/// Data settings of the config; writes the files if they are missing.
pub(crate) fn settings(variant: Variant, form: Form, folder: &Path) -> Vec<String> {
    if variant == Variant::Synthetic {
        let sizes = ["data.image_size=28", "data.channels=1", "data.samples=6600"].map(str::to_owned);
        return std::iter::once("data.source=synthetic".to_owned()).chain(sizes).collect();
    }
    let name = format!("{variant:?}").to_lowercase();
    let folder = folder.join(if form == Form::Gray28 { name } else { format!("{name}-{form:?}").to_lowercase() });
    if !folder.is_dir() {
        write(variant, form, &folder);
    }
    if variant.classes() == 2 {
        let side = if form == Form::Gray28 { SIDE } else { SIDE + 4 };
        return vec![
            "data.source=folder".into(),
            format!("data.path={}", folder.display()),
            format!("data.image_size={side}"),
            "data.channels=1".into(),
            "data.normalize=computed".into(),
        ];
    }
    let source = match (form, variant.classes() > 10) {
        (Form::Gray28 | Form::Gray32, _) => "idx",
        (Form::Color32, false) => "cifar10",
        (Form::Color32, true) => "cifar100",
    };
    vec![format!("data.source={source}"), format!("data.path={}", folder.display()), "data.normalize=computed".into()]
}

fn unpacked(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist").join(format!("{name}.gz"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).expect("Fashion-MNIST was verified when it was fetched");
    bytes
}

/// All images of a split, in their order.
fn published(split: &str) -> Vec<Labeled> {
    let images = unpacked(&format!("{split}-images-idx3-ubyte")).split_off(16);
    let labels = unpacked(&format!("{split}-labels-idx1-ubyte")).split_off(8);
    images.chunks_exact(PIXELS).map(<[u8]>::to_vec).zip(labels).collect()
}

fn write(variant: Variant, form: Form, folder: &Path) {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (train, validation) = (published("train"), published("t10k"));
    let mut train = choose(variant, train, IMAGES);
    let mut validation = match variant {
        Variant::Imbalanced | Variant::Uneven | Variant::Few => choose(Variant::Clean, validation, VALIDATION),
        variant => choose(variant, validation, VALIDATION),
    };
    match variant {
        Variant::Shuffled => {
            for last in (1..train.len()).rev() {
                let other = random.next_u64() as usize % (last + 1);
                let (one, two) = (train[last].1, train[other].1);
                (train[last].1, train[other].1) = (two, one);
            }
        }
        Variant::Noisy => replace_labels(&mut train, 5, &mut random),
        Variant::HalfWrong => replace_labels(&mut train, 2, &mut random),
        Variant::Inverted => {
            validation.iter_mut().flat_map(|(pixels, _)| pixels).for_each(|pixel| *pixel = 255 - *pixel);
        }
        _ => {}
    }
    let temporary = folder.with_extension("part");
    fs::create_dir_all(&temporary).expect("the folder of traces can be written");
    for (split, images) in [("train", &train), ("t10k", &validation)] {
        match form {
            _ if variant.classes() == 2 => write_folder(&temporary, split, images),
            Form::Gray28 => write_idx(&temporary, split, SIDE, images),
            Form::Gray32 => {
                let bordered: Vec<Labeled> = images.iter().map(|(pixels, label)| (border(pixels), *label)).collect();
                write_idx(&temporary, split, SIDE + 4, &bordered);
            }
            Form::Color32 => write_cifar(&temporary, split, variant.classes(), images, &mut random),
        }
    }
    fs::rename(temporary, folder).expect("the folder of traces can be written");
}

/// The images of a split that a variant contains.
fn choose(variant: Variant, all: Vec<Labeled>, count: usize) -> Vec<Labeled> {
    let only = |classes: [u8; 2]| {
        let relabeled = all.iter().filter_map(move |(pixels, label)| {
            let label = classes.iter().position(|class| class == label)?;
            Some((pixels.clone(), label as u8))
        });
        relabeled.take(count)
    };
    match variant {
        Variant::Imbalanced => uneven(all, 50, count),
        Variant::Uneven => uneven(all, 5, count),
        Variant::Few => all.into_iter().take(300).collect(),
        Variant::TwoHard => only([2, 6]).collect(),
        Variant::TwoEasy => only([1, 8]).collect(),
        Variant::TwoUneven => {
            let mut seen = 0;
            let is_chosen = |(_, label): &Labeled| {
                seen += usize::from(*label == 1);
                *label == 0 || seen.is_multiple_of(4)
            };
            only([2, 6]).filter(is_chosen).collect()
        }
        Variant::Hundred => {
            let pairs = all.iter().zip(all.iter().skip(1).step_by(2).chain(all.iter().step_by(2)));
            pairs
                .map(|(left, right)| (side_by_side(&left.0, &right.0), 10 * left.1 + right.1))
                .take(2 * count)
                .collect()
        }
        _ => all.into_iter().take(count).collect(),
    }
}

/// Draws the label of every `nth` image at random.
fn replace_labels(images: &mut [Labeled], nth: usize, random: &mut ChaCha8Rng) {
    for (_, label) in images.iter_mut().step_by(nth) {
        *label = (random.next_u64() % 10) as u8;
    }
}

/// All images of the first five classes up to the total, and one per `ratio` images of the others.
fn uneven(all: Vec<Labeled>, ratio: usize, count: usize) -> Vec<Labeled> {
    let mut seen = [0usize; 10];
    let is_chosen = |(_, label): &Labeled| {
        let count = &mut seen[usize::from(*label)];
        *count += 1;
        *label < 5 || count.is_multiple_of(ratio)
    };
    all.into_iter().filter(is_chosen).take(count).collect()
}

/// An image with a border of two black pixels.
fn border(pixels: &[u8]) -> Vec<u8> {
    let mut bordered = vec![0; (SIDE + 4) * (SIDE + 4)];
    for (row, line) in pixels.chunks_exact(SIDE).enumerate() {
        bordered[(row + 2) * (SIDE + 4) + 2..][..SIDE].copy_from_slice(line);
    }
    bordered
}

/// Every second column of two images, side by side.
fn side_by_side(left: &[u8], right: &[u8]) -> Vec<u8> {
    let half = |line: &[u8]| line.iter().copied().step_by(2).collect::<Vec<u8>>();
    let lines = left.chunks_exact(SIDE).zip(right.chunks_exact(SIDE));
    lines.flat_map(|(left, right)| [half(left), half(right)].concat()).collect()
}

/// A folder per class with gray PNG files.
fn write_folder(folder: &Path, split: &str, images: &[Labeled]) {
    let split = folder.join(if split == "train" { "train" } else { "val" });
    for (index, (pixels, label)) in images.iter().enumerate() {
        let class = split.join(format!("class-{label}"));
        fs::create_dir_all(&class).expect("the folder of traces can be written");
        let path = class.join(format!("{index:04}.png"));
        image::save_buffer(path, pixels, SIDE as u32, SIDE as u32, image::ExtendedColorType::L8)
            .expect("the folder of traces can be written");
    }
}

fn save(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("the folder of traces can be written");
}

fn write_idx(folder: &Path, split: &str, side: usize, images: &[Labeled]) {
    let (count, side) = ((images.len() as u32).to_be_bytes(), (side as u32).to_be_bytes());
    let mut pixels = [&[0, 0, 8, 3], &count[..], &side, &side].concat();
    images.iter().for_each(|(image, _)| pixels.extend(image));
    save(folder, &format!("{split}-images-idx3-ubyte"), &pixels);
    let labels = images.iter().map(|(_, label)| *label);
    save(
        folder,
        &format!("{split}-labels-idx1-ubyte"),
        &[0, 0, 8, 1].into_iter().chain(count).chain(labels).collect::<Vec<u8>>(),
    );
}

/// The binary format of CIFAR-10, or of CIFAR-100 if there are more than ten classes. Each image has its own colors of
/// foreground and background.
fn write_cifar(folder: &Path, split: &str, classes: usize, images: &[Labeled], random: &mut ChaCha8Rng) {
    let mut bytes = Vec::new();
    for (pixels, label) in images {
        // CIFAR-100 has a coarse label before the fine one.
        bytes.extend((classes > 10).then_some(label / 10));
        bytes.push(*label);
        let pixels = border(pixels);
        for _ in 0..3 {
            let (front, back) = (128 + random.next_u64() % 128, random.next_u64() % 96);
            let mix = |gray: u8| (u64::from(gray) * front + (255 - u64::from(gray)) * back) / 255;
            bytes.extend(pixels.iter().map(|&gray| mix(gray) as u8));
        }
    }
    match (classes > 10, split) {
        (true, "train") => save(folder, "train.bin", &bytes),
        (true, _) => save(folder, "test.bin", &bytes),
        (false, "train") => {
            let images = bytes.chunks(bytes.len() / images.len()).collect::<Vec<_>>();
            for (number, batch) in (1..).zip(images.chunks(images.len().div_ceil(5))) {
                save(folder, &format!("data_batch_{number}.bin"), &batch.concat());
            }
        }
        (false, _) => save(folder, "test_batch.bin", &bytes),
    }
}
