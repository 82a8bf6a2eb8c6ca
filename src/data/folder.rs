//! A folder of images with one subfolder per class.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::layout::{self, Layout};
use super::left_out::{LeftOut, Reason};
use super::listing::{Entry, Kind, entries, file_name, images_in, is_hidden};
use super::name::Base;
use super::paths::Paths;
use super::splits::{Splits, check_not_empty};
use super::{DataError, split};
use crate::config::DataConfig;

/// Lists the images of `config.path`. If there are folders for training and for validation (or test), they are the
/// splits. Otherwise, a fraction of each class is held out for validation; see [`split::of_files`].
///
/// The classes are the names of the subfolders, sorted by bytes. A class folder may contain nested folders. One log
/// line summarizes all skipped entries.
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let root = config.path.as_path();
    let layout = if config.is_first_edition() { Layout::of_first_edition(root) } else { Layout::of(root)? };
    let mut left_out = LeftOut::default();
    let listing = match &layout {
        Layout::Splits { train, validation, test } => {
            look_beside(root, config, &layout, &mut left_out)?;
            if let (None, Some(test)) = (validation, test) {
                warn_of_test(root, &format!("{}/", file_name(test)));
            }
            let (classes, train) = list(train, config, &mut left_out)?;
            match validation.as_ref().or(test.as_ref()) {
                Some(folder) => {
                    let validation = relabel(folder, list(folder, config, &mut left_out)?, &classes)?;
                    (classes, train, validation)
                }
                None => divide((classes, train), config, seed),
            }
        }
        Layout::Classes => divide(list(root, config, &mut left_out)?, config, seed),
    };
    left_out.tell(root);
    let (classes, train, validation) = listing;
    check_not_empty([root; 2], [train.paths.len(), validation.paths.len()])?;
    let dataset = |files: Files| Ok::<_, DataError>(files.into_dataset(root, config, classes.clone())?.into());
    Ok(Splits { train: dataset(train)?, validation: dataset(validation)? })
}

/// Warns that test images are used to select the best weights.
pub(super) fn warn_of_test(root: &Path, what: &str) {
    tracing::warn!(
        "{}: using {what} for validation, because there are no validation images; it selects the best weights, so its \
         metrics are not those of unseen images; hold out some training images as val",
        root.display()
    );
}

/// Loads the test images of `config.path`, or else the validation images, if a folder with training images is next to
/// them. Otherwise, loads all images.
pub(super) fn load_unseen(config: &DataConfig) -> Result<Dataset, DataError> {
    let root = config.path.as_path();
    let folder = layout::unseen(root)?;
    let mut left_out = LeftOut::default();
    let (classes, files) = list(&folder, config, &mut left_out)?;
    left_out.tell(&folder);
    files.into_dataset(&folder, config, classes)
}

/// Images with their class indices.
struct Files {
    paths: Paths,
    labels: Vec<u32>,
}

impl Files {
    fn into_dataset(self, origin: &Path, config: &DataConfig, classes: Vec<String>) -> Result<Dataset, DataError> {
        Dataset::of_files(origin, config, classes, self.paths, self.labels.into())
    }
}

/// The class names of a folder, and its images with their class indices, sorted by path.
type Listing = (Vec<String>, Files);

fn list(root: &Path, config: &DataConfig, left_out: &mut LeftOut) -> Result<Listing, DataError> {
    let mut classes = Vec::new();
    let mut files = Files { paths: Paths::new(Base::of_config(config)), labels: Vec::new() };
    let mut lone_images = 0;
    for path in entries(root)?.into_iter().filter(|path| !is_hidden(path)) {
        match (Entry::at(&path)?, Kind::of(&path, config.edition)) {
            (Some(Entry::Folder(_)), _) => {
                let label = classes.len() as u32;
                for image in images_of_class(&path, config, left_out)? {
                    files.paths.push(&image);
                    files.labels.push(label);
                }
                classes.push(file_name(&path));
            }
            (Some(Entry::Nowhere), Kind::NotImage) if path.extension().is_none() => {
                return Err(DataError::ClassIsGone { path });
            }
            (Some(Entry::Nowhere), _) => left_out.add(Reason::Nowhere, path),
            (Some(Entry::Special), _) => left_out.add(Reason::Special, path),
            (Some(Entry::File), Kind::NotImage) => left_out.add(Reason::NotImage, path),
            (Some(Entry::File), _) => {
                lone_images += 1;
                left_out.add(Reason::Beside, path);
            }
            (None, _) => {}
        }
    }
    match (classes.is_empty(), lone_images) {
        (true, images @ 1..) => Err(DataError::NoClassFolders { path: root.to_owned(), images }),
        _ => Ok((classes, files)),
    }
}

