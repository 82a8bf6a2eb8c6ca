//! `gradwatch diagnose`: the rules over the files of a run, whoever wrote them.

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
    // Before anything is judged, which may take long.
    let mut outputs = outputs(arguments, runs.len())?;
    let (mut worst, mut unreadable, mut has_damage) = (None, 0, false);
    for (index, run) in runs.iter().enumerate() {
        // What is wrong with one run does not keep the others from being looked at, unless it is the only one.
        let Judged { report, is_damaged } = match of_files(run, &arguments.tags, &arguments.rule_sets) {
            Ok(judged) => judged,
            Err(error) if runs.len() > 1 => {
                // Where stderr is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "gradwatch: {}", printable::line(&format!("{error:#}")));
                unreadable += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        has_damage |= is_damaged;
        worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
        let text = render(&report, arguments.format);
        // One after the other on stdout and in a pipe, else each in a file of its own.
        let place = index.min(outputs.len().saturating_sub(1));
        match outputs.get_mut(place) {
            Some(output) if output.is_stream() => output.write(separated(&text, index).as_bytes())?,
            Some(output) => {
                output.write(text.as_bytes())?;
                // Where stderr is closed there is nobody to tell.
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

/// The files to write: one for each run, or one pipe for all; none where all is printed.
fn outputs(arguments: &DiagnoseArguments, runs: usize) -> Result<Vec<Output>> {
    let Some(path) = &arguments.output else { return Ok(Vec::new()) };
    let first = Output::choose(path, arguments.force)?;
    let files = if first.is_stream() { 1 } else { runs };
    let others = (1..files).map(|index| Output::choose(&numbered(path, index), arguments.force));
    Ok(std::iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?)
}

/// A report among several.
fn separated(text: &str, index: usize) -> String {
    if index > 0 { format!("\n{text}\n") } else { format!("{text}\n") }
}

/// The report as text that is safe to look at: names of tags and classes may hold anything.
fn render(report: &Report, format: ReportFormat) -> String {
    let text = match format {
        ReportFormat::Text => format!("run         {}\n{}", printable::line(&report.run), report::terminal(report)),
        ReportFormat::Html => report::html(report),
        ReportFormat::Markdown => report::markdown(report),
        ReportFormat::Json => report::json(report),
    };
    printable::lines(&text).into_owned()
}

/// The file of a further run: `report-2.html`, and so on. Bytes that are not UTF-8 stay as they are.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
