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

    /// Uses the data set's own folder, or that of the manifest.
    pub(super) fn of_config(config: &DataConfig) -> Self {
        Self::new(match config.source {
            Source::Csv | Source::Webdataset => config.path.parent().unwrap_or(Path::new("")),
            _ => &config.path,
        })
    }

    /// Returns the path relative to the folder, or the full path of a file outside of it. Bytes that are not UTF-8 are
    /// escaped, so that two files never share a name.
    pub(super) fn name_of(&self, path: &Path) -> String {
        let base = if path.is_absolute() { &self.absolute } else { &self.as_given };
        let inner = path.strip_prefix(base).unwrap_or(path);
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

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

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
    fn names_that_are_not_utf8_stay_apart() {
        let base = Base::new(Path::new(""));
        let names = [&b"\xff.png"[..], b"\xfe.png"].map(|bytes| base.name_of(Path::new(OsStr::from_bytes(bytes))));
        assert_eq!(names, ["\\xff.png", "\\xfe.png"]);
    }
}
