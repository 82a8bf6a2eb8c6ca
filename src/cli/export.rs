//! `gradwatch export`: writes a trained model to a file for other programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gradwatch::disk::Output;

use super::{checkpoints::size, exit::Code, log, tell_written, trained::TrainedArguments};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// File format. safetensors: weights and buffers with the parameter names of torchvision or timm. torchscript: the
    /// model in evaluation mode, with its classes and preprocessing, for torch.jit.load in Python and C++.
    #[arg(long, value_name = "FORMAT")]
    format: ExportFormat,
    /// Output file; - is stdout.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing file once the new one is complete.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    Safetensors,
    Torchscript,
}

pub(super) fn run(arguments: &ExportArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let mut output = Output::choose(&arguments.output, arguments.force)?;
    let model = arguments.trained.open()?;
    let bytes = match arguments.format {
        ExportFormat::Safetensors => model.to_safetensors()?,
        ExportFormat::Torchscript => model.to_torchscript()?,
    };
    output.write(&bytes)?;
    let tensors = model.network.parameters.len();
    tell_written(&output, &format!("{tensors} tensors, {}", size(bytes.len() as u64)));
    Ok(Code::Success)
}
