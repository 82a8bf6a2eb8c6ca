use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;
use crate::{
    chart::{Chart, Curves},
    fixture,
    grid::InvalidRun,
    results::{Cell, Results, Row},
};

const STUDY: &str = r#"
question = "How deep may <b>a net</b> be?"
seeds = [1, 2]

[axes]
"model.depth" = [2, 4]

[[charts]]
title = "Accuracy & depth"
kind = "lines"
x = "model.depth"
y = "best_validation_accuracy"

[[tables]]
title = "Accuracy"
rows = "model.depth"
value = "best_validation_accuracy"
"#;

/// A row per plan. The last one failed.
fn page_of_study() -> String {
    let (folder, study) = fixture::study(STUDY);
    let columns = study.columns();
    let index = |name: &str| columns.iter().position(|column| column.name == name).unwrap();
    let row = |(place, plan): (usize, crate::Plan)| {
        let mut cells = vec![Cell::Missing; columns.len()];
        cells[0] = plan.labels[0].1.clone();
        cells[index("seed")] = Cell::Number(plan.seed as f64);
        let [state, ending] =
            if place == 3 { ["failed", "exit code 8"] } else { ["finished", "run.max_steps reached"] };
        cells[index("state")] = Cell::Text(state.into());
        cells[index("ending")] = Cell::Text(ending.into());
        let accuracy = if place == 3 { f64::NAN } else { 0.25 * (place + 1) as f64 };
        cells[index("best_validation_accuracy")] = Cell::Number(accuracy);
        Row { folder: folder.path().join(&plan.name), run: plan.name, cells }
    };
    let rows: Vec<Row> = study.plans().into_iter().enumerate().map(row).collect();
    // Only the first run has a report.
    fs::create_dir(&rows[0].folder).unwrap();
    fs::write(rows[0].folder.join("report.html"), "").unwrap();
    let (results, files) = (Results { columns: columns.clone(), rows }, ["torn\u{1b}".to_owned()]);
    let charts: Vec<Chart> = study.charts.iter().map(|chart| Chart::new(chart, &results, &Curves::default())).collect();
    let invalid = [InvalidRun { name: "depth=0".into(), problem: "want 1 or more".into() }];
    study_page(&study, &results, &StudyNotes { invalid: &invalid, files: &files }, &charts, folder.path())
}

#[test]
fn a_page_has_the_question_the_counts_and_the_reasons() {
    let page = page_of_study();
    for want in [
        "<h1>How deep may &lt;b&gt;a net&lt;/b&gt; be?</h1>",
        ", 5 runs</p>",
        "<div><dt>finished</dt><dd>3</dd></div><div><dt>failed</dt><dd>1</dd></div><div><dt>invalid</dt><dd>1</dd></div>",
        "<li>depth=4,seed=2: exit code 8</li>",
        "<li>depth=0: want 1 or more</li>",
        "<li>torn\\u001b</li>",
        // 0.25 and 0.5; 0.75 and none.
        "<tr><th scope=\"row\">2</th><td>0.375 ± 0.177 (2)</td></tr><tr><th scope=\"row\">4</th><td>0.750 (1/2)</td></tr>",
        "<a href=\"charts/accuracy-depth.svg\">SVG</a>",
    ] {
        assert!(page.contains(want), "{want}\n{page}");
    }
}

#[test]
fn every_link_leads_to_an_anchor_or_a_file_of_the_study() {
    let page = page_of_study();
    let values = |name: &str| -> BTreeSet<String> {
        let start = format!(" {name}=\"");
        let parts = page.split(&start).skip(1);
        parts.filter_map(|part| part.split_once('"')).map(|(value, _)| value.to_owned()).collect()
    };
    let (links, anchors) = (values("href"), values("id"));
    let (inner, files): (Vec<String>, Vec<String>) = links.into_iter().partition(|link| link.starts_with('#'));
    // Two points, and the list of their four runs.
    assert_eq!(inner.len(), 6, "{inner:?}");
    assert!(inner.iter().all(|link| anchors.contains(&link[1..])), "{inner:?}\n{anchors:?}");
    let charts = ["csv", "png", "svg"].map(|end| format!("charts/accuracy-depth.{end}"));
    assert_eq!(files[..3], charts);
    assert_eq!(files[3..], ["depth%3D2%2Cseed%3D1/report.html"]);
}

#[test]
fn a_page_fetches_nothing_and_has_no_scripts() {
    let page = page_of_study().replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "src=", "@import", "url(", "<link", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_study_without_runs_has_a_page() {
    let (_folder, study) = fixture::study("[axes]\n\"model.depth\" = [2]\n");
    let results = Results { columns: study.columns(), rows: Vec::new() };
    let notes = StudyNotes { invalid: &[], files: &[] };
    let page = study_page(&study, &results, &notes, &[], &PathBuf::from("logs/x"));
    assert!(page.contains("<h1>depths</h1>") && !page.contains("<svg"), "{page}");
}
