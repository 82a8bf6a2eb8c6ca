//! The command line: one file per subcommand.

mod check;
mod checkpoints;
mod compare;
mod completions;
mod connection;
pub(crate) mod error_code;
mod evaluate;
pub(crate) mod exit;
mod explain;
mod export;
mod find_lr;
mod inspect;
mod launch;
mod layout;
mod log;
mod models;
mod predict;
mod rank_processes;
mod repair;
mod resume;
mod seen_images;
mod session;
mod study;
mod train;
mod trained;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{
    Args, Parser, Subcommand,
    builder::{RangedU64ValueParser, TypedValueParser},
};
use exit::Code;
use gradwatch::{
    cli::{DiagnoseArguments, WatchArguments, print},
    config::{Config, ConfigError, check_key_pattern, split_override},
    data::ImageShape,
    disk::Output,
    inference::CLASSES,
    printable,
};

/// Train vision models on libtorch and monitor the gradient of every parameter.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the experiment of a config file in a new run folder, logs/<run>/.
    ///
    /// The run folder contains config.toml (the resolved config), TensorBoard event files, metrics.jsonl, train.log,
    /// checkpoints, and the last and best weights as safetensors. Ctrl-C, SIGTERM, SIGQUIT, SIGUSR1 (preemption), and
    /// SIGHUP (closed terminal) save a checkpoint after the current step and end the run. A second signal ends the
    /// process at once and leaves the previous checkpoint intact; so does a signal that arrives while the data is being
    /// loaded. With nohup, a run survives its terminal.
    Train(TrainArguments),
    /// Resume a stopped or killed run from its newest valid checkpoint.
    Resume(ResumeArguments),
    /// Repair a run that ended badly, in a copy beside it, RUN-repaired. The original stays as it is.
    ///
    /// Returns to the last checkpoint from before the problem, changes a config key that [repair] allows, and trains on.
    /// Changes that do not help are undone. docs/repair.md describes it.
    Repair(RepairArguments),
    /// List, verify, export, and average the checkpoints of a run.
    Checkpoints(CheckpointsArguments),
    /// Diagnose a finished run or one in progress, or TensorBoard event files from any program.
    ///
    /// Searches the folder and its subfolders, or reads one event file. Recognizes the tags of PyTorch's SummaryWriter,
    /// tensorboardX, Lightning, Keras, and others; --tag maps unknown tags. Reports the rules that it could not check.
    Diagnose(DiagnoseArguments),
    /// Watch runs in the terminal while they train: verdict, cause, curves, layers, and speed.
    ///
    /// Reads files only, so it can be opened and closed at any time. Shows one run, or a folder of runs as a table, also
    /// runs of PyTorch, Lightning, and Keras. Press ? for the keys.
    Watch(WatchArguments),
    /// Compare runs: final metrics, config differences, findings, and, with --output, their curves on a page.
    ///
    /// Reads run folders of gradwatch, and TensorBoard event files from any program. Writes nothing but the page.
    Compare(compare::CompareArguments),
    /// Validate a config without training and print the resolved config, the data, and the model's parameters.
    Check(CheckArguments),
    /// Inspect the model before training: activations, gradients, and predictions of mean-field theory per layer.
    ///
    /// Passes a few batches through the untrained model, which takes seconds. Trains nothing and writes nothing.
    Inspect(InspectArguments),
    /// Find a learning rate: train a new model for a few steps at a rising rate, and watch the loss (range test).
    ///
    /// Uses the config's data, model, loss, optimizer, clipping, and precision. Ignores its schedule and warm-up. Suggests
    /// a peak learning rate with the reason. Writes nothing but the picture.
    FindLr(find_lr::FindLrArguments),
    /// List all models with their parameters and MACs, or show the layers of one model.
    ///
    /// MACs (multiply-accumulates) count convolutions, linear layers, and attention for one image; one MAC is two
    /// FLOPs. Allocates no weights and computes nothing.
    Models(ModelsArguments),
    /// Evaluate a trained model: loss, accuracy, precision, recall, F1, confusion matrix, and precision-recall curves.
    ///
    /// Uses the validation images of the run, or other images. Writes the results to the run folder, where TensorBoard
    /// finds them.
    Evaluate(evaluate::EvaluateArguments),
    /// Classify images.
    Predict(predict::PredictArguments),
    /// Highlight the image regions that support a class (Grad-CAM).
    Explain(explain::ExplainArguments),
    /// Export a trained model for Python and C++.
    Export(export::ExportArguments),
    /// Train the runs of a grid, several at once, and compare them.
    ///
    /// Each run is an ordinary run in logs/STUDY/RUN/. Writes results.csv, results.json, charts, a report, and the HParams
    /// page of TensorBoard. A study that was stopped or killed resumes with the same command.
    Study(study::StudyArguments),
    /// Print a shell completion script, e.g. gradwatch completions bash > /etc/bash_completion.d/gradwatch.
    Completions {
        /// Shell to generate the script for.
        shell: clap_complete::Shell,
    },
}

