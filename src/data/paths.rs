//! The paths of many files in little memory.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::name::Base;

/// Paths of files: each folder once, and all file names in one buffer. A file takes 12 bytes and its name.
#[derive(Debug)]
pub(super) struct Paths {
    base: Base,
    folders: Vec<PathBuf>,
    /// The folders as parts of names; `None` if they are empty or not UTF-8.
    folder_names: Vec<Option<String>>,
    by_path: HashMap<OsString, u32>,
    /// Index of each file's folder.
    places: Vec<u32>,
    /// End of each file's name.
    ends: Vec<usize>,
    names: Vec<u8>,
}

impl Paths {
    /// No paths yet. Their names are relative to `base`.
    pub(super) fn new(base: Base) -> Self {
        Self {
            base,
            folders: Vec::new(),
            folder_names: Vec::new(),
            by_path: HashMap::new(),
            places: Vec::new(),
            ends: Vec::new(),
            names: Vec::new(),
        }
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn push(&mut self, path: &Path) {
        // A path that ends in `..` has no file name.
        let (folder, name) = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => (folder, name),
            _ => (path, OsStr::new("")),
        };
        let last = self.places.last().copied().filter(|&last| {
            self.folders.get(last as usize).is_some_and(|known| known.as_os_str() == folder.as_os_str())
        });
        let place = last.or_else(|| self.by_path.get(folder.as_os_str()).copied()).unwrap_or_else(|| {
            // As many as files, whose number fits in 32 bits; see `Dataset::new`.
            let place = self.folders.len() as u32;
            self.folders.push(folder.to_owned());
            let is_plain = folder.to_str().is_some_and(|folder| !folder.is_empty());
            self.folder_names.push(is_plain.then(|| self.base.name_of(folder)));
            self.by_path.insert(folder.as_os_str().to_owned(), place);
            place
        });
        self.places.push(place);
        self.names.extend_from_slice(name.as_bytes());
        self.ends.push(self.names.len());
    }

    pub(super) fn get(&self, index: usize) -> Option<PathBuf> {
        let (folder, name) = self.parts(index)?;
        Some(if name.is_empty() { folder.to_owned() } else { folder.join(name) })
    }

    /// The name of a file in the data set; see [`Base::name_of`].
    pub(super) fn name(&self, index: usize) -> Option<String> {
        let folder = self.folder_names.get(*self.places.get(index)? as usize)?;
        let (_, name) = self.parts(index)?;
        Some(match (folder, name.to_str().filter(|name| !name.is_empty())) {
            (Some(folder), Some(name)) if folder.is_empty() || folder.ends_with('/') => format!("{folder}{name}"),
            (Some(folder), Some(name)) => format!("{folder}/{name}"),
            _ => self.base.name_of(&self.get(index)?),
        })
    }

    /// The paths at `indices`, in this order.
    pub(super) fn chosen(&self, indices: &[u32]) -> Self {
        let mut chosen = Self::new(self.base.clone());
        indices.iter().filter_map(|&index| self.get(index as usize)).for_each(|path| chosen.push(&path));
        chosen
    }

    /// Splits the files in two, those that are not held back and those that are, keeping their order.
    pub(super) fn dealt(self, is_held_back: &[bool]) -> (Self, Self) {
        let [mut train, mut validation] = [0, 1].map(|_| Self::new(self.base.clone()));
        for (path, &is_held) in self.iter().zip(is_held_back) {
            if is_held { &mut validation } else { &mut train }.push(&path);
        }
        (train, validation)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn parts(&self, index: usize) -> Option<(&Path, &OsStr)> {
        let folder = self.folders.get(*self.places.get(index)? as usize)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some((folder, OsStr::from_bytes(self.names.get(start..*self.ends.get(index)?)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_come_back_whatever_they_are() {
        let odd = OsStr::from_bytes(b"data/\xff/\"1\".png");
        let listed: Vec<PathBuf> = [
            "data/cat/1.png",
            "data/cat/2.png",
            "data/dog/1.png",
            "data/cat/3.png",
            "data/1.png",
            "1.png",
            "/1.png",
            "/else/where/1.png",
            "./data/cat/4.png",
            "data/./cat/5.png",
            "data/x/..",
            "..",
            "data/\u{e9}/\"2\".png",
        ]
        .into_iter()
        .map(PathBuf::from)
        .chain([PathBuf::from(odd)])
        .collect();
        for base in ["data", "", "/else", "/", "other"] {
            let base = Base::new(Path::new(base));
            let mut paths = Paths::new(base.clone());
            listed.iter().for_each(|path| paths.push(path));
            assert_eq!(paths.iter().collect::<Vec<_>>(), listed);
            for (index, path) in listed.iter().enumerate() {
                assert_eq!(paths.name(index), Some(base.name_of(path)), "{path:?} {base:?}");
            }
            let is_held_back: Vec<bool> = (0..listed.len()).map(|index| index % 3 == 1).collect();
            let held = |want: bool| {
                let pairs = listed.iter().zip(&is_held_back);
                pairs.filter(move |(_, is_held)| **is_held == want).map(|(path, _)| path.clone())
            };
            assert_eq!((paths.len(), paths.get(listed.len()), paths.name(listed.len())), (listed.len(), None, None));
            let chosen = paths.chosen(&[0, 4, 13]);
            assert!(chosen.iter().eq([0, 4, 13].map(|index| listed[index].clone())));
            assert_eq!(chosen.name(2), paths.name(13));
            let (train, validation) = paths.dealt(&is_held_back);
            assert!(train.iter().eq(held(false)) && validation.iter().eq(held(true)));
        }
    }
}
