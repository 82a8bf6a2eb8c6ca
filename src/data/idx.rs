//! IDX files, the format of MNIST and Fashion-MNIST: <http://yann.lecun.com/exdb/mnist/>.
//!
//! The header consists of big-endian 32-bit numbers: the magic number (0x08 for bytes, and the rank), then one size per
//! dimension. One byte per value follows.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::dataset::check_labels;
use super::idx_classes::IdxClasses;
use super::listing::{entries, file_name};
use super::splits::Splits;
use super::{DataError, Dataset, ImageShape};
use crate::{config::DataConfig, disk};

const IMAGES: &str = "idx3-ubyte";
const LABELS: &str = "idx1-ubyte";

/// Reads training images from the `train-*` files and validation images from the `t10k-*` files, or from EMNIST's
/// `emnist-*-train-*` and `emnist-*-test-*` files.
pub(super) fn load(config: &DataConfig) -> Result<Splits, DataError> {
    let folder = config.path.as_path();
    let Names { train, test, is_letters } = Names::find(folder)?;
    let (train, test) = (Part::read(folder, &train)?, Part::read(folder, &test)?);
    if train.shape != test.shape {
        let (train, validation) = (train.shape, test.shape);
        return Err(DataError::ShapeMismatch { path: folder.to_owned(), train, validation });
    }
    let classes = match config.is_first_edition() {
        true => IdxClasses::usual(),
        false => IdxClasses::of(&train.labels, &test.labels, is_letters),
    };
    Ok(Splits { train: Arc::new(train.dataset(&classes)?), validation: Arc::new(test.dataset(&classes)?) })
}

/// Prefixes of a data set's file names.
struct Names {
    train: String,
    test: String,
    is_letters: bool,
}

impl Names {
    /// Returns MNIST's prefixes if such files exist, or if there are no files of another set.
    fn find(folder: &Path) -> Result<Self, DataError> {
        let mnist = Self { train: "train".into(), test: "t10k".into(), is_letters: false };
        if !folder.is_dir() || find(folder, &mnist.train, "images", IMAGES).is_ok() {
            return Ok(mnist);
        }
        let set = |path: &PathBuf| {
            let name = file_name(path);
            let (set, rest) = name.strip_prefix("emnist-")?.split_once("-train-images")?;
            rest.contains(IMAGES).then(|| set.to_owned())
        };
        let mut sets: Vec<String> = entries(folder)?.iter().filter_map(set).collect();
        sets.dedup();
        match &sets[..] {
            [] => Ok(mnist),
            [set] => Ok(Self {
                train: format!("emnist-{set}-train"),
                test: format!("emnist-{set}-test"),
                is_letters: set == "letters",
            }),
            _ => Err(DataError::SeveralSets { path: folder.to_owned(), got: disk::list(&sets) }),
        }
    }
}

/// The images of one split, with their labels as stored in the files.
struct Part {
    images_path: PathBuf,
    labels_path: PathBuf,
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Part {
    fn read(folder: &Path, prefix: &str) -> Result<Self, DataError> {
        let images_path = find(folder, prefix, "images", IMAGES)?;
        let labels_path = find(folder, prefix, "labels", LABELS)?;
        let ([image_count, height, width], pixels) = read_idx(&images_path)?;
        let ([label_count], labels) = read_idx(&labels_path)?;
        if image_count != label_count {
            return Err(DataError::CountMismatch {
                images: images_path,
                image_count,
                labels: labels_path,
                label_count,
            });
        }
        Ok(Self { images_path, labels_path, shape: ImageShape { channels: 1, height, width }, pixels, labels })
    }

    fn dataset(self, classes: &IdxClasses) -> Result<Dataset, DataError> {
        // A label below the first one wraps around and fails the check.
        let label = |label: u8| u32::from(label).wrapping_sub(classes.first_label);
        let labels: Vec<u32> = self.labels.into_iter().map(label).collect();
        check_labels(&self.labels_path, &labels, classes.names.len())?;
        Dataset::in_memory(&self.images_path, self.shape, classes.names.clone(), labels, self.pixels)
    }
}

/// Returns the first existing file of both spellings (`train-images-idx3-ubyte`, `train-images.idx3-ubyte`), plain or
/// gzipped.
fn find(folder: &Path, prefix: &str, content: &str, kind: &str) -> Result<PathBuf, DataError> {
    let path = |separator, suffix| folder.join(format!("{prefix}-{content}{separator}{kind}{suffix}"));
    let spellings = [path('-', ""), path('.', ""), path('-', ".gz"), path('.', ".gz")];
    spellings.into_iter().find(|path| path.exists()).ok_or_else(|| DataError::Missing { path: path('-', "") })
}

/// Reads the sizes and values of an IDX file of bytes with `RANK` dimensions.
///
/// Memory grows with the available bytes, not with the sizes in the header.
fn read_idx<const RANK: usize>(path: &Path) -> Result<([usize; RANK], Vec<u8>), DataError> {
    let file = disk::open_regular(path).map_err(|e| DataError::io(path, e))?;
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut read = |limit: u64| {
        let mut bytes = Vec::new();
        match reader.as_mut().take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(cause) if is_gzip => Err(DataError::Gzip { path: path.to_owned(), cause }),
            Err(cause) => Err(DataError::io(path, cause)),
        }
    };
    let header_bytes = 4 * (1 + RANK as u64);
    let truncated = |got: usize, want: u64| DataError::Truncated { path: path.to_owned(), got: got as u64, want };

