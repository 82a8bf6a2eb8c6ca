//! `gradwatch diagnose`: checks the rules on the event files of a run, from gradwatch or any other program.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Result;
use gradwatch::{
    config::Severity,
    disk::Output,
    printable, replay,
    report::{self, Report},
};

use super::{
    DiagnoseArguments, ReportFormat,
    exit::Code,
    print,
    report::{Judged, of_files},
};

pub fn run(arguments: &DiagnoseArguments) -> Result<Code> {
    let runs = replay::runs(&arguments.path)?;
    // Opens the outputs first, because the diagnosis may take long.
    let mut outputs = outputs(arguments, runs.len())?;
    let (mut worst, mut unreadable, mut has_damage) = (None, 0, false);
    for (index, run) in runs.iter().enumerate() {
        // An error in one run does not stop the diagnosis of the others, unless it is the only run.
        let Judged { report, is_damaged } = match of_files(run, &arguments.tags, &arguments.rule_sets) {
            Ok(judged) => judged,
            Err(error) if runs.len() > 1 => {
                // If stderr is closed, the message is lost.
                let _ = writeln!(io::stderr(), "gradwatch: {}", printable::line(&format!("{error:#}")));
                unreadable += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        has_damage |= is_damaged;
        worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
        let text = render(&report, arguments.format);
        // Reports go one after another to stdout or a pipe, or each to its own file.
        let place = index.min(outputs.len().saturating_sub(1));
        match outputs.get_mut(place) {
            Some(output) if output.is_stream() => output.write(separated(&text, index).as_bytes())?,
            Some(output) => {
                output.write(text.as_bytes())?;
                // If stderr is closed, the message is lost.
                let _ = writeln!(io::stderr(), "{}", printable::path(output.path()));
            }
            None => print(&separated(&text, index))?,
        }
    }
    let is_bad = arguments.fail_at.is_some_and(|least| worst >= Some(Severity::from(least)));
    Ok(match (is_bad, unreadable, has_damage) {
        (true, ..) => Code::Finding,
        (_, 1.., _) => Code::Unreadable,
        (_, _, true) => Code::Partial,
        _ => Code::Success,
    })
}

/// The output files: one per run, one pipe for all runs, or none to print to stdout.
fn outputs(arguments: &DiagnoseArguments, runs: usize) -> Result<Vec<Output>> {
    let Some(path) = &arguments.output else { return Ok(Vec::new()) };
    let first = Output::choose(path, arguments.force)?;
    let files = if first.is_stream() { 1 } else { runs };
    let others = (1..files).map(|index| Output::choose(&numbered(path, index), arguments.force));
    Ok(std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?)
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
