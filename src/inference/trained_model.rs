//! A trained model with its weights, classes, and preprocessing.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use super::{InferenceError, ModelClasses, Probabilities};
use crate::{
    config::{Architecture, Config, Difference, ModelConfig, differences},
    data::{Preprocessing, Samples},
    disk::{self, Folder},
    model::{self, Network, weights},
};

/// File with the class names in index order, in a run's folder and in a TorchScript file.
pub const CLASSES: &str = "classes.json";
/// File with the image [`Preprocessing`], in a run's folder and in a TorchScript file.
pub const PREPROCESSING: &str = "preprocessing.json";
const CONFIG: &str = "config.toml";
const WEIGHTS: &str = "weights";
/// Upper limit for the size of a config or a list of classes.
const MOST_BYTES: u64 = 1 << 26;

/// Selects weights of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsOf {
    /// Weights of the best evaluation so far.
    Best,
    /// Weights after the last step.
    Last,
    /// Average of the weights, after the last step.
    Average,
    /// A file written by `gradwatch checkpoints --export` or [`weights::save`].
    File(PathBuf),
}

impl WeightsOf {
    /// Path of the weights file, for a run in `folder`.
    pub fn path(&self, folder: &Path) -> PathBuf {
        let name = match self {
            Self::Best => "best",
            Self::Last => "last",
            Self::Average => "last_ema",
            Self::File(path) => return path.clone(),
        };
        folder.join(WEIGHTS).join(format!("{name}.safetensors"))
    }

    fn why_missing(&self) -> &'static str {
        match self {
            Self::Best => {
                "the run has no evaluation yet, or none since a repair, or evaluation is off (evaluate.every_epochs = 0); use --weights last, \
                 or export a checkpoint with gradwatch checkpoints --export"
            }
            Self::Last => {
                "the run has not ended yet, or was killed; use --weights best, or export a checkpoint with gradwatch \
                 checkpoints --export"
            }
            Self::Average => "the run has no averaged weights (ema.decay is 0), or has not ended yet",
            Self::File(_) => "check the path",
        }
    }
}

/// A trained model, ready for inference.
#[derive(Debug)]
pub struct TrainedModel {
    /// Layers with their weights.
    pub network: Network,
    /// Architecture and its options.
    pub config: ModelConfig,
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// How its logits become probabilities: sigmoids if it was trained on multi-label data.
    pub probabilities: Probabilities,
    /// Image preprocessing.
    pub preprocessing: Preprocessing,
    /// Device of the model.
    pub device: Device,
}

impl TrainedModel {
    /// Opens the model of a run's folder, or of a TorchScript file that contains its classes and preprocessing. A
    /// TorchScript file is a program, and it is executed.
    ///
    /// # Errors
    /// If it is neither, or if any part is missing or damaged.
    pub fn open(path: &Path, weights: &WeightsOf, device: Device) -> Result<Self, InferenceError> {
        if path.is_file() {
            return Self::of_torchscript(path, device);
        }
        Self::of_run(path, &run_config(path, &[])?.model, weights, device)
    }

    /// Opens the model of a run, with the given `[model]` section of its config.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn of_run(
        folder: &Path,
        config: &ModelConfig,
        weights: &WeightsOf,
        device: Device,
    ) -> Result<Self, InferenceError> {
        let run = Folder::open(folder).map_err(|cause| elsewhere(folder, cause))?;
        let path = weights.path(folder);
        let is_there = match weights {
            WeightsOf::File(path) => path.is_file(),
            _ => is_in_run(&run, &path)?,
        };
        if !is_there {
            return Err(InferenceError::NoWeights { path, reason: weights.why_missing().into() });
        }
        let read = |name: &'static str| {
            let path = folder.join(name);
            match run.read_text(name, MOST_BYTES) {
                Ok(text) => Ok((text, path)),
                Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => Err(elsewhere(&path, cause)),
                Err(cause) => Err(InferenceError::Unreadable { path, cause: cause.to_string() }),
            }
        };
        let classes = parse(read(CLASSES)?)?;
        let preprocessing: Preprocessing = parse(read(PREPROCESSING)?)?;
        let model = Self::build(config.clone(), classes, preprocessing, device)?;
        weights::load(&model.network.parameters, &path)?;
        Ok(model)
    }

    fn of_torchscript(path: &Path, device: Device) -> Result<Self, InferenceError> {
        let [classes, preprocessing] = model::torchscript_texts(path, [CLASSES, PREPROCESSING])?;
        let text = |text: Option<String>, missing| match text {
            Some(text) => Ok((text, path.join(missing))),
            None => Err(InferenceError::NoExtra { path: path.to_owned(), missing }),
        };
        let classes = parse(text(classes, CLASSES)?)?;
        let preprocessing = parse(text(preprocessing, PREPROCESSING)?)?;
        let config =
            ModelConfig { path: Some(path.to_owned()), ..ModelConfig::as_published(Architecture::Torchscript) };
        Self::build(config, classes, preprocessing, device)
    }

    fn build(
        config: ModelConfig,
        ModelClasses { names: classes, probabilities }: ModelClasses,
        preprocessing: Preprocessing,
        device: Device,
    ) -> Result<Self, InferenceError> {
        preprocessing.scale()?;
        let network = model::build(&config, preprocessing.shape(), classes.len(), device)?;
        Ok(Self { network, config, classes, probabilities, preprocessing, device })
    }

    /// The classes as in `classes.json`.
    pub(super) fn model_classes(&self) -> ModelClasses {
        ModelClasses { names: self.classes.clone(), probabilities: self.probabilities }
    }

    /// Converts the pixels from [`Preprocessing::decode`] to the model's input `[n, channels, height, width]`.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn to_tensor(&self, images: &[Samples<'_>]) -> Result<Tensor, InferenceError> {
        to_tensor(&self.preprocessing, images, self.device)
    }

    /// Returns the index of a class.
    ///
    /// # Errors
    /// If the model does not have this class.
    pub fn class(&self, name: &str) -> Result<usize, InferenceError> {
        let unknown = || InferenceError::UnknownClass { got: name.to_owned(), want: disk::list(&self.classes) };
        self.classes.iter().position(|class| class == name).ok_or_else(unknown)
    }
}

