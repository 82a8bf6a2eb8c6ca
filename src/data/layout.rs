//! The layout of an image folder: class folders directly in it, or in folders such as `train/` and `val/`.

use std::path::{Path, PathBuf};

use super::DataError;
use super::listing::{Entry, Kind, entries, file_name, is_hidden};
use crate::config::DataConfig;

const TRAIN: [&str; 2] = ["train", "training"];
const VALIDATION: [&str; 5] = ["val", "validation", "valid", "dev", "eval"];
const TEST: [&str; 2] = ["test", "testing"];

/// The folders of the splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// The folders are the classes.
    Classes,
    /// The folders are splits, and the classes are one level below.
    Splits { train: PathBuf, validation: Option<PathBuf>, test: Option<PathBuf> },
}

/// Returns the split with this name, in upper or lower case; `None` for any other word.
pub(super) fn split_of(word: &str) -> Option<Split> {
    let word = word.to_lowercase();
    let splits = [(&TRAIN[..], Split::Train), (&VALIDATION, Split::Validation), (&TEST, Split::Test)];
    splits.into_iter().find(|(names, _)| names.contains(&word.as_str())).map(|(_, split)| split)
}

/// A split of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Train,
    Validation,
    Test,
}

impl Layout {
    /// Detects the layout from the names of the folders in `root` and, if necessary, from their contents.
    ///
    /// A class may be named `train` if the other folders have different names.
    pub(super) fn of(root: &Path) -> Result<Self, DataError> {
        let folders = folders(root)?;
        let train = pick(&folders, &TRAIN);
        let (validation, test) = (pick(&folders, &VALIDATION), pick(&folders, &TEST));
        let unclear = |want| DataError::UnclearLayout { path: root.to_owned(), got: names(&folders), want };
        match (train, validation, test) {
            (Some(train), None, None) if folders.len() == 1 => Ok(Self::Splits { train, validation: None, test: None }),
            (Some(train), None, None) if shares_classes(&train, &folders)? => Err(unclear(
                "rename the folder of validation images to val, or move the other folder away to split train \
                 automatically",
            )),
            (Some(train), validation, test) if validation.is_some() || test.is_some() => {
                Ok(Self::Splits { train, validation, test })
            }
            (None, Some(part), _) | (None, None, Some(part))
                if holds_folders_alone(&part)? && (folders.len() == 1 || shares_classes(&part, &folders)?) =>
            {
                Err(unclear("rename the folder of training images to train"))
            }
            _ => Ok(Self::Classes),
        }
    }

    /// The layout that versions before edition 2 detected: only these exact names, and `train` only next to another
    /// split.
    pub(super) fn of_first_edition(root: &Path) -> Self {
        let folder = |name: &str| Some(root.join(name)).filter(|folder| folder.is_dir());
        match (folder("train"), folder("val").or_else(|| folder("validation")), folder("test")) {
            (Some(train), validation, test) if validation.is_some() || test.is_some() => {
                Self::Splits { train, validation, test }
            }
            _ => Self::Classes,
        }
    }

    /// Whether the layout uses this folder.
    pub(super) fn has(&self, folder: &Path) -> bool {
        match self {
            Self::Classes => true,
            Self::Splits { train, validation, test } => {
                folder == train || [validation, test].into_iter().flatten().any(|known| known == folder)
            }
        }
    }
}

/// Returns the folder to evaluate: test images, or else validation images, which may be the only split.
pub(super) fn unseen(root: &Path) -> Result<PathBuf, DataError> {
    let folders = folders(root)?;
    let part = pick(&folders, &TEST).or_else(|| pick(&folders, &VALIDATION));
    let train = pick(&folders, &TRAIN);
    Ok(match (train, part) {
        (Some(_), Some(part)) => part,
        (None, Some(part)) if folders.len() <= 2 && holds_folders_alone(&part)? => part,
        (Some(train), None) if folders.len() == 1 => train,
        _ => root.to_owned(),
    })
}

/// Returns the first of `names` that exists, with an exact match first, then ignoring case.
fn pick(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let find = |is_it: &dyn Fn(&str, &str) -> bool| {
        names.iter().find_map(|name| folders.iter().find(|folder| is_it(&file_name(folder), name)))
    };
    find(&|folder, name| folder == name).or_else(|| find(&|folder, name| folder.to_lowercase() == name)).cloned()
}

