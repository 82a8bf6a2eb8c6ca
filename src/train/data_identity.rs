//! Which images a run is about: what its checkpoints keep of them, and the record in its folder.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Resume, TrainError};
use crate::{
    data::{self, Dataset, Fingerprint, RECORD, Survey},
    events::RunFolder,
};

/// What tells one set of images from another. Where they lie may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataIdentity {
    training_images: usize,
    validation_images: usize,
    classes: Vec<String>,
    /// BLAKE3 of the labels of training and validation images, in their order.
    labels: String,
    /// `None` in checkpoints of versions that looked at labels alone.
    #[serde(default)]
    images: Option<Images>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Images {
    training: Fingerprint,
    validation: Fingerprint,
    /// BLAKE3 of the record in the run's folder; empty until it is written.
    record: String,
}

/// The images of a run that begins or resumes, as they are now.
pub(super) struct DataNow {
    training: Survey,
    validation: Survey,
    identity: DataIdentity,
}

impl DataNow {
    /// Looks at the images of a run. If it resumes, they must be those of its checkpoint, or others must be allowed.
    ///
    /// # Errors
    /// If they are not, and others are not allowed.
    pub(super) fn look(
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
        for label in datasets.iter().flat_map(|dataset| dataset.labels()) {
            hasher.update(&label.to_le_bytes());
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

    /// Says what is odd about the images themselves.
    pub(super) fn tell(&self) {
        tell(&self.training, &self.validation);
    }

    /// Leaves the record in the run's folder. One that is there stays as it is if it is of these images, which `before` has: the
    /// identity of the checkpoint that the run resumes from.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn leave_record(
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

    /// Compares these images with those of the checkpoint that has `before`, of the run in `folder`. Others are an error, or a
    /// warning if they are allowed.
    fn check(&self, before: &DataIdentity, folder: &Path, is_allowed: bool) -> Result<(), TrainError> {
        let Some(what) = before.difference(&self.identity, Some((folder, [&self.training, &self.validation]))) else {
            return Ok(());
        };
        if !is_allowed {
            return Err(TrainError::OtherData { what });
        }
        tracing::warn!("from here on other images, as --allow-change permits: {what}");
        let overlap = data::overlap(&folder.join(RECORD), &self.validation);
        // Without a record nothing is known of it.
        if let Ok(overlap) = overlap
            && overlap.images > 0
        {
            tracing::warn!(
                "{} of {} validation images have been trained on by the run, first {}: evaluations are too good",
                overlap.images,
                self.validation.dataset().len(),
                overlap.first
            );
        }
        Ok(())
    }
}

/// Says what is odd about the images of an experiment: those that stand where they should not, and how much is known of them.
pub(super) fn tell(training: &Survey, validation: &Survey) {
    if ![training, validation].iter().all(|split| split.has_contents()) {
        tracing::info!(
            "the images are more than 1 GiB in all: the run remembers their paths and sizes, and not their contents"
        );
    }
    data::remarks(training, validation).iter().for_each(|remark| tracing::warn!("{remark}"));
}

/// BLAKE3 of the record in a run's folder; empty if it cannot be read.
fn hash_of_record(folder: &RunFolder) -> String {
    let mut hasher = blake3::Hasher::new();
    let read = folder.folder().open_file(RECORD).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.map_or_else(|_| String::new(), |()| hasher.finalize().to_hex().to_string())
}

impl DataIdentity {
    /// Images of an epoch.
    pub(super) fn training_images(&self) -> usize {
        self.training_images
    }

    /// Names of the classes, by index.
    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What sets the images of `now` apart from these, on one line. `seen` are the run's folder and the images themselves, to say
    /// which.
    fn difference(&self, now: &Self, seen: Option<(&Path, [&Survey; 2])>) -> Option<String> {
        let mut lines = Vec::new();
        let counts = |data: &Self| [data.training_images, data.validation_images, data.classes.len()];
        let [[training, validation, classes], [old_training, old_validation, old_classes]] =
            [counts(now), counts(self)];
        if counts(now) != counts(self) {
            lines.push(format!(
                "got {training} + {validation} images of {classes} classes, want {old_training} + {old_validation} images of \
                 {old_classes}"
            ));
        } else if now.classes != self.classes {
            let pair = self.classes.iter().zip(&now.classes).find(|(old, new)| old != new);
            lines.extend(pair.map(|(old, new)| format!("class {old} is {new} now")));
        }
        match (&self.images, &now.images) {
            (Some(old), Some(new)) => {
                let fits = [old.training.fits(&new.training), old.validation.fits(&new.validation)];
                if fits != [true, true] {
                    lines.extend(seen.map(|(folder, splits)| which(folder, old, fits, splits)));
                    // Without a look at them it is enough that they differ.
                    lines.extend(seen.is_none().then(String::new));
                }
            }
            _ if lines.is_empty() && now.labels != self.labels => {
                lines.push("as many images of each split, with other labels".to_owned());
            }
            _ => {}
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// Which images differ, by the record in the run's folder.
fn which(folder: &Path, old: &Images, fits: [bool; 2], splits: [&Survey; 2]) -> String {
    let path = folder.join(RECORD);
    match data::changes(&path, Some(&old.record), splits.map(Some)) {
        Ok(text) if !text.is_empty() => text,
        outcome => {
            let names = ["training", "validation"].into_iter().zip(fits).filter(|(_, fits)| !fits);
            let names = names.map(|(name, _)| name).collect::<Vec<_>>().join(" and ");
            let why = outcome.err().map(|error| format!(" (which ones is not known: {}: {error})", path.display()));
            format!("{names} images are others{}", why.unwrap_or_default())
        }
    }
}
