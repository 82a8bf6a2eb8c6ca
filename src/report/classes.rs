//! What the last evaluation says of each class, and pictures of what speaks for the model's guesses.

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use serde::Serialize;

use super::Report;

/// Rows of the table; the rest is in the JSON.
const MOST_ROWS: usize = 100;

/// One class in the last evaluation on the validation images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// Images of it.
    pub images: u64,
    /// Right among those taken for it, 0 to 1.
    pub precision: f64,
    /// Right among its images.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// A picture of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illustration {
    /// What it shows, for those who do not see it.
    pub name: String,
    /// The PNG file.
    pub png: Vec<u8>,
}

pub(super) fn classes(report: &Report) -> Markup {
    let Report { classes, illustrations, .. } = report;
    html! {
        @if !classes.is_empty() {
            section aria-labelledby="classes" {
                h2 id="classes" { "Class by class" }
                p class="caption" { "Of the validation images, as last evaluated." }
                div class="scroll" tabindex="0" role="region" aria-labelledby="classes" {
                    table class="parameters classes" {
                        thead { tr { @for name in ["class", "images", "precision", "recall", "F1"] { th scope="col" { (name) } } } }
                        tbody { @for row in classes.iter().take(MOST_ROWS) { (table_row(row)) } }
                    }
                }
                @if classes.len() > MOST_ROWS {
                    p class="caption" { "The first " (MOST_ROWS) " of " (classes.len()) " are shown." }
                }
            }
        }
        @if !illustrations.is_empty() {
            section aria-labelledby="explanations" {
                h2 id="explanations" { "What speaks for its guesses" }
                p class="caption" {
                    "Validation images as the model sees them, and beside each what speaks for the guess (Grad-CAM): the lighter and "
                    "warmer a place, the more."
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

fn table_row(row: &ClassRow) -> Markup {
    html! {
        tr {
            th scope="row" { (row.class) }
            td { (row.images) }
            // Of one length, so that a column reads as one.
            @for share in [row.precision, row.recall, row.f1] { td { (format!("{:.1} %", 100.0 * share)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_pictures_stand_on_the_page_where_there_are_any() {
        assert_eq!(classes(&Report::default()).into_string(), "");
        let row = ClassRow { class: "a < b".into(), images: 7, precision: 0.5, recall: 0.25, f1: 1.0 / 3.0 };
        let illustrations = vec![Illustration { name: "00-cat".into(), png: b"\x89PNG".to_vec() }];
        let page = classes(&Report { classes: vec![row], illustrations, ..Report::default() }).into_string();
        assert!(page.contains("<th scope=\"row\">a &lt; b</th><td>7</td><td>50.0 %</td><td>25.0 %</td>"), "{page}");
        // Four bytes of a PNG file, in base64 by hand: 10001001 01010000 01001110 01000111.
        assert!(page.contains("<img src=\"data:image/png;base64,iVBORw==\" alt=\"00-cat\""), "{page}");
    }
}
