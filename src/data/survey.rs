//! Surveys the images of a data set: name, class, size, and contents of each.

use std::{
    fs,
    io::Read,
    num::NonZero,
    os::unix::fs::MetadataExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::disk;

/// Files are read only if their total size is at most this many bytes.
const MOST_READ_BYTES: u64 = 1 << 30;

/// Identifies an image, in addition to its name and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Size of the file, or of the pixels; an estimate for rows of Parquet files; 0 if the file is not accessible.
    pub bytes: u64,
    /// First half of the BLAKE3 hash of the file, or of the pixels; `None` if they were not read.
    pub contents: Option<u128>,
    /// Device and inode of the file, which all links to it share.
    pub place: Option<(u64, u64)>,
}

/// The surveyed images of one split.
#[derive(Debug, Clone)]
pub struct Survey {
    pub(super) dataset: Arc<Dataset>,
    pub(super) prints: Vec<Print>,
    /// Whether contents were read.
    pub(super) has_contents: bool,
}

/// Hashes that identify the images of a split and their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// BLAKE3 of names, class indices, and sizes.
    files: String,
    /// BLAKE3 of the contents; `None` if they were not read.
    contents: Option<String>,
}

impl Fingerprint {
    /// Whether the images are equal. Contents count only if both fingerprints include them.
    pub fn fits(&self, other: &Self) -> bool {
        let contents = self.contents.as_ref().zip(other.contents.as_ref());
        self.files == other.files && contents.is_none_or(|(one, other)| one == other)
    }
}

/// Surveys the images of a data set's splits, on all cores. Pixels in memory are hashed. Files are hashed if their
/// total size is at most 1 GiB; otherwise, only names and sizes are used. A file that cannot be read is not an error
/// here; the loader reports it.
pub fn survey<const N: usize>(splits: [&Arc<Dataset>; N]) -> [Survey; N] {
    survey_up_to(MOST_READ_BYTES, splits)
}

/// Surveys names and sizes of images, and contents only of images in memory.
pub fn survey_names(images: &Arc<Dataset>) -> Survey {
    let [survey] = survey_up_to(0, [images]);
    survey
}

fn survey_up_to<const N: usize>(most_bytes: u64, splits: [&Arc<Dataset>; N]) -> [Survey; N] {
    let mut surveys = splits.map(|dataset| {
        let prints = on_all_cores(dataset.len(), |index| look_at(dataset, index));
        Survey { dataset: Arc::clone(dataset), prints, has_contents: true }
    });
    let is_of_files = |survey: &Survey| survey.dataset.is_decoded_on_demand();
    let prints = surveys.iter().filter(|survey| is_of_files(survey)).flat_map(|survey| &survey.prints);
    let bytes = prints.fold(0_u64, |sum, print| sum.saturating_add(print.bytes));
    for survey in surveys.iter_mut().filter(|survey| is_of_files(survey)) {
        survey.has_contents = bytes <= most_bytes;
        if survey.has_contents {
            let dataset = &survey.dataset;
            let contents = on_all_cores(dataset.len(), |index| contents_of(dataset, index as u32));
            survey.prints.iter_mut().zip(contents).for_each(|(print, contents)| print.contents = contents);
        }
    }
    surveys
}

/// Describes an image without reading its file.
fn look_at(dataset: &Dataset, index: usize) -> Print {
    let index = index as u32;
    if let Some(bytes) = dataset.members().and_then(|members| members.length(index as usize)) {
        return Print { bytes, contents: None, place: None };
    }
    match dataset.file(index).map(fs::metadata) {
        Some(Ok(file)) => Print { bytes: file.len(), contents: None, place: Some((file.dev(), file.ino())) },
        Some(Err(_)) => Print { bytes: 0, contents: None, place: None },
        None => {
            let pixels = dataset.image(index).unwrap_or_default();
            let mut hasher = blake3::Hasher::new();
            dataset.shape().sizes().iter().for_each(|size| _ = hasher.update(&size.to_le_bytes()));
            hasher.update(&pixels);
            Print { bytes: pixels.len() as u64, contents: Some(half(&hasher)), place: None }
        }
    }
}

fn contents_of(dataset: &Dataset, index: u32) -> Option<u128> {
    let mut hasher = blake3::Hasher::new();
    if let Some(members) = dataset.members() {
        hasher.update(&members.read(index as usize).ok()?);
        return Some(half(&hasher));
    }
    let file = disk::open_regular(&dataset.file(index)?).ok()?;
    // The file may have grown, and files in /proc are longer than their metadata says.
    hasher.update_reader(file.take(MOST_READ_BYTES)).ok()?;
    Some(half(&hasher))
}

fn half(hasher: &blake3::Hasher) -> u128 {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    u128::from_be_bytes(bytes)
}

