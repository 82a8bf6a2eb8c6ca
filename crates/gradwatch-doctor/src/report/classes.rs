//! Per-class metrics of the last evaluation, and Grad-CAM pictures of the model's predictions.

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use serde::Serialize;

use super::Report;

/// Most rows in the table. The JSON report has all of them.
const MOST_ROWS: usize = 100;

/// Metrics of one class in the last evaluation on the validation images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassRow {
    /// Class name.
    pub class: String,
    /// Number of images of the class.
    pub images: u64,
    /// Precision, 0 to 1.
    pub precision: f64,
    /// Recall, 0 to 1.
    pub recall: f64,
    /// F1: harmonic mean of precision and recall.
    pub f1: f64,
    /// Average precision, 0 to 1, of multi-label data; `None` for a class without images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
}

/// A picture on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illustration {
    /// Description for readers who cannot see the picture.
    pub name: String,
    /// Contents of the PNG file.
    pub png: Vec<u8>,
}

pub(super) fn classes(report: &Report) -> Markup {
    let Report { classes, illustrations, .. } = report;
    let has_areas = has_average_precisions(classes);
    let area = has_areas.then_some("average precision");
    html! {
        @if !classes.is_empty() {
            section aria-labelledby="classes" {
                h2 id="classes" { "Classes" }
                p class="caption" { "Metrics of the last evaluation on the validation images." }
                div class="scroll" tabindex="0" role="region" aria-labelledby="classes" {
                    table class="parameters classes" {
                        thead {
                            tr {
                                @for name in ["class", "images", "precision", "recall", "F1"].into_iter().chain(area) {
                                    th scope="col" { (name) }
                                }
                            }
                        }
                        tbody { @for row in classes.iter().take(MOST_ROWS) { (table_row(row, has_areas)) } }
                    }
                }
                @if classes.len() > MOST_ROWS {
                    p class="caption" { "Showing the first " (MOST_ROWS) " of " (classes.len()) "." }
                }
            }
        }
        @if !illustrations.is_empty() {
            section aria-labelledby="explanations" {
                h2 id="explanations" { "Explanations (Grad-CAM)" }
                p class="caption" {
                    "Validation images as model input, each next to its Grad-CAM heat map. Lighter and warmer regions "
                    "contribute more to the predicted class."
                }
                div class="illustrations" {
                    @for Illustration { name, png } in illustrations {
                        img src={ "data:image/png;base64," (STANDARD.encode(png)) } alt=(name) loading="lazy";
                    }
                }
            }
        }
    }
}

/// Whether a table of these classes has a column of average precision.
pub(super) fn has_average_precisions(classes: &[ClassRow]) -> bool {
    classes.iter().any(|row| row.average_precision.is_some())
}

fn table_row(row: &ClassRow, has_areas: bool) -> Markup {
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    html! {
        tr {
            th scope="row" { (row.class) }
            td { (row.images) }
            // A fixed number of decimals aligns the column.
            @for share in [row.precision, row.recall, row.f1] { td { (percent(share)) } }
            @if has_areas { td { (row.average_precision.map(percent).unwrap_or_default()) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_pictures_stand_on_the_page_where_there_are_any() {
        assert_eq!(classes(&Report::default()).into_string(), "");
        let (precision, recall, f1) = (0.5, 0.25, 1.0 / 3.0);
        let row = ClassRow { class: "a < b".into(), images: 7, precision, recall, f1, average_precision: None };
        let areas = [Some(0.75), None].map(|average_precision| ClassRow { average_precision, ..row.clone() });
        let page = classes(&Report { classes: areas.to_vec(), ..Report::default() }).into_string();
        assert!(page.contains("average precision") && page.contains("<td>75.0%</td></tr>"), "{page}");
        assert!(page.contains("<td></td></tr>"), "{page}");
        let illustrations = vec![Illustration { name: "00-cat".into(), png: b"\x89PNG".to_vec() }];
        let page = classes(&Report { classes: vec![row], illustrations, ..Report::default() }).into_string();
        assert!(!page.contains("average precision"));
        assert!(page.contains("<th scope=\"row\">a &lt; b</th><td>7</td><td>50.0%</td><td>25.0%</td>"), "{page}");
        // Four bytes of a PNG file, base64-encoded by hand: 10001001 01010000 01001110 01000111.
        assert!(page.contains("<img src=\"data:image/png;base64,iVBORw==\" alt=\"00-cat\""), "{page}");
    }
}
