//! Identifies the images of a run, in its checkpoints and in the record in its folder.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Resume, TrainError};
use crate::{
    data::{self, Dataset, Fingerprint, RECORD, Survey},
    events::RunFolder,
};

/// Identity of a set of images. Does not depend on their location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataIdentity {
    training_images: usize,
    validation_images: usize,
    classes: Vec<String>,
    /// BLAKE3 of the labels of training and validation images, in order.
    labels: String,
    /// `None` in checkpoints of older versions, which stored only the labels.
    #[serde(default)]
    images: Option<Images>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Images {
    training: Fingerprint,
    validation: Fingerprint,
    /// BLAKE3 of the record in the run folder; empty until it is written.
    record: String,
}

/// Current images of a run that starts or resumes.
pub(super) struct DataNow {
    training: Survey,
    validation: Survey,
    identity: DataIdentity,
}

impl DataNow {
    /// Identifies the images of a run. If it resumes, they must match its checkpoint, or other images must be allowed.
    ///
    /// # Errors
    /// If they do not match, and other images are not allowed.
    pub(super) fn identify(
        training: &Arc<Dataset>,
        validation: &Arc<Dataset>,
        from: Option<&Resume>,
    ) -> Result<Self, TrainError> {
        let now = Self::of(data::survey([training, validation]));
        if let Some(from) = from {
            now.check(&from.host.data, from.run(), from.allows_other_images)?;
        }
        Ok(now)
    }

    fn of([training, validation]: [Survey; 2]) -> Self {
        let datasets = [&training, &validation].map(|split| split.dataset());
        let mut hasher = blake3::Hasher::new();
        for labels in datasets.iter().map(|dataset| dataset.label_sets()) {
            labels.iter().for_each(|set| labels.hash(set, &mut hasher));
        }
        let [training_images, validation_images] = datasets.map(|dataset| dataset.len());
        let identity = DataIdentity {
            training_images,
            validation_images,
            classes: datasets[0].classes().to_vec(),
            labels: hasher.finalize().to_hex().to_string(),
            images: Some(Images {
                training: training.fingerprint(),
                validation: validation.fingerprint(),
                record: String::new(),
            }),
        };
        Self { training, validation, identity }
    }

    /// Logs problems of the images.
    pub(super) fn log_remarks(&self) {
        log_remarks(&self.training, &self.validation);
    }

    /// Writes the record to the run folder, unless an existing one matches these images. `before` is the identity in
    /// the checkpoint from which the run resumes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_record(
        self,
        folder: &RunFolder,
        before: Option<&DataIdentity>,
    ) -> Result<DataIdentity, TrainError> {
        let Self { training, validation, mut identity } = self;
        let path = folder.path().join(RECORD);
        let known = before.and_then(|before| before.images.as_ref());
        let is_kept = known.is_some_and(|known| {
            before.is_some_and(|before| before.difference(&identity, None).is_none())
                && hash_of_record(folder) == known.record
        });
        let record = match known {
            Some(known) if is_kept => known.record.clone(),
            _ => {
                let text = data::record(&training, &validation, known.map(|_| path.as_path()));
                folder.write(RECORD, &text)?;
                blake3::hash(text.as_bytes()).to_hex().to_string()
            }
        };
        if let Some(images) = &mut identity.images {
            images.record = record;
        }
        Ok(identity)
    }

    /// The images in one line, for a comparison between ranks.
    pub(super) fn text(&self) -> String {
        let DataIdentity { training_images, validation_images, classes, labels, images } = &self.identity;
        let contents = serde_json::to_string(images).unwrap_or_default();
        let hash = blake3::hash(format!("{classes:?} {labels} {contents}").as_bytes()).to_hex();
        format!(
            "{training_images} + {validation_images} images of {} classes (fingerprint {})",
            classes.len(),
            &hash[..12]
        )
    }

    /// The identity, on a rank that has no run folder.
    pub(super) fn without_record(self) -> DataIdentity {
        self.identity
    }

    /// Compares these images with `before`, the identity in a checkpoint of the run in `folder`. A difference is an
    /// error, or a warning if it is allowed.
    fn check(&self, before: &DataIdentity, folder: &Path, is_allowed: bool) -> Result<(), TrainError> {
        let Some(what) = before.difference(&self.identity, Some((folder, [&self.training, &self.validation]))) else {
            return Ok(());
        };
        if !is_allowed {
            return Err(TrainError::OtherData { what });
        }
        tracing::warn!("from here on, other images (allowed by --allow-change): {what}");
        let overlap = data::overlap(&folder.join(RECORD), &self.validation);
        // Without a record, the overlap is unknown.
        if let Ok(overlap) = overlap
            && overlap.images > 0
        {
            tracing::warn!(
                "the run was trained on {} of {} validation images, first {}: evaluations are too optimistic",
                overlap.images,
                self.validation.dataset().len(),
                overlap.first
            );
        }
        Ok(())
    }
}