fn images_of_class(folder: &Path, config: &DataConfig, left_out: &mut LeftOut) -> Result<Vec<PathBuf>, DataError> {
    let mut own = LeftOut::default();
    let images = images_in(folder, config.edition, &mut own)?;
    match images.is_empty() {
        true => Err(DataError::ClassWithoutImages { path: folder.to_owned(), left_out: own.addition() }),
        false => {
            left_out.take_in(own);
            left_out.count_within(folder, &images);
            Ok(images)
        }
    }
}

/// Records entries next to the folders of the splits as skipped.
fn look_beside(root: &Path, config: &DataConfig, layout: &Layout, left_out: &mut LeftOut) -> Result<(), DataError> {
    for path in entries(root)?.into_iter().filter(|path| !is_hidden(path)) {
        match (Entry::at(&path)?, Kind::of(&path, config.edition)) {
            (Some(Entry::Folder(_)), _) if !layout.has(&path) => left_out.add(Reason::OtherFolder, path),
            (Some(Entry::Nowhere), _) => left_out.add(Reason::Nowhere, path),
            (Some(Entry::Special), _) => left_out.add(Reason::Special, path),
            (Some(Entry::File), Kind::NotImage) => left_out.add(Reason::NotImage, path),
            (Some(Entry::File), _) => left_out.add(Reason::Beside, path),
            _ => {}
        }
    }
    Ok(())
}

/// Holds out a fraction of each class; see [`split::of_files`].
fn divide((classes, files): Listing, config: &DataConfig, seed: u64) -> (Vec<String>, Files, Files) {
    let Files { paths, labels } = files;
    let is_held_back = split::of_files(config, paths.iter().zip(labels.iter().copied()), seed);
    let (train_labels, validation_labels) = split::deal(labels, &is_held_back);
    let (train, validation) = paths.dealt(&is_held_back);
    let train = Files { paths: train, labels: train_labels };
    (classes, train, Files { paths: validation, labels: validation_labels })
}

