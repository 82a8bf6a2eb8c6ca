//! Names of image files, independent of the location of their data set.

use std::path::{Component, Path, PathBuf, absolute};

use crate::config::{DataConfig, Source};

/// The folder that file names in a data set are relative to.
#[derive(Debug, Clone)]
pub(super) struct Base {
    as_given: PathBuf,
    absolute: PathBuf,
}

impl Base {
    pub(super) fn new(folder: &Path) -> Self {
        let absolute = absolute(folder).or_else(|_| std::env::current_dir()).unwrap_or_default();
        Self { as_given: folder.to_owned(), absolute }
    }

    /// Uses the data set's own folder, or that of the manifest or the shards. If validation files are elsewhere, uses
    /// the innermost folder of both.
    pub(super) fn of_config(config: &DataConfig) -> Self {
        let folder = |path: &Path| match config.source {
            Source::Csv | Source::Webdataset => path.parent().unwrap_or(Path::new("")).to_owned(),
            Source::Parquet if !path.is_dir() => path.parent().unwrap_or(Path::new("")).to_owned(),
            _ => path.to_owned(),
        };
        let own = folder(&config.path);
        match config.validation_path.as_deref().map(folder) {
            Some(other) if other.is_absolute() == own.is_absolute() => Self::new(&shared(&own, &other)),
            Some(other) => Self::new(&shared(&absolute(&own).unwrap_or(own), &absolute(&other).unwrap_or(other))),
            None => Self::new(&own),
        }
    }

    /// Returns the path relative to the folder, or the full path of a file outside of it. Bytes that are not UTF-8 are
    /// escaped, so that two files never share a name.
    pub(super) fn name_of(&self, path: &Path) -> String {
        let whole = if self.as_given.is_absolute() { absolute(path).unwrap_or_default() } else { path.to_owned() };
        let base = if whole.is_absolute() { &self.absolute } else { &self.as_given };
        let inner = whole.strip_prefix(base).unwrap_or(path);
        let clean: PathBuf = inner.components().filter(|part| *part != Component::CurDir).collect();
        match clean.into_os_string().into_string() {
            Ok(name) => name,
            Err(bytes) => bytes.as_encoded_bytes().escape_ascii().to_string(),
        }
    }

    /// Current or former path of the file with this name, for messages.
    pub(super) fn shown(&self, name: &str) -> String {
        self.as_given.join(name).display().to_string()
    }
}

/// The innermost folder that contains both.
fn shared(one: &Path, other: &Path) -> PathBuf {
    let pairs = one.components().zip(other.components());
    pairs.take_while(|(one, other)| one == other).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::super::fixture::config;
    use super::*;

    #[test]
    fn a_name_does_not_depend_on_where_the_set_lies_nor_on_how_its_folder_is_written() {
        let here = std::env::current_dir().unwrap();
        for folder in ["data", "./data", "", "/elsewhere/data"] {
            let base = Base::new(Path::new(folder));
            assert_eq!(base.name_of(&Path::new(folder).join("cat/1.png")), "cat/1.png", "{folder}");
            assert_eq!(base.name_of(&Path::new(folder).join("./cat/./1.png")), "cat/1.png", "{folder}");
            assert_eq!(base.name_of(&here.join(folder).join("cat/1.png")), "cat/1.png", "{folder}");
            assert_eq!(base.name_of(Path::new("/other/1.png")), "/other/1.png");
        }
        assert_eq!(Base::new(Path::new("data")).shown("cat/1.png"), "data/cat/1.png");
    }

    #[test]
    fn names_of_validation_files_do_not_depend_on_where_they_lie_either() {
        let here = std::env::current_dir().unwrap();
        let name = |path: PathBuf, validation: PathBuf, file: &Path| {
            let config = DataConfig { validation_path: Some(validation), ..config(Source::Webdataset, path) };
            Base::of_config(&config).name_of(file)
        };
        for root in [PathBuf::from("wd"), here.join("wd"), PathBuf::from(""), PathBuf::from("/elsewhere/wd")] {
            let (path, validation) = (root.join("a/s-{0..3}.tar"), root.join("b/s.tar"));
            assert_eq!(name(path.clone(), validation.clone(), &root.join("a/s-1.tar/7.png")), "a/s-1.tar/7.png");
            assert_eq!(name(path, validation, &root.join("b/s.tar/7.png")), "b/s.tar/7.png");
        }
        // One of them relative to the working directory.
        let (path, validation) = (PathBuf::from("wd/a/s.tar"), here.join("wd/b/s.tar"));
        for file in [PathBuf::from("wd/a/s.tar/7.png"), here.join("wd/a/s.tar/7.png")] {
            assert_eq!(name(path.clone(), validation.clone(), &file), "a/s.tar/7.png");
        }
        // In one folder, as without validation files.
        assert_eq!(name("wd/t.tar".into(), "wd/v.tar".into(), Path::new("wd/v.tar/1.png")), "v.tar/1.png");
    }

    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        let base = Base::new(Path::new(""));
        let names = [&b"\xff.png"[..], b"\xfe.png"].map(|bytes| base.name_of(Path::new(OsStr::from_bytes(bytes))));
        assert_eq!(names, ["\\xff.png", "\\xfe.png"]);
    }
}
