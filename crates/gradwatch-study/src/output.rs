//! The files of a study: tables of results, charts, and the page.

use std::{io, path::PathBuf};

use gradwatch_events::disk::Folder;
use toml::Table;

use crate::{
    chart::{Chart, Curves, RasterError, files},
    definition::{ChartKind, MOST_BYTES, Study, slug},
    gather::Gathered,
    grid::InvalidRun,
    hparams::{HparamsPage, write_hparams},
    page::{CHARTS, StudyNotes, study_page},
};

/// Copy of the study file.
const STUDY: &str = "study.toml";
/// Kinds of chart files.
const EXTENSIONS: [&str; 3] = ["svg", "png", "csv"];
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
/// the folder of a study. Returns notes that `gathered` does not have: runs whose curves could not be read completely,
/// and runs without a place on the HParams page. The page has all notes.
///
/// # Errors
/// If a file cannot be written, or a chart cannot be drawn.
pub fn write_study(
    folder: &Folder,
    study: &Study,
    gathered: &Gathered,
    invalid: &[InvalidRun],
) -> Result<Vec<String>, StudyOutputError> {
    let results = &gathered.results;
    remove_former_charts(folder, study);
    write(folder, STUDY, study.text.as_bytes())?;
    write(folder, "results.csv", results.to_csv().as_bytes())?;
    write(folder, "results.json", results.to_json().as_bytes())?;
    let of_curves = study.charts.iter().filter(|chart| chart.kind == ChartKind::Curves);
    let tags: Vec<&str> = of_curves.flat_map(|chart| &chart.y).map(String::as_str).collect();
    let mut curves = Curves::read(results, &tags);
    let charts: Vec<Chart> = study.charts.iter().map(|definition| Chart::new(definition, results, &curves)).collect();
    write_charts(folder, &charts)?;
    let description = study.question.as_deref().unwrap_or_default();
    let columns: Vec<&str> = METRICS.into_iter().filter(|name| results.column(name).is_some()).collect();
    let page = HparamsPage { description, columns: &columns, tags: &TAGS };
    let left_out = write_hparams(folder.path(), results, page);
    let mut notes = std::mem::take(&mut curves.notes);
    notes.extend(left_out.as_ref().ok().into_iter().flatten().cloned());
    // The curves are in the files that the results were read from.
    notes.retain(|note| !gathered.notes.contains(note));
    let all_notes = [&gathered.notes[..], &notes].concat();
    let page = study_page(study, results, &StudyNotes { invalid, files: &all_notes }, &charts, folder.path());
    // The page is worth more than that of TensorBoard, whose error comes last.
    write(folder, "report.html", page.as_bytes())?;
    left_out?;
    Ok(notes)
}

/// Removes the files of charts that the study file had when the folder was written before. What remains is only stale.
fn remove_former_charts(folder: &Folder, study: &Study) {
    let Ok(inner) = folder.folder(CHARTS) else { return };
    let former = folder.read_text(STUDY, MOST_BYTES).ok().and_then(|text| text.parse::<Table>().ok());
    let former = former.as_ref().and_then(|table| table.get("charts")?.as_array());
    let titles = former.into_iter().flatten().filter_map(|chart| chart.get("title")?.as_str());
    for slug in titles.map(slug).filter(|slug| study.charts.iter().all(|chart| chart.slug() != *slug)) {
        for extension in EXTENSIONS {
            let _ = inner.remove(format!("{slug}.{extension}"));
        }
    }
}

fn write_charts(folder: &Folder, charts: &[Chart]) -> Result<(), StudyOutputError> {
    if charts.is_empty() {
        return Ok(());
    }
    let refuse = |cause| StudyOutputError::Io { path: folder.path().join(CHARTS), cause };
    let inner = folder.make_folder(CHARTS).map_err(refuse)?;
    for chart in charts {
        let refuse = |cause| StudyOutputError::Chart { title: chart.title.clone(), cause };
        for (name, bytes) in files(chart, "../report.html").map_err(refuse)? {
            write(&inner, &name, &bytes)?;
        }
    }
    Ok(())
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), StudyOutputError> {
    let refuse = |cause| StudyOutputError::Io { path: folder.path().join(name), cause };
    folder.replace(name, bytes).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::{Results, fixture};

    #[test]
    fn the_files_of_a_chart_with_another_title_are_removed_and_other_files_stay() {
        let of_title = |title: &str| {
            format!(
                "[axes]\n\"model.depth\" = [1, 2]\n[[charts]]\ntitle = \"{title}\"\nkind = \"lines\"\nx = \"model.depth\"\ny = \"steps\"\n"
            )
        };
        let logs = tempfile::tempdir().unwrap();
        let folder = Folder::make(&logs.path().join("depths")).unwrap();
        let write = |title: &str| {
            let (_study, study) = fixture::study(&of_title(title));
            let gathered = Results::gather(&study, &study.plans(), folder.path(), &BTreeMap::new());
            write_study(&folder, &study, &gathered, &[]).unwrap();
        };
        write("Steps by depth");
        let charts = folder.path().join(CHARTS);
        fs::write(charts.join("own.png"), "").unwrap();
        write("Depth and steps");
        let mut names: Vec<_> = fs::read_dir(charts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["depth-and-steps.csv", "depth-and-steps.png", "depth-and-steps.svg", "own.png"]);
    }
}
