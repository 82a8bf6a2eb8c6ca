//! The command line: one file per subcommand.

mod check;
mod completions;
pub mod exit;
mod log;
mod train;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use exit::Code;
use gradwatch::config::Config;

/// Trains vision models on libtorch and watches the gradient of every parameter while it does.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the experiment of a config file; its run lies in logs/<run>/.
    ///
    /// The run folder holds config.toml (the resolved config), event files for TensorBoard, metrics.jsonl, train.log and
    /// the last and the best weights as safetensors. Ctrl-C and SIGTERM end the run after the current step with
    /// everything on disk; a second one ends it at once.
    Train(TrainArguments),
    /// Check a config file without training: print the resolved config, the data, the model and its parameters.
    Check(CheckArguments),
    /// Print a completion script for a shell, e.g. gradwatch completions bash > /etc/bash_completion.d/gradwatch.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What names an experiment and changes it from the command line.
#[derive(Debug, Args)]
struct ConfigArguments {
    /// The TOML file of the experiment; configs/ has examples with every key explained.
    config: PathBuf,
    /// Set a key, over what the file says: --set optimizer.learning_rate=0.01. Can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Where to train: auto, cpu, cuda or cuda:N (key run.device).
    #[arg(long)]
    device: Option<String>,
    /// Threads of a CPU operation; 0 is one per core (key run.threads).
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Debug, Args)]
struct TrainArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Name of the run's folder; without it, the config's name and the time.
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    run_name: Option<String>,
    /// End after this many optimizer steps (key run.max_steps).
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

/// A run's name is one folder below `run.logdir`.
fn folder_name(name: &str) -> Result<String, &'static str> {
    match Path::new(name).file_name() {
        Some(last) if last == name => Ok(name.to_owned()),
        _ => Err("want the name of one folder, without slashes"),
    }
}

impl ConfigArguments {
    /// The config with every override in it, so that the run's own copy shows what was trained.
    fn load(&self, max_steps: Option<u64>) -> Result<Config> {
        let mut overrides = self.overrides.clone();
        overrides.extend(self.device.as_ref().map(|device| format!("run.device={device}")));
        overrides.extend(self.threads.map(|threads| format!("run.threads={threads}")));
        overrides.extend(max_steps.map(|steps| format!("run.max_steps={steps}")));
        Ok(Config::load(&self.config, &overrides)?)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever it could not do; [`exit::code_of`] turns it into the process's exit code.
pub fn run(arguments: Arguments) -> Result<Code> {
    match arguments.command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Writes to stdout. Who closes the other end (`gradwatch check ... | head`) has seen enough.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("stdout cannot be written"),
    }
}