/// Config file and overrides.
#[derive(Debug, Args)]
struct ConfigArguments {
    /// TOML file of the experiment; configs/fashion-mnist-resnet8.toml explains every key.
    config: PathBuf,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// Config overrides.
#[derive(Debug, Args)]
struct OverrideArguments {
    /// Override a config key: --set optimizer.learning_rate=0.01. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    overrides: Vec<String>,
    /// Device: auto, cpu, cuda, or cuda:N (key run.device).
    #[arg(long)]
    device: Option<String>,
    /// Threads per CPU operation; 0 is one per core (key run.threads).
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Debug, Args)]
struct TrainArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Name of the run folder (default: config name and UTC time; with --resume auto, the config name).
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    run_name: Option<String>,
    /// auto: resume the run with this name, or start it if it does not exist; for job queues that requeue.
    #[arg(long, value_name = "WHEN", default_value = "never")]
    resume: ResumeWhen,
    #[command(flatten)]
    session: SessionArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ResumeWhen {
    Never,
    Auto,
}

/// Options of one session of a run.
#[derive(Debug, Args)]
struct SessionArguments {
    /// End the run after this many optimizer steps (key run.max_steps).
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Allow a config key to differ from the checkpoint, such as optimizer.learning_rate or optimizer.*; data.files
    /// allows other images. Keys for duration, location, and monitoring may always differ. May be repeated.
    #[arg(long = "allow-change", value_name = "KEY", value_parser = key_pattern)]
    allowed: Vec<String>,
    /// Train data-parallel in N processes on this machine, one per device; docs/distributed.md describes it. Omit it
    /// under torchrun and srun, which start the processes themselves.
    #[arg(long, value_name = "N", value_parser = counted(1024).try_map(launch::refuse_in_a_rank))]
    ranks: Option<usize>,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    /// Run folder, such as logs/NAME.
    run: PathBuf,
    #[command(flatten)]
    overrides: OverrideArguments,
    #[command(flatten)]
    session: SessionArguments,
}

#[derive(Debug, Args)]
struct RepairArguments {
    /// Run folder, such as logs/NAME.
    run: PathBuf,
    /// Show the plan only: the finding, the changes to try, and where training would resume.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    overrides: OverrideArguments,
}

#[derive(Debug, Args)]
struct CheckpointsArguments {
    /// Run folder, such as logs/NAME.
    run: PathBuf,
    /// Read every byte and report which checkpoints are valid.
    #[arg(long)]
    verify: bool,
    /// Write the weights of the newest checkpoint to a safetensors file; - is stdout.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "export")]
    force: bool,
    /// Use the checkpoint at this step instead of the newest one.
    #[arg(long, value_name = "N", requires = "export")]
    step: Option<u64>,
    /// Use the averaged weights (EMA).
    #[arg(long, requires = "export", conflicts_with = "average")]
    ema: bool,
    /// Average the weights of the last N checkpoints.
    #[arg(long, value_name = "N", requires = "export", value_parser = clap::value_parser!(u32).range(1..))]
    average: Option<u32>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Draw the first training images as the model will see them: augmented, mixed, with their classes.
    #[arg(long, value_name = "FILE.png", value_parser = clap::value_parser!(PathBuf))]
    show_batch: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "show_batch")]
    force: bool,
}

