//! Which trained model a subcommand uses.

use std::{convert::Infallible, path::PathBuf};

use anyhow::Result;
use clap::Args;
use gradwatch::{
    config::Config,
    data::{DataError, Preprocessing},
    inference::{TrainedModel, WeightsOf, run_config},
    libtorch::resolve_device,
};

#[derive(Debug, Args)]
pub struct TrainedArguments {
    /// The run's folder, such as logs/NAME; or a TorchScript file that says what its classes are, of gradwatch export or
    /// models/export.py: it is a program, so take one whose origin you trust.
    pub run: PathBuf,
    /// Which weights of the run: best (of its evaluations), last, ema (the average that it keeps), or a safetensors file.
    #[arg(long, value_name = "WHICH", default_value = "best", value_parser = weights_of)]
    pub weights: WeightsOf,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Set a key of the run's config that says where a file is now: --set data.path=NEW or --set model.path=NEW. Can be given several
    /// times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
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
    pub fn open(&self) -> Result<TrainedModel> {
        let device = resolve_device(&self.device)?;
        if self.run.is_file() {
            return Ok(TrainedModel::open(&self.run, &self.weights, device)?);
        }
        Ok(TrainedModel::of_run(&self.run, &self.config()?.model, &self.weights, device)?)
    }

    /// The config of the run.
    pub fn config(&self) -> Result<Config> {
        Ok(run_config(&self.run, &self.overrides)?)
    }
}

/// The images of a batch of files that decode, with their paths; the others are told, and counted.
pub fn decode(
    preprocessing: &Preprocessing,
    files: &[PathBuf],
    bad: &mut usize,
) -> Result<(Vec<PathBuf>, Vec<Vec<u8>>)> {
    let (mut paths, mut images) = (Vec::new(), Vec::new());
    for (path, image) in files.iter().zip(preprocessing.decode_all(files)) {
        match image {
            Ok(image) => {
                paths.push(path.clone());
                images.push(image);
            }
            Err(DataError::BadImage { path, cause }) => {
                tracing::warn!("{} does not decode, and is left out: {cause}", path.display());
                *bad += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((paths, images))
}

/// Says how many images were left out; nothing where none was.
pub fn tell_bad(bad: usize, files: usize) {
    if bad > 0 {
        tracing::warn!("{bad} of {files} image(s) do not decode and were left out; they are named above");
    }
}