/// Logs problems of the images of an experiment, such as images in both splits.
pub(super) fn log_remarks(training: &Survey, validation: &Survey) {
    if ![training, validation].iter().all(|split| split.has_contents()) {
        tracing::info!(
            "the images have more than 1 GiB in total: the run records their paths and sizes, but not their contents"
        );
    }
    data::remarks(training, validation).iter().for_each(|remark| tracing::warn!("{remark}"));
}

/// BLAKE3 of the record in a run folder; empty if it cannot be read.
fn hash_of_record(folder: &RunFolder) -> String {
    let mut hasher = blake3::Hasher::new();
    let read = folder.folder().open_file(RECORD).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.map_or_else(|_| String::new(), |()| hasher.finalize().to_hex().to_string())
}

impl DataIdentity {
    /// Number of images per epoch.
    pub(super) fn training_images(&self) -> usize {
        self.training_images
    }

    /// Names of the classes, by index.
    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Describes how the images of `now` differ from these, in one line. `run` contains the run folder and the images,
    /// to name the differing ones.
    fn difference(&self, now: &Self, run: Option<(&Path, [&Survey; 2])>) -> Option<String> {
        let mut lines = Vec::new();
        let counts = |data: &Self| [data.training_images, data.validation_images, data.classes.len()];
        let [[training, validation, classes], [old_training, old_validation, old_classes]] =
            [counts(now), counts(self)];
        if counts(now) != counts(self) {
            lines.push(format!(
                "got {training} + {validation} images of {classes} classes, want {old_training} + {old_validation} \
                 images of {old_classes}"
            ));
        } else if now.classes != self.classes {
            let pair = self.classes.iter().zip(&now.classes).find(|(old, new)| old != new);
            lines.extend(pair.map(|(old, new)| format!("class {old} is now {new}")));
        }
        match (&self.images, &now.images) {
            (Some(old), Some(new)) => {
                let fits = [old.training.fits(&new.training), old.validation.fits(&new.validation)];
                if fits != [true, true] {
                    lines.extend(run.and_then(|(folder, splits)| which(folder, old, fits, splits)));
                    // Without `run`, it is enough that they differ.
                    lines.extend(run.is_none().then(String::new));
                }
            }
            _ if lines.is_empty() && now.labels != self.labels => {
                lines.push("the same number of images in each split, but other labels".to_owned());
            }
            _ => {}
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// Names the images that differ, according to the record in the run folder. `None` if all of them are the same, and only
/// sizes that are estimates differ, as after Parquet files are written again with other row groups.
fn which(folder: &Path, old: &Images, fits: [bool; 2], splits: [&Survey; 2]) -> Option<String> {
    let path = folder.join(RECORD);
    match data::changes(&path, Some(&old.record), splits.map(Some)) {
        Ok(text) => (!text.is_empty()).then_some(text),
        Err(error) => {
            let names = ["training", "validation"].into_iter().zip(fits).filter(|(_, fits)| !fits);
            let names = names.map(|(name, _)| name).collect::<Vec<_>>().join(" and ");
            Some(format!("the {names} images differ (unknown which ones: {}: {error})", path.display()))
        }
    }
}