#[derive(Debug, Args)]
struct ModelsArguments {
    /// Show the layers of this model.
    name: Option<String>,
    /// Number of classes.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = counted(1_000_000))]
    classes: usize,
    /// Channels, height, and width of an image (default: the model's own input size).
    #[arg(long, value_name = "CxHxW", value_parser = models::shape)]
    input: Option<ImageShape>,
    /// Override a model key: --set model.width=64. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment, requires = "name")]
    overrides: Vec<String>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

#[derive(Debug, Args)]
struct InspectArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Number of batches to inspect.
    #[arg(long, value_name = "N", default_value = "2", value_parser = counted(1000))]
    batches: usize,
    /// Also inspect the model with each recommended change, and compare the results, best first.
    #[arg(long = "try")]
    try_changes: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TextOrJson {
    Text,
    Json,
}

/// Parses an integer from 1 to `most`.
fn counted(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// Parses a run name: one folder below `run.logdir`.
fn folder_name(name: &str) -> Result<String, &'static str> {
    match Path::new(name).file_name() {
        Some(last) if last == name => Ok(name.to_owned()),
        _ => Err("want the name of one folder, without slashes"),
    }
}

/// Parses a config override: `table.key=value`.
fn assignment(text: &str) -> Result<String, &'static str> {
    match split_override(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("want KEY=VALUE, e.g. optimizer.learning_rate=0.01"),
    }
}

/// Parses a pattern that matches at least one config key.
fn key_pattern(text: &str) -> Result<String, ConfigError> {
    check_key_pattern(text)?;
    Ok(text.to_owned())
}

impl ConfigArguments {
    /// Loads the config with all overrides applied, so that the run's copy shows the settings it trained with.
    fn load(&self, max_steps: Option<u64>) -> Result<Config> {
        let overrides = self.overrides.assignments(max_steps);
        // In the copy that a run keeps, paths and split refer to that run.
        let run = self.config.parent().filter(|folder| folder.join(CLASSES).is_file());
        Ok(match run {
            Some(folder) => Config::load_saved(&self.config, &overrides, folder)?,
            None => Config::load(&self.config, &overrides)?,
        })
    }

    /// Loads the config for an existing run with the config `saved`.
    fn load_for_run(&self, max_steps: Option<u64>, saved: &Config) -> Result<Config> {
        Ok(Config::load_for_run(&self.config, &self.overrides.assignments(max_steps), saved)?)
    }
}

impl OverrideArguments {
    /// All overrides in the form `key=value`.
    fn assignments(&self, max_steps: Option<u64>) -> Vec<String> {
        let mut assignments = self.overrides.clone();
        assignments.extend(self.device.as_ref().map(|device| format!("run.device={device}")));
        assignments.extend(self.threads.map(|threads| format!("run.threads={threads}")));
        assignments.extend(max_steps.map(|steps| format!("run.max_steps={steps}")));
        assignments
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If the subcommand fails; [`error_code::code_of`] turns the error into the exit code.
pub(crate) fn run(arguments: Arguments) -> Result<Code> {
    match arguments.command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Resume(arguments) => resume::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Checkpoints(arguments) => checkpoints::run(&arguments),
        Command::Diagnose(arguments) => Ok(arguments.run("gradwatch")?.into()),
        Command::Watch(arguments) => Ok(arguments.run()?.into()),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::FindLr(arguments) => find_lr::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Study(arguments) => study::run(&arguments),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Reports the outcome of work whose results are in files. A failed write to stdout is only a warning.
fn tell(text: &str) {
    let text = printable::lines(text);
    if let Err(error) = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::warn!("stdout cannot be written: {error}; the results are in files");
    }
}

/// Reports a written file on stdout, or on stderr if the file itself went to stdout.
fn tell_written(output: &Output, what: &str) {
    if output.is_stdout() {
        // If stderr is closed, the message is lost.
        let _ = writeln!(io::stderr(), "stdout: {}", printable::line(what));
        return;
    }
    tell(&format!("{}: {}\n", printable::path(output.path()), printable::line(what)));
}
