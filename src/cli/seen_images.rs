//! What is said of images that a trained model is measured on: whether it knows them, and whether they are those of its run.

use std::{path::Path, sync::Arc};

use gradwatch::data::{Dataset, RECORD, Survey, changes, overlap, survey, survey_names};

/// Names that are listed.
const LISTED: usize = 5;

/// Warns of images that the run in `folder` was trained on, and of classes without an image. `training` are given if the images are
/// the run's own: then it warns of all that have changed since. Nothing is known of runs that kept no record of their images.
pub fn tell(folder: &Path, images: &Arc<Dataset>, training: Option<&Arc<Dataset>>) {
    tell_of_missing_classes(images);
    let record = folder.join(RECORD);
    if !record.exists() {
        return;
    }
    let [images] = survey([images]);
    if let Err(error) = compare(&record, &images, training) {
        tracing::warn!("{}: {error}; it is not known which images the run was trained on", record.display());
    }
}

fn compare(record: &Path, images: &Survey, training: Option<&Arc<Dataset>>) -> std::io::Result<()> {
    let known = overlap(record, images)?;
    if known.images > 0 {
        let share = format!("{} of {} images", known.images, images.dataset().len());
        let first = known.first;
        match known.is_certain {
            true => tracing::warn!("{share} were trained on by the run, first {first}: the figures are too good"),
            false => tracing::warn!(
                "{share} have the name and size of images that the run was trained on, first {first}: if they are the same, the \
                 figures are too good"
            ),
        }
    }
    if let Some(training) = training {
        // Their contents do not matter here, and may take long to read.
        let changes = changes(record, None, [&survey_names(training), images].map(Some))?;
        if !changes.is_empty() {
            tracing::warn!("the images are not those of the run: {changes}");
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
        tracing::warn!("{} of {} classes have no image here: {first}{more}", missing.len(), counts.len());
    }
}