    let header = read(header_bytes)?;
    let mut words = header.as_chunks::<4>().0.iter().map(|&bytes| u32::from_be_bytes(bytes));
    let mut next = || words.next().ok_or_else(|| truncated(header.len(), header_bytes));
    let (magic, want_magic) = (next()?, 0x0800 | RANK as u32);
    if magic != want_magic {
        return Err(DataError::WrongMagic { path: path.to_owned(), got: magic, want: want_magic });
    }
    let mut sizes = [0; RANK];
    for size in &mut sizes {
        *size = next()? as usize;
    }

    let announced = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
    let want = announced.unwrap_or(u64::MAX).saturating_add(header_bytes);
    let values = read((want - header_bytes).saturating_add(1))?;
    match (values.len() as u64 + header_bytes).cmp(&want) {
        std::cmp::Ordering::Less => Err(truncated(header.len() + values.len(), want)),
        std::cmp::Ordering::Equal => Ok((sizes, values)),
        std::cmp::Ordering::Greater => Err(DataError::TrailingBytes { path: path.to_owned(), want }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{config, gzip, idx_bytes, write_idx_set};
    use super::*;
    use crate::config::Source;

    fn load(folder: &Path) -> Result<Splits, DataError> {
        super::load(&config(Source::Idx, folder))
    }

    /// Reads a label file with these bytes.
    fn read_labels(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_idx::<1>(&path).map(|(_, labels)| labels)
    }

    #[test]
    fn both_spellings_plain_and_gzipped_give_the_same_images() {
        for (separator, is_gzip) in [("-", false), (".", false), ("-", true), (".", true)] {
            let folder = tempfile::tempdir().unwrap();
            write_idx_set(folder.path(), separator, is_gzip);
            let splits = load(folder.path()).unwrap();
            assert_eq!(splits.train.shape(), ImageShape { channels: 1, height: 2, width: 3 });
            assert_eq!(splits.train.labels(), [3, 9, 0]);
            assert_eq!(splits.train.image(1).unwrap().as_ref(), [6, 7, 8, 9, 10, 11]);
            assert_eq!(splits.validation.labels(), [1]);
            assert_eq!(splits.train.class_counts(), [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            assert_eq!(splits.train.classes().last().unwrap(), "9");
        }
    }

    #[test]
    fn a_missing_file_is_named_with_the_key_to_check() {
        let folder = tempfile::tempdir().unwrap();
        write_idx_set(folder.path(), "-", false);
        std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("t10k-labels-idx1-ubyte") && message.contains("check data.path"), "{message}");
    }

    #[test]
    fn a_short_file_says_how_many_bytes_it_has_and_should_have() {
        let whole = idx_bytes(&[5], &[0, 1, 2, 3, 4]);
        for cut in [0, 3, 6, 8, 12] {
            let want = if cut < 8 { 8 } else { 13 };
            match read_labels("labels", &whole[..cut]) {
                Err(DataError::Truncated { got, want: announced, .. }) => {
                    assert_eq!((got, announced), (cut as u64, want));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_header_that_announces_more_than_memory_is_a_truncated_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        std::fs::write(&path, idx_bytes(&[u32::MAX; 3], &[1, 2, 3])).unwrap();
        assert!(matches!(read_idx::<3>(&path), Err(DataError::Truncated { got: 19, want: u64::MAX, .. })));
    }

    #[test]
    fn surplus_bytes_another_format_and_a_damaged_gzip_are_told_apart() {
        let whole = idx_bytes(&[2], &[0, 1]);
        let longer = [whole.clone(), vec![0]].concat();
        assert!(matches!(read_labels("labels", &longer), Err(DataError::TrailingBytes { want: 10, .. })));
        let images = idx_bytes(&[1, 1, 1], &[0]);
        assert!(matches!(read_labels("labels", &images), Err(DataError::WrongMagic { got: 0x0803, want: 0x0801, .. })));
        let zipped = gzip(&whole);
        assert_eq!(read_labels("labels.gz", &zipped).unwrap(), [0, 1]);
        assert!(matches!(read_labels("labels.gz", &whole), Err(DataError::Gzip { .. })));
        let cut = &zipped[..zipped.len() - 9];
        assert!(matches!(read_labels("labels.gz", cut), Err(DataError::Gzip { .. })));
    }

    #[test]
    fn labels_must_match_the_images_in_number_and_the_classes_in_range() {
        let folder = tempfile::tempdir().unwrap();
        write_idx_set(folder.path(), "-", false);
        let labels = folder.path().join("train-labels-idx1-ubyte");
        std::fs::write(&labels, idx_bytes(&[2], &[3, 9])).unwrap();
        assert!(matches!(load(folder.path()), Err(DataError::CountMismatch { image_count: 3, label_count: 2, .. })));
        std::fs::write(&labels, idx_bytes(&[3], &[3, 10, 0])).unwrap();
        assert_eq!(
            load(folder.path()).unwrap_err().to_string(),
            format!("label 1 of {} is 10, want 0..=9: download it again or fix it", labels.display())
        );
    }

    #[test]
    fn training_and_validation_images_must_have_the_same_size() {
        let folder = tempfile::tempdir().unwrap();
        write_idx_set(folder.path(), "-", false);
        std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), idx_bytes(&[1, 2, 2], &[0; 4])).unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("1x2x3") && message.contains("1x2x2"), "{message}");
    }

    #[test]
    fn a_set_without_images_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_idx_set(folder.path(), "-", false);
        std::fs::write(folder.path().join("t10k-images-idx3-ubyte"), idx_bytes(&[0, 2, 3], &[])).unwrap();
        std::fs::write(folder.path().join("t10k-labels-idx1-ubyte"), idx_bytes(&[0], &[])).unwrap();
        assert!(matches!(load(folder.path()), Err(DataError::Empty { .. })));
    }

    #[test]
    fn letters_of_emnist_are_classes_by_name_and_two_sets_in_a_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
        let labels: Vec<u8> = (1..=26).collect();
        write("emnist-letters-train-images-idx3-ubyte.gz", gzip(&idx_bytes(&[26, 1, 1], &labels)));
        write("emnist-letters-train-labels-idx1-ubyte.gz", gzip(&idx_bytes(&[26], &labels)));
        write("emnist-letters-test-images-idx3-ubyte", idx_bytes(&[2, 1, 1], &[7, 8]));
        write("emnist-letters-test-labels-idx1-ubyte", idx_bytes(&[2], &[26, 2]));
        let splits = load(folder.path()).unwrap();
        assert_eq!((splits.train.classes().len(), splits.train.classes()[25].as_str()), (26, "z"));
        assert_eq!((splits.train.labels()[0], splits.validation.labels()), (0, &[25, 1][..]));
        // A run from an earlier version has ten numbered classes.
        let first = super::load(&DataConfig { edition: 1, ..config(Source::Idx, folder.path()) });
        assert!(matches!(first, Err(DataError::LabelOutOfRange { label: 10, classes: 10, .. })));
        write("emnist-digits-train-images-idx3-ubyte", vec![]);
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("several data sets (digits, letters)"), "{message}");
    }

    #[test]
    fn fashion_mnist_is_known_by_its_labels() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion-mnist");
        let splits = load(&folder).unwrap();
        assert_eq!(
            (splits.train.classes()[0].as_str(), splits.validation.classes()[9].as_str()),
            ("T-shirt/top", "Ankle boot")
        );
        // The first training image is an ankle boot.
        assert_eq!(splits.train.labels()[0], 9);
        let first = super::load(&DataConfig { edition: 1, ..config(Source::Idx, folder) }).unwrap();
        assert_eq!(first.train.classes()[9], "9");
    }
}
