//! `gradwatch export`: a trained model as a file for other programs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::{checkpoints::size, exit::Code, log, print, trained::TrainedArguments};

#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// safetensors: weights and buffers under the names of torchvision or timm. torchscript: the whole model in evaluation mode, with its
    /// classes and what it wants of an image; torch.jit.load takes it, in Python and C++.
    #[arg(long, value_name = "FORMAT")]
    format: ExportFormat,
    /// The file to write; one that is there is replaced once the new one is whole.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    Safetensors,
    Torchscript,
}

pub fn run(arguments: &ExportArguments) -> Result<Code> {
    let _log = log::start(None);
    let model = arguments.trained.open()?;
    let path = &arguments.output;
    match arguments.format {
        ExportFormat::Safetensors => model.export_safetensors(path)?,
        ExportFormat::Torchscript => model.export_torchscript(path)?,
    }
    let bytes = std::fs::metadata(path).with_context(|| format!("{} cannot be looked at", path.display()))?.len();
    let tensors = model.network.parameters.len();
    print(&format!("{}: {tensors} tensors, {}\n", path.display(), size(bytes)))?;
    Ok(Code::Success)
}
