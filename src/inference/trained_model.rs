//! A model with its weights, its classes and what it wants of an image.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tch::{Device, Tensor};

use super::InferenceError;
use crate::{
    config::{Architecture, Config, ModelConfig, differences},
    data::Preprocessing,
    disk::{self, Folder},
    model::{self, Network, weights},
};

/// The names of the classes, by index: in a run's folder, and in a TorchScript file.
pub const CLASSES: &str = "classes.json";
/// What is done to an image first, as [`Preprocessing`]: likewise.
pub const PREPROCESSING: &str = "preprocessing.json";
const CONFIG: &str = "config.toml";
const WEIGHTS: &str = "weights";
/// No config and no list of classes comes near this.
const MOST_BYTES: u64 = 1 << 26;

/// Which weights of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsOf {
    /// Of the best evaluation so far.
    Best,
    /// Of the last step.
    Last,
    /// The average that the run keeps, after the last step.
    Average,
    /// Of a file that `gradwatch checkpoints --export` or this program's [`weights::save`] wrote.
    File(PathBuf),
}

impl WeightsOf {
    /// The file, for a run in `folder`.
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
                "the run has not been evaluated yet, or never is (evaluate.every_epochs = 0); take --weights last, or a checkpoint's by \
                 gradwatch checkpoints --export"
            }
            Self::Last => {
                "the run has not ended yet, or was killed; take --weights best, or a checkpoint's by gradwatch checkpoints --export"
            }
            Self::Average => "the run keeps no average of its weights (ema.decay is 0), or has not ended yet",
            Self::File(_) => "check the path",
        }
    }
}

/// A model that has been trained, ready for images.
#[derive(Debug)]
pub struct TrainedModel {
    /// The layers and their weights.
    pub network: Network,
    /// Its architecture and knobs.
    pub config: ModelConfig,
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// What it wants of an image.
    pub preprocessing: Preprocessing,
    /// Where it is.
    pub device: Device,
}

impl TrainedModel {
    /// Opens the model of a run's folder, or of a TorchScript file that has its classes and preprocessing in it; such a file is a
    /// program, and is run.
    ///
    /// # Errors
    /// Where it is neither, or anything of it is missing or damaged.
    pub fn open(path: &Path, weights: &WeightsOf, device: Device) -> Result<Self, InferenceError> {
        if path.is_file() {
            return Self::of_torchscript(path, device);
        }
        Self::of_run(path, &run_config(path, &[])?.model, weights, device)
    }

    /// The model of a run with the config's `[model]`.
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
        let classes: Vec<String> = parse(read(CLASSES)?)?;
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
        classes: Vec<String>,
        preprocessing: Preprocessing,
        device: Device,
    ) -> Result<Self, InferenceError> {
        preprocessing.scale()?;
        let network = model::build(&config, preprocessing.shape(), classes.len(), device)?;
        Ok(Self { network, config, classes, preprocessing, device })
    }

    /// Images `[n, channels, height, width]` as the model wants them, of the pixels that
    /// [`Preprocessing::decode`] gives.
    ///
    /// # Errors
    /// Where libtorch has no memory left.
    pub fn to_tensor(&self, images: &[Vec<u8>]) -> Result<Tensor, InferenceError> {
        to_tensor(&self.preprocessing, images, self.device)
    }

    /// The index of a class.
    ///
    /// # Errors
    /// Where the model does not know it.
    pub fn class(&self, name: &str) -> Result<usize, InferenceError> {
        let unknown = || InferenceError::UnknownClass { got: name.to_owned(), want: disk::list(&self.classes) };
        self.classes.iter().position(|class| class == name).ok_or_else(unknown)
    }
}

/// Images `[n, channels, height, width]` on `device`, of their pixels.
pub(crate) fn to_tensor(
    preprocessing: &Preprocessing,
    images: &[impl AsRef<[u8]>],
    device: Device,
) -> Result<Tensor, InferenceError> {
    let [channels, height, width] = preprocessing.shape().sizes();
    let values = Tensor::f_from_slice(&preprocessing.normalise(images)?)?;
    Ok(values.f_reshape([images.len() as i64, channels, height, width])?.f_to_device(device)?)
}

/// The config of a run's folder, with `overrides` of the form `table.key=value`, which may say where its files are now and how it is
/// computed with; not what was trained.
///
/// # Errors
/// If there is none, it does not read, or `overrides` say more.
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
    match differences(&trained, &config).into_iter().find(|difference| !difference.is_harmless()) {
        Some(difference) => Err(InferenceError::TrainedWith { difference }),
        None => Ok(config),
    }
}

fn elsewhere(path: &Path, cause: io::Error) -> InferenceError {
    InferenceError::Elsewhere { path: path.to_owned(), cause }
}

/// Whether a run has saved the weights at `path`, as a file of its own.
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

/// Leaves in a run's folder what a trained model needs beside its weights.
pub(crate) fn write_interface(folder: &Folder, classes: &[String], preprocessing: &Preprocessing) -> io::Result<()> {
    let texts = interface(classes, preprocessing);
    texts.into_iter().try_for_each(|(name, text)| folder.replace(name, text.as_bytes()))
}

/// The classes and the preprocessing as texts, each under its name.
pub(super) fn interface(classes: &[String], preprocessing: &Preprocessing) -> [(&'static str, String); 2] {
    // Strings and finite numbers are always JSON.
    let classes = serde_json::to_string(classes).unwrap_or_default();
    let preprocessing = serde_json::to_string(preprocessing).unwrap_or_default();
    [(CLASSES, classes), (PREPROCESSING, preprocessing)]
}
