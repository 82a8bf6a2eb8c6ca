//! The binary versions of CIFAR-10 and CIFAR-100: <https://www.cs.toronto.edu/~kriz/cifar.html>.
//!
//! A file is a sequence of records without a header: label bytes, then 3 x 32 x 32 bytes of pixels.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dataset::{check_labels, numbered_classes};
use super::splits::Splits;
use super::{DataError, Dataset, ImageShape};
use crate::disk::{read_regular, read_regular_text};

/// Upper limit for the size of a file. The largest one, of CIFAR-100, has 154 MB.
const MOST_BYTES: u64 = 1 << 30;
const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// Differences between the two data sets.
#[derive(Debug)]
pub(super) struct Format {
    train: &'static [&'static str],
    test: &'static str,
    sub_folder: &'static str,
    names: &'static str,
    classes: usize,
    /// Number of label bytes before the pixels. The last one is used: CIFAR-100 stores the coarse label before the fine
    /// one.
    label_bytes: usize,
    /// A file of the Python version, and the subfolder of its archive.
    pickle: &'static str,
    pickle_folder: &'static str,
    /// Archive of the binary version.
    archive: &'static str,
}

/// CIFAR-10.
pub(super) const CIFAR10: Format = Format {
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    sub_folder: "cifar-10-batches-bin",
    names: "batches.meta.txt",
    classes: 10,
    label_bytes: 1,
    pickle: "data_batch_1",
    pickle_folder: "cifar-10-batches-py",
    archive: "cifar-10-binary.tar.gz",
};

/// CIFAR-100 with its 100 fine labels.
pub(super) const CIFAR100: Format = Format {
    train: &["train.bin"],
    test: "test.bin",
    sub_folder: "cifar-100-binary",
    names: "fine_label_names.txt",
    classes: 100,
    label_bytes: 2,
    pickle: "train",
    pickle_folder: "cifar-100-python",
    archive: "cifar-100-binary.tar.gz",
};

/// Reads the files in `folder`, or in the subfolder that the archive extracts to.
pub(super) fn load(folder: &Path, format: &Format) -> Result<Splits, DataError> {
    let unpacked = folder.join(format.sub_folder);
    let root = folder;
    let folder = if unpacked.is_dir() { &unpacked } else { folder };
    let is_there = |name: &&&str| folder.join(name).exists();
    let pickles = [root.to_owned(), root.join(format.pickle_folder)].map(|folder| folder.join(format.pickle));
    if let (None, Some(path)) = (format.train.iter().find(is_there), pickles.into_iter().find(|path| path.is_file())) {
        return Err(DataError::PythonVersion { path, archive: format.archive });
    }
    let classes = class_names(&folder.join(format.names), format.classes)?;
    let read = |files: &[&str]| -> Result<Arc<Dataset>, DataError> {
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        for file in files {
            read_file(&folder.join(file), format, &mut labels, &mut pixels)?;
        }
        Ok(Arc::new(Dataset::in_memory(folder, SHAPE, classes.clone(), labels, pixels)?))
    };
    Ok(Splits { train: read(format.train)?, validation: read(&[format.test])? })
}

fn read_file(path: &Path, format: &Format, labels: &mut Vec<u32>, pixels: &mut Vec<u8>) -> Result<(), DataError> {
    let bytes = read_regular(path, MOST_BYTES).map_err(|e| DataError::io(path, e))?;
    let record_bytes = format.label_bytes + SHAPE.values();
    let records = bytes.chunks_exact(record_bytes);
    if bytes.is_empty() || !records.remainder().is_empty() {
        let want = (bytes.len() / record_bytes + 1) * record_bytes;
        return Err(DataError::Truncated { path: path.to_owned(), got: bytes.len() as u64, want: want as u64 });
    }
    let first = labels.len();
    for (label, image) in records.filter_map(|record| record.split_at_checked(format.label_bytes)) {
        labels.extend(label.last().map(|&label| u32::from(label)));
        pixels.extend_from_slice(image);
    }
    check_labels(path, labels.get(first..).unwrap_or_default(), format.classes)
}