/// Computes `of(0)` to `of(count - 1)`.
pub(super) fn on_all_cores<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    /// Images per batch of work: enough to avoid contention, few enough that all threads finish at about the same time.
    const TURN: usize = 64;
    let next = AtomicUsize::new(0);
    let turns = Mutex::new(Vec::new());
    let work = || {
        loop {
            let start = next.fetch_add(TURN, Ordering::Relaxed);
            if start >= count {
                return;
            }
            let values: Vec<T> = (start..count.min(start + TURN)).map(&of).collect();
            turns.lock().unwrap_or_else(PoisonError::into_inner).push((start, values));
        }
    };
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism().map_or(1, NonZero::get) {
            // If a thread cannot be started, the other threads do its work.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut turns = turns.into_inner().unwrap_or_else(PoisonError::into_inner);
    turns.sort_unstable_by_key(|(start, _)| *start);
    turns.into_iter().flat_map(|(_, values)| values).collect()
}

impl Survey {
    /// The surveyed data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Whether contents were read, in addition to names and sizes.
    pub fn has_contents(&self) -> bool {
        self.has_contents
    }

    /// Index, classes, and print of each image.
    pub(super) fn images(&self) -> impl Iterator<Item = (u32, &[u32], &Print)> {
        (0..).zip(self.dataset.label_sets().iter()).zip(&self.prints).map(|((index, set), print)| (index, set, print))
    }

    /// Whether the file of this index is missing, or cannot be read.
    pub(super) fn is_unreadable(&self, index: u32) -> bool {
        let Print { bytes, contents, place } = self.prints[index as usize];
        if self.has_contents { contents.is_none() } else { bytes == 0 && place.is_none() }
    }

    /// Describes the image with this index, for messages.
    pub(super) fn shown(&self, index: u32) -> String {
        self.dataset.shown(&self.dataset.name(index))
    }

    /// Hashes that identify these images and their order, independent of their location.
    pub fn fingerprint(&self) -> Fingerprint {
        let (mut files, mut contents) = (blake3::Hasher::new(), blake3::Hasher::new());
        for (index, set, print) in self.images() {
            let name = self.dataset.name(index);
            files.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            self.dataset.label_sets().hash(set, &mut files);
            files.update(&print.bytes.to_le_bytes());
            contents.update(&print.contents.unwrap_or_default().to_be_bytes());
        }
        let text = |hasher: blake3::Hasher| hasher.finalize().to_hex().to_string();
        Fingerprint { files: text(files), contents: self.has_contents.then(|| text(contents)) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{dataset::numbered_classes, fixture::write_image};
    use super::*;
    use crate::data::ImageShape;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 4, width: 4 };

    fn of_files(folder: &Path, names: &[&str]) -> Arc<Dataset> {
        let files = names.iter().map(|name| (folder.join(name), 0)).collect();
        Arc::new(Dataset::from_files(folder, SHAPE, numbered_classes(1), files).unwrap())
    }

    #[test]
    fn a_fingerprint_is_of_names_sizes_and_contents_and_not_of_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, value) in [("one/1.png", 1), ("one/2.png", 2), ("moved/1.png", 1), ("moved/2.png", 2)] {
            write_image(path(name), value);
        }
        let fingerprint = |place: &str, names: &[&str]| survey([&of_files(&path(place), names)])[0].fingerprint();
        let one = fingerprint("one", &["1.png", "2.png"]);
        assert_eq!(fingerprint("moved", &["1.png", "2.png"]), one);
        assert!(!fingerprint("moved", &["2.png", "1.png"]).fits(&one));
        // Uniform images of the same size have files of the same size.
        std::fs::rename(path("moved/2.png"), path("moved/0.png")).unwrap();
        std::fs::rename(path("moved/1.png"), path("moved/2.png")).unwrap();
        std::fs::rename(path("moved/0.png"), path("moved/1.png")).unwrap();
        let exchanged = fingerprint("moved", &["1.png", "2.png"]);
        assert!(exchanged.files == one.files && !exchanged.fits(&one));
        let [unread] = survey_up_to(10, [&of_files(&path("moved"), &["1.png", "2.png"])]);
        assert!(!unread.has_contents && unread.fingerprint().fits(&one));
        assert!(!survey_names(&of_files(&path("moved"), &["1.png"])).has_contents);
    }

    #[test]
    fn every_image_is_looked_at_whatever_the_number_of_threads() {
        let labels = vec![0; 1000];
        let pixels: Vec<u8> = (0..1000_u16).flat_map(|image| [image.to_le_bytes(); 8].concat()).collect();
        let dataset = Dataset::in_memory(Path::new("here"), SHAPE, numbered_classes(1), labels, pixels.clone());
        let [survey] = survey([&Arc::new(dataset.unwrap())]);
        for (print, pixels) in survey.prints.iter().zip(pixels.chunks(16)) {
            let sizes = [1_i64, 4, 4].map(i64::to_le_bytes).concat();
            let whole = blake3::hash(&[&sizes, pixels].concat());
            assert_eq!(print.contents.unwrap().to_be_bytes(), whole.as_bytes()[..16]);
        }
        assert_eq!(survey.prints.len(), 1000);
    }

    #[test]
    fn a_file_that_is_gone_or_no_file_is_left_to_the_loader() {
        let folder = tempfile::tempdir().unwrap();
        let [survey] = survey([&of_files(folder.path(), &["absent.png", "."])]);
        assert_eq!(survey.prints[0], Print { bytes: 0, contents: None, place: None });
        assert_eq!(survey.prints[1].contents, None);
    }
}
