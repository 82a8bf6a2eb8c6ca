//! Warnings about evaluated images: training images among them, changed images, and classes without images.

use std::{path::Path, sync::Arc};

use gradwatch::data::{Dataset, RECORD, Survey, changes, overlap, survey, survey_names};

/// Most class names to list.
const LISTED: usize = 5;

/// Warns about images that the run in `folder` was trained on, and about classes without images. If the images are the
/// run's own, `training` contains its training images; then this also warns about all changes since. Runs without a
/// record of their images get only the warning about classes.
pub(super) fn tell(folder: &Path, images: &Arc<Dataset>, training: Option<&Arc<Dataset>>) {
    tell_of_missing_classes(images);
    let record = folder.join(RECORD);
    if !record.exists() {
        return;
    }
    let [images] = survey([images]);
    if let Err(error) = compare(&record, &images, training) {
        tracing::warn!("{}: {error}; cannot tell which images the run was trained on", record.display());
    }
}

fn compare(record: &Path, images: &Survey, training: Option<&Arc<Dataset>>) -> std::io::Result<()> {
    let known = overlap(record, images)?;
    if known.images > 0 {
        let share = format!("{} of {} images", known.images, images.dataset().len());
        let first = known.first;
        match known.is_certain {
            true => {
                tracing::warn!("{share} are training images of the run, first {first}: the metrics are too optimistic")
            }
            false => tracing::warn!(
                "{share} have the name and size of training images of the run, first {first}: if they are the same \
                 images, the metrics are too optimistic"
            ),
        }
    }
    if let Some(training) = training {
        // Compares names only: their contents do not matter here and may take long to read.
        let changes = changes(record, None, [&survey_names(training), images].map(Some))?;
        if !changes.is_empty() {
            tracing::warn!("the images differ from those of the run: {changes}");
        }
    }
    Ok(())
}

fn tell_of_missing_classes(images: &Dataset) {
    let counts = images.class_counts();
    let missing = images.classes().iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(name, _)| name.as_str());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        let more = if missing.len() > LISTED { ", ..." } else { "" };
        let first = missing[..missing.len().min(LISTED)].join(", ");
        tracing::warn!("{} of {} classes have no images: {first}{more}", missing.len(), counts.len());
    }
}
