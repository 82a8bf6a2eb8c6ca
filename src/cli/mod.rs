//! The command line: one file per subcommand.

mod check;
mod checkpoints;
mod completions;
mod diagnose;
mod evaluate;
pub mod exit;
mod explain;
mod export;
mod inspect;
mod log;
mod models;
mod predict;
mod report;
mod resume;
mod seen_images;
mod session;
mod train;
mod trained;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser},
};
use exit::Code;
use gradwatch::{
    config::{Config, RuleSetName, Severity},
    data::ImageShape,
    disk::Output,
    inference::CLASSES,
    printable,
    replay::{ReplayError, TagPatterns},
};

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
    /// The run folder holds config.toml (the resolved config), event files for TensorBoard, metrics.jsonl, train.log,
    /// checkpoints, and the last and the best weights as safetensors. Ctrl-C, SIGTERM, SIGQUIT, SIGUSR1 (preemption) and
    /// SIGHUP (a closed terminal) end the run after the current step with a checkpoint; a second one ends it at once, with the
    /// checkpoint before intact, and so does the first while the data is still looked for and read. Under nohup a run outlives its terminal.
    Train(TrainArguments),
    /// Go on with a run that was stopped or killed, from its newest whole checkpoint, as if it had never stopped.
    Resume(ResumeArguments),
    /// List, verify, export and average the checkpoints of a run.
    Checkpoints(CheckpointsArguments),
    /// Say what is wrong with a run: finished or running, of this program or of any that writes TensorBoard event files.
    ///
    /// Looks into the folder and below it, or at one event file. Files of PyTorch's SummaryWriter, tensorboardX, Lightning, Keras and others are read by
    /// the names of their tags, which --tag can name; what could not be judged is said.
    Diagnose(DiagnoseArguments),
    /// Check a config file without training: print the resolved config, the data, the model and its parameters.
    Check(CheckArguments),
    /// Look at the model before training, in seconds: activations, gradients and what theory expects of them, layer by layer.
    ///
    /// A few batches go through the model as it was drawn; nothing is trained and nothing is written.
    Inspect(InspectArguments),
    /// List the models with their parameters and multiplications, or show the layers of one.
    ///
    /// Multiplications (MACs) are those of convolutions, linear layers and attention for one image; one of them is two FLOPs.
    /// No weights are drawn and nothing is multiplied.
    Models(ModelsArguments),
    /// Measure a trained model: loss, accuracy, precision, recall, F1, confusion matrix, curves of precision and recall.
    ///
    /// On the validation images of the run, or on others; the results lie in the run's folder, where TensorBoard finds them.
    Evaluate(evaluate::EvaluateArguments),
    /// Say what a trained model takes images for.
    Predict(predict::PredictArguments),
    /// Draw which places of an image speak for a class (Grad-CAM).
    Explain(explain::ExplainArguments),
    /// Write a trained model as a file for Python and C++.
    Export(export::ExportArguments),
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
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// What changes an experiment from the command line.
#[derive(Debug, Args)]
struct OverrideArguments {
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
    /// Name of the run's folder; without it, the config's name and the time (with --resume auto, the config's name).
    #[arg(long, value_name = "NAME", value_parser = folder_name)]
    run_name: Option<String>,
    /// auto: go on where the run of this name has stopped, or start it; what a cluster that requeues wants.
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

/// What a session of a run adds to its experiment.
#[derive(Debug, Args)]
struct SessionArguments {
    /// End after this many optimizer steps (key run.max_steps).
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// A key of the config that may differ from the checkpoint's: optimizer.learning_rate, or optimizer.*. data.files permits other
    /// images. Keys that only say how long, where and how closely watched the run trains always may. Can be given several times.
    #[arg(long = "allow-change", value_name = "KEY")]
    allowed: Vec<String>,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    /// The run's folder, such as logs/NAME.
    run: PathBuf,
    #[command(flatten)]
    overrides: OverrideArguments,
    #[command(flatten)]
    session: SessionArguments,
}

#[derive(Debug, Args)]
struct CheckpointsArguments {
    /// The run's folder, such as logs/NAME.
    run: PathBuf,
    /// Read every byte and say which checkpoints are whole.
    #[arg(long)]
    verify: bool,
    /// Write the weights of the newest checkpoint as a safetensors file; - is stdout.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "export")]
    force: bool,
    /// Of the checkpoint at this step, instead of the newest.
    #[arg(long, value_name = "N", requires = "export")]
    step: Option<u64>,
    /// The average of the weights that the run kept (its EMA).
    #[arg(long, requires = "export", conflicts_with = "average")]
    ema: bool,
    /// The mean of the weights of the last N checkpoints.
    #[arg(long, value_name = "N", requires = "export", value_parser = clap::value_parser!(u32).range(1..))]
    average: Option<u32>,
}

#[derive(Debug, Args)]
struct DiagnoseArguments {
    /// A run's folder, such as logs/NAME, one with several, or an event file.
    path: PathBuf,
    /// What a tag is of, with * for the name of a parameter: --tag loss=objective --tag grad_norm=norms/*. Can be given several
    /// times.
    #[arg(long = "tag", value_name = "ROLE=PATTERN", value_parser = tag_pattern)]
    tags: Vec<String>,
    /// Ask the rules of another tool too: sagemaker, autotrainer, deepdiagnosis or deepchecker. Can be given several times.
    #[arg(long = "rule-set", value_name = "TOOL", value_parser = rule_set())]
    rule_sets: Vec<RuleSetName>,
    /// What to print.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
    /// Write it to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// Exit with code 11 where a finding is so bad.
    #[arg(long, value_name = "SEVERITY")]
    fail_at: Option<FailAt>,
}

fn rule_set() -> impl TypedValueParser<Value = RuleSetName> {
    let names = RuleSetName::ALL.iter().map(|set| set.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse().map_err(|()| format!("{name} is no rule set")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    Text,
    Html,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailAt {
    Info,
    Warning,
    Critical,
}

impl From<FailAt> for Severity {
    fn from(least: FailAt) -> Self {
        match least {
            FailAt::Info => Self::Info,
            FailAt::Warning => Self::Warning,
            FailAt::Critical => Self::Critical,
        }
    }
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, Args)]
struct ModelsArguments {
    /// Show the layers of this one.
    name: Option<String>,
    /// Classes.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = counted(1_000_000))]
    classes: usize,
    /// Channels, height and width of an image; each model has its own otherwise.
    #[arg(long, value_name = "CxHxW", value_parser = models::shape)]
    input: Option<ImageShape>,
    /// Set a key of the model: --set model.width=64. Can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "name")]
    overrides: Vec<String>,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

#[derive(Debug, Args)]
struct InspectArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Batches that are looked at.
    #[arg(long, value_name = "N", default_value = "2", value_parser = counted(1000))]
    batches: usize,
    /// Look at the model with each recommended change too, and show them side by side, the best first.
    #[arg(long = "try")]
    try_changes: bool,
    /// How the report is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TextOrJson {
    Text,
    Json,
}

/// A whole number from 1 to `most`.
fn counted(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

/// A run's name is one folder below `run.logdir`.
fn folder_name(name: &str) -> Result<String, &'static str> {
    match Path::new(name).file_name() {
        Some(last) if last == name => Ok(name.to_owned()),
        _ => Err("want the name of one folder, without slashes"),
    }
}

fn tag_pattern(text: &str) -> Result<String, ReplayError> {
    let text = text.to_owned();
    TagPatterns::foreign().with(std::slice::from_ref(&text)).map(|_| text)
}

impl ConfigArguments {
    /// The config with every override in it, so that the run's own copy shows what was trained.
    fn load(&self, max_steps: Option<u64>) -> Result<Config> {
        let overrides = self.overrides.assignments(max_steps);
        // The copy that a run keeps means the paths and the split of that run.
        let run = self.config.parent().filter(|folder| folder.join(CLASSES).is_file());
        Ok(match run {
            Some(folder) => Config::load_saved(&self.config, &overrides, folder)?,
            None => Config::load(&self.config, &overrides)?,
        })
    }

    /// The same for a run that exists, whose config is `saved`.
    fn load_for_run(&self, max_steps: Option<u64>, saved: &Config) -> Result<Config> {
        Ok(Config::load_for_run(&self.config, &self.overrides.assignments(max_steps), saved)?)
    }
}

impl OverrideArguments {
    /// All of them in the form `key=value`.
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
/// Whatever it could not do; [`exit::code_of`] turns it into the process's exit code.
pub fn run(arguments: Arguments) -> Result<Code> {
    match arguments.command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Resume(arguments) => resume::run(&arguments),
        Command::Checkpoints(arguments) => checkpoints::run(&arguments),
        Command::Diagnose(arguments) => diagnose::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Models(arguments) => models::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// What was asked for cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[error("stdout cannot be written: {0}; the output is not whole")]
pub struct StdoutError(io::Error);

/// Writes to stdout what was asked for. Whoever closes the other end (`gradwatch check ... | head`) has seen enough.
fn print(text: &str) -> Result<(), StdoutError> {
    let text = printable::lines(text);
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(StdoutError),
    }
}

/// Says on stdout what became of work whose results are in files: it is none the worse if nobody can be told.
fn tell(text: &str) {
    let text = printable::lines(text);
    if let Err(error) = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        tracing::warn!("stdout cannot be written: {error}; the results are in files");
    }
}

/// Says what was written: on stdout, unless that is what was written to.
fn tell_written(output: &Output, what: &str) {
    if output.is_stdout() {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "stdout: {}", printable::line(what));
        return;
    }
    tell(&format!("{}: {}\n", printable::path(output.path()), printable::line(what)));
}