/// Replaces the class indices of `listing` by indices into `classes`.
fn relabel(root: &Path, listing: Listing, classes: &[String]) -> Result<Files, DataError> {
    let (own_classes, mut files) = listing;
    // A map, because a linear search would take time quadratic in the number of classes.
    let known: HashMap<&String, u32> = classes.iter().zip(0..).collect();
    let index_of = |class: &String| {
        let unknown = || DataError::UnknownClass { path: root.to_owned(), class: class.clone() };
        known.get(class).copied().ok_or_else(unknown)
    };
    let indices = own_classes.iter().map(index_of).collect::<Result<Vec<_>, _>>()?;
    for label in &mut files.labels {
        *label = indices.get(*label as usize).copied().unwrap_or(*label);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::super::fixture::{config, write_image};
    use super::*;
    use crate::config::{Source, SplitBy};

    fn load_folder(root: &Path) -> Result<Splits, DataError> {
        load(&config(Source::Folder, root), 1)
    }

    #[test]
    fn without_a_shipped_split_each_class_is_divided() {
        let root = tempfile::tempdir().unwrap();
        for image in 0..10 {
            write_image(root.path().join(format!("cat/{image}.png")), 10);
            write_image(root.path().join(format!("ant/{image}.JPEG")), 20);
        }
        fs::write(root.path().join("cat/notes.txt"), "not an image").unwrap();
        fs::write(root.path().join("labels.csv"), "not a class").unwrap();
        fs::create_dir(root.path().join(".thumbnails")).unwrap();
        let by_position = DataConfig { split_by: SplitBy::Position, ..config(Source::Folder, root.path()) };
        let splits = load(&by_position, 1).unwrap();
        assert_eq!(splits.train.classes(), ["ant", "cat"]);
        assert_eq!(splits.train.class_counts(), [8, 8]);
        assert_eq!(splits.validation.class_counts(), [2, 2]);
        for dataset in [&splits.train, &splits.validation] {
            for (index, &label) in (0..).zip(dataset.labels()) {
                assert_eq!(dataset.image(index).unwrap().as_ref(), [[20; 64], [10; 64]][label as usize]);
            }
        }
    }

    #[test]
    fn a_file_that_comes_leaves_every_other_in_its_split() {
        let root = tempfile::tempdir().unwrap();
        for image in 0..40 {
            write_image(root.path().join(format!("cat/{image}.png")), 10);
        }
        let held = || {
            let validation = load_folder(root.path()).unwrap().validation;
            (0..validation.len() as u32).map(|index| validation.name(index)).collect::<Vec<_>>()
        };
        let before = held();
        write_image(root.path().join("aardvark/1.png"), 1);
        write_image(root.path().join("cat/.hidden.png"), 1);
        write_image(root.path().join("cat/0-first.png"), 1);
        let after = held();
        assert!(before.len() > 1);
        assert_eq!(after.into_iter().filter(|name| name != "cat/0-first.png").collect::<Vec<_>>(), before);
    }

    #[test]
    fn a_shipped_split_is_used_and_its_classes_are_those_of_training() {
        for name in ["val", "validation", "test", "Valid", "dev"] {
            let root = tempfile::tempdir().unwrap();
            for path in ["train/a/1.png", "train/b/1.bmp", "train/c/1.webp"] {
                write_image(root.path().join(path), 1);
            }
            write_image(root.path().join(name).join("c/2.png"), 1);
            let splits = load_folder(root.path()).unwrap();
            assert_eq!(splits.train.class_counts(), [1, 1, 1]);
            assert_eq!(splits.validation.labels(), [2]);
            assert_eq!(splits.validation.file(0).unwrap(), root.path().join(name).join("c/2.png"));
        }
    }

    #[test]
    fn validation_images_of_an_unknown_class_are_refused() {
        let root = tempfile::tempdir().unwrap();
        write_image(root.path().join("train/a/1.png"), 1);
        write_image(root.path().join("val/b/1.png"), 1);
        assert!(matches!(load_folder(root.path()), Err(DataError::UnknownClass { class, .. }) if class == "b"));
    }

    #[test]
    fn an_empty_class_an_empty_root_and_a_missing_root_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(load_folder(root.path()), Err(DataError::Empty { .. })));
        write_image(root.path().join("a/1.png"), 1);
        fs::create_dir(root.path().join("b")).unwrap();
        let message = load_folder(root.path()).unwrap_err().to_string();
        assert!(message.contains(root.path().join("b").to_str().unwrap()), "{message}");
        assert!(matches!(load_folder(&root.path().join("absent")), Err(DataError::Missing { .. })));
    }

    #[test]
    fn images_in_folders_of_a_class_are_of_it_but_for_runs_of_the_first_edition() {
        let root = tempfile::tempdir().unwrap();
        for path in ["cat/day/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/day/am/2.png", "dog/3.png"] {
            write_image(root.path().join(path), 1);
        }
        let splits = load_folder(root.path()).unwrap();
        assert_eq!((splits.train.class_counts(), splits.validation.class_counts()), (vec![2, 2], vec![1, 1]));
        let first =
            load(&DataConfig { edition: 1, split_by: SplitBy::Position, ..config(Source::Folder, root.path()) }, 1)
                .unwrap();
        assert_eq!((first.train.class_counts(), first.validation.class_counts()), (vec![1, 1], vec![1, 1]));
    }

    #[test]
    fn a_lone_training_folder_is_divided_and_its_classes_are_the_folders_in_it() {
        let root = tempfile::tempdir().unwrap();
        for image in 0..10 {
            write_image(root.path().join(format!("Train/cat/{image}.png")), 1);
            write_image(root.path().join(format!("Train/dog/{image}.png")), 1);
        }
        let by_position = DataConfig { split_by: SplitBy::Position, ..config(Source::Folder, root.path()) };
        let splits = load(&by_position, 1).unwrap();
        assert_eq!(splits.train.classes(), ["cat", "dog"]);
        assert_eq!((splits.train.class_counts(), splits.validation.class_counts()), (vec![8, 8], vec![2, 2]));
        assert_eq!(load_unseen(&by_position).unwrap().len(), 20);
        write_image(root.path().join("test/dog/1.png"), 1);
        let unseen = load_unseen(&by_position).unwrap();
        assert_eq!((unseen.classes(), unseen.labels()), (&["dog".to_owned()][..], &[0][..]));
    }

    #[test]
    fn images_without_class_folders_a_class_of_other_formats_and_one_that_is_gone_say_what_was_seen() {
        let message = |root: &Path| load_folder(root).unwrap_err().to_string();
        let flat = tempfile::tempdir().unwrap();
        write_image(flat.path().join("1.png"), 1);
        fs::write(flat.path().join("2.tif"), "").unwrap();
        assert!(message(flat.path()).contains("contains 2 images and no class folders: "), "{}", message(flat.path()));
        let root = tempfile::tempdir().unwrap();
        write_image(root.path().join("cat/1.png"), 1);
        fs::create_dir(root.path().join("dog")).unwrap();
        fs::write(root.path().join("dog/1.heic"), "").unwrap();
        let other = message(root.path());
        assert!(other.contains("contains no image in a supported format, only 1 entry: 1 of formats that"), "{other}");
        fs::remove_dir_all(root.path().join("dog")).unwrap();
        symlink("nowhere", root.path().join("dog")).unwrap();
        let gone = message(root.path());
        assert!(gone.contains("dog is a broken link"), "{gone}");
    }
}
