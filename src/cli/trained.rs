//! Options that select a trained model.

use std::{convert::Infallible, path::PathBuf};

use anyhow::Result;
use clap::Args;
use gradwatch::{
    config::Config,
    data::{DataError, Preprocessing, Samples},
    inference::{TrainedModel, WeightsOf, run_config},
    libtorch::resolve_device,
    number::count,
};

#[derive(Debug, Args)]
pub(super) struct TrainedArguments {
    /// Run folder, such as logs/NAME. predict and export also accept a TorchScript file with classes, from gradwatch
    /// export or models/export.py. A TorchScript file is a program: load only files whose origin you trust.
    pub run: PathBuf,
    /// Weights to load: best (best evaluation), last, ema (averaged weights), or a safetensors file.
    #[arg(long, value_name = "WHICH", default_value = "best", value_parser = weights_of)]
    pub weights: WeightsOf,
    /// Device: auto, cpu, cuda, or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Override a config key with the new location of a file: --set data.path=NEW or --set model.path=NEW. May be
    /// repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::assignment)]
    pub overrides: Vec<String>,
}

fn weights_of(text: &str) -> Result<WeightsOf, Infallible> {
    Ok(match text {
        "best" => WeightsOf::Best,
        "last" => WeightsOf::Last,
        "ema" => WeightsOf::Average,
        file => WeightsOf::File(file.into()),
    })
}

impl TrainedArguments {
    pub(super) fn open(&self) -> Result<TrainedModel> {
        let device = resolve_device(&self.device)?;
        if self.run.is_file() {
            return Ok(TrainedModel::open(&self.run, &self.weights, device)?);
        }
        Ok(TrainedModel::of_run(&self.run, &self.config()?.model, &self.weights, device)?)
    }

    /// Config of the run.
    pub(super) fn config(&self) -> Result<Config> {
        Ok(run_config(&self.run, &self.overrides)?)
    }
}

/// Decodes a batch of image files. Returns the images that decode, with their paths; logs and counts the others.
pub(super) fn decode(
    preprocessing: &Preprocessing,
    files: &[PathBuf],
    bad: &mut usize,
) -> Result<(Vec<PathBuf>, Vec<Samples<'static>>)> {
    let (mut paths, mut images) = (Vec::new(), Vec::new());
    for (path, image) in files.iter().zip(preprocessing.decode_all(files)) {
        match image {
            Ok(image) => {
                paths.push(path.clone());
                images.push(image);
            }
            Err(DataError::BadImage { path, cause }) => {
                tracing::warn!("{} cannot be decoded and is skipped: {cause}", path.display());
                *bad += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((paths, images))
}

/// Logs how many images were left out, if any.
pub(super) fn tell_bad(bad: usize, files: usize) {
    if bad > 0 {
        tracing::warn!(
            "skipped {bad} of {} that cannot be decoded; see the messages above",
            count(files as u64, "image")
        );
    }
}
