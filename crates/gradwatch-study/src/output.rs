//! The files of a study: tables of results, charts, and the page.

use std::{io, path::PathBuf};

use gradwatch_events::disk::Folder;

use crate::{
    chart::{Chart, Curves, RasterError, files},
    definition::{ChartKind, Study},
    gather::Gathered,
    grid::InvalidRun,
    hparams::{HparamsPage, write_hparams},
    page::{CHARTS, study_page},
};

/// Columns that TensorBoard's HParams page shows as metrics, if the study has them.
const METRICS: [&str; 4] =
    ["best_validation_accuracy", "final_validation_accuracy", "final_validation_loss", "initial_slope"];
/// Tags of the runs that the page shows.
const TAGS: [&str; 2] = ["accuracy/validation", "loss/validation"];

/// A file of a study cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum StudyOutputError {
    /// The system reported an error.
    #[error("{} cannot be written: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error.
        cause: io::Error,
    },
    /// A chart cannot be drawn.
    #[error("chart {title:?}: {cause}")]
    Chart {
        /// Title of the chart.
        title: String,
        /// The error.
        cause: RasterError,
    },
    /// A file for TensorBoard cannot be written.
    #[error(transparent)]
    Events(#[from] gradwatch_events::EventsError),
}

/// Writes `study.toml`, `results.csv`, `results.json`, `charts/`, `report.html`, and the HParams page of TensorBoard to
/// the folder of a study. Returns notes about runs that could not be read completely.
///
/// # Errors
/// If a file cannot be written, or a chart cannot be drawn.
pub fn write_study(
    folder: &Folder,
    study: &Study,
    gathered: &Gathered,
    invalid: &[InvalidRun],
) -> Result<Vec<String>, StudyOutputError> {
    let write = |folder: &Folder, name: &str, bytes: &[u8]| {
        let refuse = |cause| StudyOutputError::Io { path: folder.path().join(name), cause };
        folder.replace(name, bytes).map_err(refuse)
    };
    let results = &gathered.results;
    write(folder, "study.toml", study.text.as_bytes())?;
    write(folder, "results.csv", results.to_csv().as_bytes())?;
    write(folder, "results.json", results.to_json().as_bytes())?;
    let of_curves = study.charts.iter().filter(|chart| chart.kind == ChartKind::Curves);
    let tags: Vec<&str> = of_curves.flat_map(|chart| &chart.y).map(String::as_str).collect();
    let mut curves = Curves::read(results, &tags);
    let charts: Vec<Chart> = study.charts.iter().map(|definition| Chart::new(definition, results, &curves)).collect();
    if !charts.is_empty() {
        let refuse = |cause| StudyOutputError::Io { path: folder.path().join(CHARTS), cause };
        let inner = folder.make_folder(CHARTS).map_err(refuse)?;
        for chart in &charts {
            let refuse = |cause| StudyOutputError::Chart { title: chart.title.clone(), cause };
            for (name, bytes) in files(chart, "../report.html").map_err(refuse)? {
                write(&inner, &name, &bytes)?;
            }
        }
    }
    write(folder, "report.html", study_page(study, gathered, invalid, &charts, folder.path()).as_bytes())?;
    let description = study.question.as_deref().unwrap_or_default();
    let columns: Vec<&str> = METRICS.into_iter().filter(|name| results.column(name).is_some()).collect();
    let page = HparamsPage { description, columns: &columns, tags: &TAGS };
    let left_out = write_hparams(folder.path(), results, page)?;
    let mut notes = std::mem::take(&mut curves.notes);
    notes.extend(left_out);
    Ok(notes)
}
