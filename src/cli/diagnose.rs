//! `gradwatch diagnose`: the rules over the files of a run, whoever wrote them.

use std::path::Path;

use anyhow::{Context, Result};
use gradwatch::{
    config::Severity,
    replay,
    report::{self, Report},
};

use super::{DiagnoseArguments, ReportFormat, exit::Code, print, report::of_files};

pub fn run(arguments: &DiagnoseArguments) -> Result<Code> {
    let folders = replay::runs(&arguments.path)?;
    let mut worst = None;
    for (index, folder) in folders.iter().enumerate() {
        // What is wrong with one run does not keep the others from being looked at, unless it is the only one.
        let report = match of_files(folder, &arguments.tags, &arguments.rule_sets) {
            Ok(report) => report,
            Err(error) if folders.len() > 1 => {
                eprintln!("{error:#}");
                continue;
            }
            Err(error) => return Err(error),
        };
        worst = worst.max(report.findings.iter().map(|finding| finding.severity).max());
        let text = render(&report, arguments.format);
        match &arguments.output {
            Some(path) => write(&numbered(path, index), &text)?,
            None if index > 0 => print(&format!("\n{text}\n"))?,
            None => print(&format!("{text}\n"))?,
        }
    }
    let is_bad = arguments.fail_at.is_some_and(|least| worst >= Some(Severity::from(least)));
    Ok(if is_bad { Code::Finding } else { Code::Success })
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