/// Reads one name per line. If the file is missing, the classes are numbered.
fn class_names(path: &Path, want: usize) -> Result<Vec<String>, DataError> {
    let text = match read_regular_text(path, MOST_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbered_classes(want)),
        other => other.map_err(|e| DataError::io(path, e))?,
    };
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    if names.len() == want {
        Ok(names)
    } else {
        Err(DataError::ClassNames { path: path.to_owned(), got: names.len(), want })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Records with pixels of `10 * label` in the first channel, `+ 1` in the second, and `+ 2` in the third.
    fn records(label_bytes: usize, labels: &[u8]) -> Vec<u8> {
        let record = |&label: &u8| {
            let pixels = (0..3).flat_map(move |channel| [label.wrapping_mul(10) + channel; 32 * 32]);
            // The coarse label, if any, is never a valid fine label.
            [vec![255; label_bytes - 1], vec![label]].concat().into_iter().chain(pixels)
        };
        labels.iter().flat_map(record).collect()
    }

    fn write_cifar10(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for number in 1..=5 {
            fs::write(folder.join(format!("data_batch_{number}.bin")), records(1, &[number, 0])).unwrap();
        }
        fs::write(folder.join("test_batch.bin"), records(1, &[7])).unwrap();
    }

    #[test]
    fn cifar10_is_found_in_the_folder_and_in_its_sub_folder() {
        for sub_folder in ["", "cifar-10-batches-bin"] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join(sub_folder);
            write_cifar10(&folder);
            let splits = load(root.path(), &CIFAR10).unwrap();
            assert_eq!(splits.train.labels(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
            assert_eq!(splits.validation.labels(), [7]);
            let image = splits.train.image(2).unwrap();
            assert_eq!([image[0], image[1024], image[3071]], [20, 21, 22]);
            assert_eq!(splits.train.classes()[9], "9");
            let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
            fs::write(folder.join("batches.meta.txt"), names).unwrap();
            assert_eq!(load(root.path(), &CIFAR10).unwrap().train.classes()[9], "truck");
        }
    }

    #[test]
    fn cifar100_takes_the_fine_label() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train.bin"), records(2, &[99, 4])).unwrap();
        fs::write(folder.path().join("test.bin"), records(2, &[0])).unwrap();
        let splits = load(folder.path(), &CIFAR100).unwrap();
        assert_eq!(splits.train.labels(), [99, 4]);
        assert_eq!(splits.train.image(1).unwrap()[0], 40);
        assert_eq!(splits.train.classes().len(), 100);
    }

    #[test]
    fn a_cut_file_a_wrong_label_and_a_wrong_number_of_names_are_named() {
        let folder = tempfile::tempdir().unwrap();
        write_cifar10(folder.path());
        let path = folder.path().join("data_batch_3.bin");
        fs::write(&path, &records(1, &[1, 2])[..6000]).unwrap();
        let message = load(folder.path(), &CIFAR10).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin") && message.contains("got 6000 bytes, want 6146"), "{message}");
        fs::write(&path, records(1, &[1, 10])).unwrap();
        let message = load(folder.path(), &CIFAR10).unwrap_err().to_string();
        assert!(message.contains("label 1 of") && message.contains("data_batch_3.bin is 10, want 0..=9"), "{message}");
        fs::write(folder.path().join("batches.meta.txt"), "cat\n").unwrap();
        assert!(matches!(load(folder.path(), &CIFAR10), Err(DataError::ClassNames { got: 1, want: 10, .. })));
    }

    #[test]
    fn a_missing_batch_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = load(folder.path(), &CIFAR10).unwrap_err().to_string();
        assert!(message.contains("data_batch_1.bin does not exist"), "{message}");
    }

    #[test]
    fn the_version_for_python_is_told_with_what_to_fetch_instead() {
        for (path, format) in [("cifar-10-batches-py/data_batch_1", CIFAR10), ("train", CIFAR100)] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            fs::write(folder.path().join(path), "a pickle").unwrap();
            let message = load(folder.path(), &format).unwrap_err().to_string();
            assert!(message.contains(path) && message.contains(format.archive), "{message}");
        }
    }
}
