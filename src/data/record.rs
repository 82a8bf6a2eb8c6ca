//! The data record of a run: a file with one line per image, used later to detect changes in the data.
//!
//! The first line is a [`Header`]. Each other line is one image as `[name, class index, bytes, contents]`: first the
//! training images, then the validation images, then the images that were trained on before an intended change of the
//! data. In multi-label data, a list of class indices takes the place of the class index.

use std::{
    collections::HashSet,
    fmt::Write,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{LabelSets, Survey};
use crate::disk::Folder;

/// Name of the file in the run's folder.
pub const RECORD: &str = "data.jsonl";
/// Of data with one class per image, and of multi-label data.
const FORMATS: [u32; 2] = [1, 2];
/// Upper limit for the length of a line.
const MOST_LINE_BYTES: u64 = 1 << 24;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    classes: Vec<String>,
    training: usize,
    validation: usize,
    earlier: usize,
}

#[derive(Serialize, Deserialize)]
struct Line(String, Classes, u64, Option<String>);

/// The classes of an image, as indices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Classes {
    One(u32),
    /// In multi-label data.
    Set(Vec<u32>),
}

impl Classes {
    fn of(labels: &LabelSets, set: &[u32]) -> Self {
        match set {
            [class] if !labels.is_multi_label() => Self::One(*class),
            set => Self::Set(set.to_vec()),
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(class) => std::slice::from_ref(class),
            Self::Set(classes) => classes,
        }
    }
}

/// The part of a run that an image belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Training,
    Validation,
    /// The image was trained on before an intended change of the data.
    Earlier,
}

/// An image in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub name: String,
    pub classes: Classes,
    pub bytes: u64,
    pub contents: Option<u128>,
}

impl Image {
    /// Whether two images of the same name are equal: in contents if both are known, otherwise in size.
    pub(super) fn fits(&self, bytes: u64, contents: Option<u128>) -> bool {
        self.contents.zip(contents).map_or(self.bytes == bytes, |(one, other)| one == other)
    }
}

/// The contents of a record, except for its images.
#[derive(Debug)]
pub struct Recorded {
    /// Class names, by index.
    pub classes: Vec<String>,
    /// BLAKE3 hash of the file, in hexadecimal digits.
    pub hash: String,
}

/// Builds the text of the record for these images. `before` is the record it replaces: images that were trained on
/// earlier and are no longer in the training set are carried over.
pub fn record(training: &Survey, validation: &Survey, before: Option<&Path>) -> String {
    let earlier = before.map(|path| no_longer_trained(path, training)).unwrap_or_default();
    let header = Header {
        format: FORMATS[usize::from(training.dataset().label_sets().is_multi_label())],
        classes: training.dataset().classes().to_vec(),
        training: training.dataset().len(),
        validation: validation.dataset().len(),
        earlier: earlier.len(),
    };
    // Strings and numbers always serialize to JSON.
    let mut text = serde_json::to_string(&header).unwrap_or_default();
    let surveyed = [training, validation].into_iter().flat_map(|split| {
        split.images().map(|(index, set, print)| Image {
            name: split.dataset.name(index),
            classes: Classes::of(split.dataset.label_sets(), set),
            bytes: print.bytes,
            contents: print.contents,
        })
    });
    for Image { name, classes, bytes, contents } in surveyed.chain(earlier) {
        let line = Line(name, classes, bytes, contents.map(|contents| format!("{contents:032x}")));
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", serde_json::to_string(&line).unwrap_or_default());
    }
    text.push('\n');
    text
}

/// Returns the images that were trained on according to the record at `path` and are not in `training`. Empty if the
/// record cannot be read.
fn no_longer_trained(path: &Path, training: &Survey) -> Vec<Image> {
    let contents: HashSet<u128> = training.prints.iter().filter_map(|print| print.contents).collect();
    let names: HashSet<(String, u64)> =
        training.images().map(|(index, _, print)| (training.dataset.name(index), print.bytes)).collect();
    let mut gone = Vec::new();
    let read = read(path, |part, image| {
        let is_there = match image.contents {
            Some(known) if training.has_contents => contents.contains(&known),
            _ => names.contains(&(image.name.clone(), image.bytes)),
        };
        if part != Part::Validation && !is_there {
            gone.push(image);
        }
    });
    if let Err(error) = read {
        tracing::warn!("{}: {error}; cannot tell which images were trained on before", path.display());
    }
    gone
}

/// Passes each image of the record at `path` to `see`, in order.
///
/// # Errors
/// If the file cannot be read, is damaged, or is of a later format.
pub(super) fn read(path: &Path, mut see: impl FnMut(Part, Image)) -> io::Result<Recorded> {
    let run = Folder::open(path.parent().unwrap_or(Path::new("")))?;
    let file = BufReader::new(run.open_file(path.file_name().unwrap_or_default())?);
    let mut lines = Lines { file, hasher: blake3::Hasher::new(), number: 0 };
    let header: Header = lines.next()?;
    let [.., newest] = FORMATS;
    if header.format > newest {
        return Err(lines.refuse(&format!("format {}, want at most {newest}", header.format)));
    }
    let parts =
        [(Part::Training, header.training), (Part::Validation, header.validation), (Part::Earlier, header.earlier)];
    for (part, count) in parts {
        for _ in 0..count {
            let Line(name, classes, bytes, contents) = lines.next()?;
            let contents = contents.map(|text| u128::from_str_radix(&text, 16)).transpose();
            let contents = contents.map_err(|error| lines.refuse(&error.to_string()))?;
            see(part, Image { name, classes, bytes, contents });
        }
    }
    Ok(Recorded { classes: header.classes, hash: lines.hasher.finalize().to_hex().to_string() })
}