pub(super) fn folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let visible = entries(root)?.into_iter().filter(|path| !is_hidden(path));
    Ok(visible.filter(|path| path.is_dir()).collect())
}

fn holds_folders_alone(folder: &Path) -> Result<bool, DataError> {
    let mut has_folder = false;
    for path in entries(folder)?.into_iter().filter(|path| !is_hidden(path)) {
        match (Entry::at(&path)?, Kind::of(&path, DataConfig::EDITION)) {
            (Some(Entry::Folder(_)), _) => has_folder = true,
            (Some(Entry::File), Kind::Image | Kind::OtherFormat) => return Ok(false),
            _ => {}
        }
    }
    Ok(has_folder)
}

/// Whether another folder has a subfolder with the same name as one in `part`. If so, the folders are splits of one
/// data set, not classes.
fn shares_classes(part: &Path, folders: &[PathBuf]) -> Result<bool, DataError> {
    let inner = |folder: &Path| -> Result<Vec<String>, DataError> {
        Ok(self::folders(folder)?.iter().map(|inner| file_name(inner)).collect())
    };
    let own = inner(part)?;
    for other in folders.iter().filter(|folder| *folder != part) {
        if inner(other)?.iter().any(|name| own.contains(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn names(folders: &[PathBuf]) -> String {
    crate::disk::list(&folders.iter().map(|folder| format!("{}/", file_name(folder))).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::write_image;
    use super::*;

    /// The layout of a folder with these images, as `train validation test`.
    fn layout(images: &[&str]) -> Result<String, String> {
        let root = tempfile::tempdir().unwrap();
        images.iter().for_each(|name| write_image(root.path().join(name), 1));
        let told = |layout| match layout {
            Layout::Classes => "classes".to_owned(),
            Layout::Splits { train, validation, test } => {
                let parts = [Some(train), validation, test];
                parts.map(|part| part.map_or_else(|| "-".into(), |part| file_name(&part))).join(" ")
            }
        };
        Layout::of(root.path()).map(told).map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_names_are_known_in_any_letters_and_the_shortest_counts() {
        assert_eq!(layout(&["train/a/1.png", "valid/a/1.png"]).unwrap(), "train valid -");
        assert_eq!(layout(&["Train/a/1.png", "Val/a/1.png", "TEST/a/1.png"]).unwrap(), "Train Val TEST");
        assert_eq!(layout(&["training/a/1.png", "testing/a/1.png"]).unwrap(), "training - testing");
        assert_eq!(layout(&["train/a/1.png", "dev/a/1.png", "val/a/1.png", "Val/a/1.png"]).unwrap(), "train val -");
        assert_eq!(layout(&["a/1.png", "b/1.png"]).unwrap(), "classes");
    }

    #[test]
    fn a_folder_train_alone_is_divided_and_a_class_of_that_name_is_a_class() {
        assert_eq!(layout(&["train/a/1.png", "train/b/1.png"]).unwrap(), "train - -");
        assert_eq!(layout(&["train/1.png"]).unwrap(), "train - -");
        assert_eq!(layout(&["train/1.png", "car/1.png"]).unwrap(), "classes");
        assert_eq!(layout(&["train/1.png", "test/1.png"]).unwrap(), "train - test");
        assert_eq!(layout(&["train/day/1.png", "car/night/1.png"]).unwrap(), "classes");
        assert_eq!(layout(&["test/1.png", "car/1.png"]).unwrap(), "classes");
    }

    #[test]
    fn splits_that_lack_the_other_half_say_what_was_seen_and_what_to_rename() {
        let message = layout(&["train/a/1.png", "holdout/a/1.png"]).unwrap_err();
        assert!(
            message.contains("contains holdout/, train/: rename the folder of validation images to val"),
            "{message}"
        );
        let message = layout(&["images/a/1.png", "val/a/1.png"]).unwrap_err();
        assert!(message.contains("contains images/, val/: rename the folder of training images to train"), "{message}");
        assert!(layout(&["val/a/1.png"]).is_err());
    }

    #[test]
    fn words_for_splits_are_those_of_folders() {
        assert_eq!(split_of("Training"), Some(Split::Train));
        assert_eq!(split_of("dev"), Some(Split::Validation));
        assert_eq!(split_of("TEST"), Some(Split::Test));
        assert_eq!(split_of("holdout"), None);
    }
}
