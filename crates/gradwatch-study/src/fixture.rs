//! Study files for tests.

use std::fs;

use tempfile::TempDir;

use crate::{Study, StudyError};

/// Config of the runs of [`study`].
pub(crate) const BASE: &str = "run = { max_steps = 8, seed = 7 }\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";

/// A study of a base with the name `base.toml`, in a folder of its own.
pub(crate) fn try_study(text: &str) -> (TempDir, Result<Study, StudyError>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("base.toml"), BASE).unwrap();
    let path = folder.path().join("depths.toml");
    fs::write(&path, text).unwrap();
    let study = Study::load(&path);
    (folder, study)
}

/// A valid study with this text after its base.
pub(crate) fn study(text: &str) -> (TempDir, Study) {
    let (folder, study) = try_study(&format!("base = \"base.toml\"\n{text}"));
    (folder, study.unwrap_or_else(|error| panic!("{error}")))
}
