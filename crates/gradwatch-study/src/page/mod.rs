//! Standalone HTML pages of studies and comparisons, with the look of the report of a run.

mod charts;
mod runs;
mod study;

use gradwatch_doctor::{printable, report};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use charts::figures;
pub(crate) use runs::runs;
pub(crate) use study::CHARTS;
pub use study::{StudyNotes, study_page};

use crate::chart::dark_style;

const STYLE: &str = include_str!("style.css");
/// Content security policy: forbids all requests and scripts, and allows inline styles.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page, for any screen width and for light and dark mode. Control characters are escaped.
pub(crate) fn page(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(report::STYLE)) (PreEscaped(STYLE)) (PreEscaped(dark_style())) }
            }
            body { main { (content) } }
        }
    };
    printable::lines(&page.into_string()).into_owned()
}

#[cfg(test)]
mod tests;
