//! `diagnose`: checks the rules on the event files of a run, from gradwatch or any other program.

use std::path::{Path, PathBuf};

use clap::Args;
#[cfg(feature = "rule-sets")]
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gradwatch_events::disk::{Output, OutputError};

use super::{
    follow::{FollowArguments, FollowError},
    output::{StdoutError, print, tell, tell_error},
};
#[cfg(feature = "rule-sets")]
use crate::config::RuleSetName;
use crate::{
    assessment::{AssessOptions, Assessment, assess_with},
    config::Severity,
    printable,
    replay::{self, ReplayError, TagPatterns},
    report::{self, Report},
};

/// Arguments of `diagnose`.
#[derive(Debug, Args)]
pub struct DiagnoseArguments {
    /// Run folder such as logs/NAME, folder with several runs, or event file.
    path: PathBuf,
    /// Map a tag to a role; * stands for the parameter name: --tag loss=objective --tag grad_norm=norms/*. May be
    /// repeated.
    #[arg(long = "tag", value_name = "ROLE=PATTERN", value_parser = tag_pattern)]
    tags: Vec<String>,
    /// Also check the rules of another tool: sagemaker, autotrainer, deepdiagnosis, or deepchecker. May be repeated.
    #[cfg(feature = "rule-sets")]
    #[arg(long = "rule-set", value_name = "TOOL", value_parser = rule_set(), conflicts_with = "follow")]
    rule_sets: Vec<RuleSetName>,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
    /// Write the report to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    force: bool,
    /// Exit with code 11 if a finding has this severity or a worse one.
    #[arg(long, value_name = "SEVERITY")]
    fail_at: Option<FailAt>,
    #[command(flatten)]
    follow: FollowArguments,
}

#[cfg(feature = "rule-sets")]
fn rule_set() -> impl TypedValueParser<Value = RuleSetName> {
    let names = RuleSetName::ALL.iter().map(|set| set.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse().map_err(|()| format!("unknown rule set {name}")))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    Text,
    Html,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FailAt {
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

/// Result of `diagnose`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiagnoseOutcome {
    /// Everything was read, and no finding reaches `--fail-at`.
    Done,
    /// A finding reaches `--fail-at`.
    Finding,
    /// At least one of several runs could not be read.
    Unreadable,
    /// Part of a file could not be read.
    Partial,
    /// A signal ended `--follow`.
    Signal(i32),
}

/// Reason why `diagnose` failed.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// The files cannot be diagnosed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The files cannot be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The output file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// stdout cannot be written.
    #[error(transparent)]
    Stdout(#[from] StdoutError),
}

impl DiagnoseArguments {
    /// Diagnoses every run below the path, and prints or writes the reports. `program` starts each message on stderr.
    ///
    /// # Errors
    /// See [`DiagnoseError`].
    pub fn run(&self, program: &str) -> Result<DiagnoseOutcome, DiagnoseError> {
        if self.follow.follow {
            return self.follow(program);
        }
        let runs = replay::runs(&self.path)?;
        // Opens the outputs first, because the diagnosis may take long.
        let mut outputs = outputs(self, runs.len())?;
        let options = AssessOptions {
            tags: self.tags.clone(),
            #[cfg(feature = "rule-sets")]
            rule_sets: self.rule_sets.clone(),
        };
        let (mut worst, mut unreadable, mut has_damage) = (None, 0, false);
        for (index, run) in runs.iter().enumerate() {
            // An error in one run does not stop the diagnosis of the others, unless it is the only run.
            let Assessment { report, is_damaged } = match assess_with(run, &options) {
                Ok(assessment) => assessment,
                Err(error) if runs.len() > 1 => {
                    tell_error(program, &error.to_string());
                    unreadable += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            has_damage |= is_damaged;
            worst = worst.max(report.verdict().severity);
            let text = render(&report, self.format);
            // Reports go one after another to stdout or a pipe, or each to its own file.
            let output = index.min(outputs.len().saturating_sub(1));
            match outputs.get_mut(output) {
                Some(output) if output.is_stream() => output.write(separated(&text, index).as_bytes())?,
                Some(output) => {
                    output.write(text.as_bytes())?;
                    tell(&printable::path(output.path()));
                }
                None => print(&separated(&text, index))?,
            }
        }
        let is_bad = self.fail_at.is_some_and(|least| worst >= Some(Severity::from(least)));
        Ok(match (is_bad, unreadable, has_damage) {
            (true, ..) => DiagnoseOutcome::Finding,
            (_, 1.., _) => DiagnoseOutcome::Unreadable,
            (_, _, true) => DiagnoseOutcome::Partial,
            _ => DiagnoseOutcome::Done,
        })
    }

    /// Tells about findings while the run trains.
    fn follow(&self, program: &str) -> Result<DiagnoseOutcome, DiagnoseError> {
        let is_json = match self.format {
            ReportFormat::Text => false,
            ReportFormat::Json => true,
            ReportFormat::Html => return Err(FollowError::Format("html").into()),
            ReportFormat::Markdown => return Err(FollowError::Format("markdown").into()),
        };
        self.follow.run(&self.path, (&self.tags, is_json, self.fail_at), program)
    }
}

/// Checks the value of `--tag`, of the form `role=pattern`.
///
/// # Errors
/// If the pattern is invalid.
pub fn tag_pattern(text: &str) -> Result<String, ReplayError> {
    let text = text.to_owned();
    TagPatterns::foreign().with(std::slice::from_ref(&text)).map(|_| text)
}

/// The output files: one per run, one pipe for all runs, or none to print to stdout.
fn outputs(arguments: &DiagnoseArguments, runs: usize) -> Result<Vec<Output>, OutputError> {
    let Some(path) = &arguments.output else { return Ok(Vec::new()) };
    let first = Output::choose(path, arguments.force)?;
    let files = if first.is_stream() { 1 } else { runs };
    let others = (1..files).map(|index| Output::choose(&numbered(path, index), arguments.force));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Separates a report from the previous one.
fn separated(text: &str, index: usize) -> String {
    if index > 0 { format!("\n{text}\n") } else { format!("{text}\n") }
}

/// Renders the report with control characters escaped, because tag and class names may contain anything.
fn render(report: &Report, format: ReportFormat) -> String {
    let text = match format {
        ReportFormat::Text => format!("run         {}\n{}", printable::line(&report.run), report::terminal(report)),
        ReportFormat::Html => report::html(report),
        ReportFormat::Markdown => report::markdown(report),
        ReportFormat::Json => report::json(report),
    };
    printable::lines(&text).into_owned()
}

/// File name for the report of another run: `report-2.html`, and so on. Keeps bytes that are not UTF-8.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
