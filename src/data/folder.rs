//! A folder of images with one sub-folder per class.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Splits};
use super::{DataError, split};
use crate::config::DataConfig;

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
const VALIDATION_FOLDERS: [&str; 3] = ["val", "validation", "test"];

/// Lists the images of `config.path`. With the sub-folders `train` and one of `val`, `validation` or `test` (the first
/// that is there counts) the split is theirs; else a stratified share of each class is held back by `seed`.
///
/// The classes are the sub-folders' names in byte order. Files with other extensions and names that start with a dot
/// are passed over.
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let root = config.path.as_path();
    let train = root.join("train");
    let validation = VALIDATION_FOLDERS.iter().map(|name| root.join(name)).find(|folder| folder.is_dir());
    let (classes, train, validation) = match validation {
        Some(validation) if train.is_dir() => {
            let (classes, train) = list(&train)?;
            let validation = relabel(&validation, list(&validation)?, &classes)?;
            (classes, train, validation)
        }
        _ => {
            let (classes, files) = list(root)?;
            let labels: Vec<u32> = files.iter().map(|&(_, label)| label).collect();
            let (train, validation) = split::deal(files, &split::held_back(&labels, config.validation_fraction, seed));
            (classes, train, validation)
        }
    };
    Splits::from_files(root, config, classes, train, validation)
}

/// The images of `config.path` that are not in a sub-folder `train`: of `test`, `val` or `validation` beside it, or all.
pub(super) fn load_unseen(config: &DataConfig, classes: &[String]) -> Result<Dataset, DataError> {
    let root = config.path.as_path();
    let apart = || VALIDATION_FOLDERS.iter().rev().map(|name| root.join(name)).find(|folder| folder.is_dir());
    let folder = Some(root.join("train")).filter(|train| train.is_dir()).and_then(|_| apart());
    let folder = folder.as_deref().unwrap_or(root);
    Dataset::of_config(folder, config, classes.to_vec(), relabel(folder, list(folder)?, classes)?)
}

/// The class names of a folder, and its images with their class index, sorted by path.
type Listing = (Vec<String>, Vec<(PathBuf, u32)>);

fn list(root: &Path) -> Result<Listing, DataError> {
    let (mut classes, mut files) = (Vec::new(), Vec::new());
    for folder in sorted_entries(root)?.into_iter().filter(|path| path.is_dir()) {
        let label = classes.len() as u32;
        let before = files.len();
        files.extend(sorted_entries(&folder)?.into_iter().filter(|path| is_image(path)).map(|path| (path, label)));
        if files.len() == before {
            return Err(DataError::ClassWithoutImages { path: folder });
        }
        classes.push(file_name(&folder));
    }
    Ok((classes, files))
}

/// The images of `listing` with class indices of `classes` in place of its own.
fn relabel(root: &Path, listing: Listing, classes: &[String]) -> Result<Vec<(PathBuf, u32)>, DataError> {
    let (own_classes, mut files) = listing;
    // Not looked for one by one, which takes the square of the classes.
    let known: HashMap<&String, u32> = classes.iter().zip(0..).collect();
    let index_of = |class: &String| {
        let unknown = || DataError::UnknownClass { path: root.to_owned(), class: class.clone() };
        known.get(class).copied().ok_or_else(unknown)
    };
    let indices = own_classes.iter().map(index_of).collect::<Result<Vec<_>, _>>()?;
    for (_, label) in &mut files {
        *label = indices.get(*label as usize).copied().unwrap_or(*label);
    }
    Ok(files)
}

pub(super) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(|e| DataError::io(folder, e))?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort_unstable();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str()) && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{config, write_image};
    use super::*;
    use crate::config::Source;

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
        let splits = load_folder(root.path()).unwrap();
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
    fn a_shipped_split_is_used_and_its_classes_are_those_of_training() {
        for name in VALIDATION_FOLDERS {
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
}