/// Converts pixels to images `[n, channels, height, width]` on `device`.
pub(crate) fn to_tensor(
    preprocessing: &Preprocessing,
    images: &[Samples<'_>],
    device: Device,
) -> Result<Tensor, InferenceError> {
    let [channels, height, width] = preprocessing.shape().sizes();
    let values = Tensor::f_from_slice(&preprocessing.normalize(images)?)?;
    Ok(values.f_reshape([images.len() as i64, channels, height, width])?.f_to_device(device)?)
}

/// Reads the config of a run's folder, with `overrides` of the form `table.key=value`. Overrides may change the paths
/// of files and the execution settings, but not the trained model.
///
/// # Errors
/// If the config is missing or invalid, or if `overrides` change anything else.
pub fn run_config(folder: &Path, overrides: &[String]) -> Result<Config, InferenceError> {
    let path = folder.join(CONFIG);
    let text = match Folder::open(folder).and_then(|run| run.read_text(CONFIG, MOST_BYTES)) {
        Ok(text) => text,
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(InferenceError::NoRun { path: folder.to_owned(), missing: CONFIG });
        }
        Err(cause) => return Err(elsewhere(&path, cause)),
    };
    let name = path.display().to_string();
    let [trained, config] = [&[][..], overrides].map(|overrides| Config::parse_saved(&text, &name, overrides, folder));
    let (trained, config) = (trained?, config?);
    let is_other_model = |difference: &Difference| !difference.is_harmless() && difference.key != "data.on_bad_image";
    match differences(&trained, &config).into_iter().find(is_other_model) {
        Some(difference) => Err(InferenceError::TrainedWith { difference }),
        None => Ok(config),
    }
}

fn elsewhere(path: &Path, cause: io::Error) -> InferenceError {
    InferenceError::Elsewhere { path: path.to_owned(), cause }
}

/// Whether the run contains the weights at `path` as a regular file of its own.
fn is_in_run(run: &Folder, path: &Path) -> Result<bool, InferenceError> {
    match run.folder(WEIGHTS).and_then(|folder| folder.open_file(path.file_name().unwrap_or_default())) {
        Ok(_) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(elsewhere(path, cause)),
    }
}

fn parse<T: DeserializeOwned>((text, path): (String, PathBuf)) -> Result<T, InferenceError> {
    serde_json::from_str(&text).map_err(|error| InferenceError::Unreadable { path, cause: error.to_string() })
}

/// Writes the files that a trained model needs in addition to its weights to a run's folder.
pub(crate) fn write_interface(
    folder: &Folder,
    classes: &ModelClasses,
    preprocessing: &Preprocessing,
) -> io::Result<()> {
    let texts = interface(classes, preprocessing);
    texts.into_iter().try_for_each(|(name, text)| folder.replace(name, text.as_bytes()))
}

/// The classes and the preprocessing as JSON texts, with their file names.
pub(super) fn interface(classes: &ModelClasses, preprocessing: &Preprocessing) -> [(&'static str, String); 2] {
    // Strings and finite numbers always serialize to JSON.
    let classes = serde_json::to_string(classes).unwrap_or_default();
    let preprocessing = serde_json::to_string(preprocessing).unwrap_or_default();
    [(CLASSES, classes), (PREPROCESSING, preprocessing)]
}
