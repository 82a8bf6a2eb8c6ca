//! `gradwatch diagnose`: the rules over the files of a run, whoever wrote them.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result};
use gradwatch::{
    config::Severity,
    replay,
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
    let (mut worst, mut unreadable, mut has_damage) = (None, 0, false);
    for (index, run) in runs.iter().enumerate() {
        // What is wrong with one run does not keep the others from being looked at, unless it is the only one.
        let Judged { report, is_damaged } = match of_files(run, &arguments.tags, &arguments.rule_sets) {
            Ok(judged) => judged,
            Err(error) if runs.len() > 1 => {
                // Where stderr is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "gradwatch: {error:#}");
                unreadable += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        has_damage |= is_damaged;
        worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
        let text = render(&report, arguments.format);
        match &arguments.output {
            Some(path) => write(&numbered(path, index), &text)?,
            None if index > 0 => print(&format!("\n{text}\n"))?,
            None => print(&format!("{text}\n"))?,
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

fn render(report: &Report, format: ReportFormat) -> String {
    match format {
        ReportFormat::Text => format!("run         {}\n{}", report.run, report::terminal(report)),
        ReportFormat::Html => report::html(report),
        ReportFormat::Markdown => report::markdown(report),
        ReportFormat::Json => report::json(report),
    }
}

/// The file of one of several runs: `report.html`, `report-2.html`, and so on.
fn numbered(path: &Path, index: usize) -> std::path::PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    if index == 0 { path.to_owned() } else { path.with_file_name(format!("{stem}-{}{extension}", index + 1)) }
}

fn write(path: &Path, text: &str) -> Result<()> {
    gradwatch::disk::replace(path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!("{}", path.display());
    Ok(())
}