struct Lines<R> {
    file: BufReader<R>,
    hasher: blake3::Hasher,
    number: u64,
}

impl<R: Read> Lines<R> {
    fn next<T: for<'a> Deserialize<'a>>(&mut self) -> io::Result<T> {
        self.number += 1;
        let mut line = Vec::new();
        self.file.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut line)?;
        self.hasher.update(&line);
        serde_json::from_slice(&line).map_err(|error| self.refuse(&error.to_string()))
    }

    fn refuse(&self, what: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {what}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Dataset, ImageShape, dataset::numbered_classes, survey};
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 2 };

    fn in_memory(values: &[u8]) -> Arc<Dataset> {
        let pixels = values.iter().flat_map(|value| [*value; 2]).collect();
        let labels = vec![0; values.len()];
        Arc::new(Dataset::in_memory(Path::new("here"), SHAPE, numbered_classes(1), labels, pixels).unwrap())
    }

    fn written(path: &Path, training: &[u8], validation: &[u8], before: Option<&Path>) -> String {
        let [training, validation] = survey([&in_memory(training), &in_memory(validation)]);
        let text = record(&training, &validation, before);
        std::fs::write(path, &text).unwrap();
        text
    }

    fn parts(path: &Path) -> Vec<(Part, String)> {
        let mut seen = Vec::new();
        read(path, |part, image| seen.push((part, image.name))).unwrap();
        seen
    }

    #[test]
    fn a_record_reads_back_with_the_hash_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD);
        let text = written(&path, &[3, 4], &[5], None);
        let mut images = Vec::new();
        let recorded = read(&path, |part, image| images.push((part, image))).unwrap();
        assert_eq!(recorded.hash, blake3::hash(text.as_bytes()).to_hex().as_str());
        assert_eq!(recorded.classes, ["0"]);
        let [training, validation] = survey([&in_memory(&[3, 4]), &in_memory(&[5])]);
        let of = |survey: &Survey, index: usize| survey.prints[index].contents;
        let image = |name: &str, contents| Image { name: name.into(), classes: Classes::One(0), bytes: 2, contents };
        let want = [
            (Part::Training, image("0", of(&training, 0))),
            (Part::Training, image("1", of(&training, 1))),
            (Part::Validation, image("0", of(&validation, 0))),
        ];
        assert_eq!(images, want);
    }

    #[test]
    fn a_record_of_multi_label_data_has_a_list_of_classes_and_a_format_that_earlier_versions_refuse() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD);
        let split = |sets: &[&[u32]]| {
            let (labels, pixels) = (vec![0; sets.len()], (0..2 * sets.len() as u8).collect());
            let images = Dataset::in_memory(Path::new("here"), SHAPE, numbered_classes(3), labels, pixels).unwrap();
            Arc::new(images.with_labels(sets.iter().map(|set| set.to_vec()).collect()).unwrap())
        };
        let [training, validation] = survey([&split(&[&[0, 2], &[]]), &split(&[&[1]])]);
        std::fs::write(&path, record(&training, &validation, None)).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\"format\":2,"));
        let mut seen = Vec::new();
        read(&path, |_, image| seen.push(image.classes)).unwrap();
        assert_eq!(seen, [vec![0, 2], vec![], vec![1]].map(Classes::Set));
        // The sets count for the fingerprint, and not only all labels in order.
        let other = survey([&split(&[&[0], &[2]])]);
        assert!(!other[0].fingerprint().fits(&training.fingerprint()));
    }

    #[test]
    fn what_was_trained_on_stays_known_after_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD);
        written(&path, &[3, 4], &[5], None);
        written(&path, &[4, 6], &[3], Some(&path));
        let first = [(Part::Training, "0"), (Part::Training, "1"), (Part::Validation, "0"), (Part::Earlier, "0")];
        assert_eq!(parts(&path), first.map(|(part, name)| (part, name.to_owned())));
        // 4 and 6 are removed too; 3 is trained on again.
        written(&path, &[3], &[7], Some(&path));
        let then = [(Part::Training, "0"), (Part::Validation, "0"), (Part::Earlier, "0"), (Part::Earlier, "1")];
        assert_eq!(parts(&path), then.map(|(part, name)| (part, name.to_owned())));
    }

    #[test]
    fn a_damaged_a_cut_and_a_later_record_say_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD);
        let text = written(&path, &[3, 4], &[5], None);
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path, |_, _| ()).unwrap_err().to_string()
        };
        let cut: Vec<&str> = text.lines().take(2).collect();
        assert!(message(&cut.join("\n")).starts_with("line 3: EOF"));
        assert!(message(&text.replace("[\"1\",0", "[\"1\",x")).starts_with("line 3: expected value"));
        assert_eq!(message(&text.replace("\"format\":1", "\"format\":3")), "line 1: format 3, want at most 2");
    }
}
