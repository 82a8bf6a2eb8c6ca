//! Checks for missing images of a manifest before training, and reports all of them at once.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::{DataError, Dataset, ManifestError};
use crate::config::{DataConfig, OnBadImage, Source};

/// Checks that the files listed in the manifest of a `csv` data set exist, without opening them. Missing files are an
/// error, or are reported in one line and counted as bad images. Other sources need no check, because they list
/// existing files.
///
/// # Errors
/// [`ManifestError::MissingImages`] with [`OnBadImage::Stop`].
pub fn check_listed(config: &DataConfig, datasets: &[&Arc<Dataset>]) -> Result<(), DataError> {
    if config.source != Source::Csv {
        return Ok(());
    }
    let (mut count, mut first): (usize, Option<(PathBuf, Error)>) = (0, None);
    for dataset in datasets {
        let mut missing = Vec::new();
        for index in (0..).take(dataset.len()) {
            let Some(path) = dataset.file(index) else { continue };
            let cause = match fs::metadata(&path) {
                Ok(found) if found.is_file() => continue,
                Ok(_) => Error::new(ErrorKind::InvalidInput, "it is not a regular file"),
                Err(cause) => cause,
            };
            first.get_or_insert((path, cause));
            missing.push(index);
        }
        count += missing.len();
        dataset.mark_bad(missing);
    }
    let of = datasets.iter().map(|dataset| dataset.len()).sum();
    let path = config.path.clone();
    match (first, config.on_bad_image) {
        (None, _) => Ok(()),
        (Some((first, cause)), OnBadImage::Stop) => {
            Err(ManifestError::MissingImages { path, count, of, first, cause }.into())
        }
        (Some((first, cause)), OnBadImage::Skip) => {
            let (path, first) = (path.display(), first.display());
            tracing::warn!("{path}: {count} of {of} images cannot be read and are skipped, first {first}: {cause}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{config, write_image};
    use super::super::load;
    use super::*;

    #[test]
    fn files_that_are_missing_or_no_files_are_told_at_once_or_counted_as_bad() {
        let folder = tempfile::tempdir().unwrap();
        write_image(folder.path().join("1.png"), 1);
        write_image(folder.path().join("3.png"), 1);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("2.png")).unwrap();
        let manifest = folder.path().join("labels.csv");
        let rows = "path,label,split\n1.png,x,train\n2.png,x,train\n3.png,x,val\n4.png,x,val\n";
        fs::write(&manifest, rows).unwrap();
        let stop = config(Source::Csv, &manifest);
        let checked = |config: &DataConfig| {
            let splits = load(config, 1).unwrap();
            check_listed(config, &[&splits.train, &splits.validation]).map(|()| splits)
        };
        let message = checked(&stop).unwrap_err().to_string();
        let want = format!("labels.csv: 2 of 4 images cannot be read, first {}", folder.path().join("2.png").display());
        assert!(message.contains(&want) && message.contains("it is not a regular file"), "{message}");
        let skip = DataConfig { on_bad_image: OnBadImage::Skip, ..stop };
        let splits = checked(&skip).unwrap();
        assert_eq!((splits.train.len(), splits.validation.len()), (2, 2));
        assert_eq!((splits.train.bad_images(), splits.validation.bad_images()), (vec![1], vec![1]));
    }
}
