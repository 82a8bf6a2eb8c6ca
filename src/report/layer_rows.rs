//! The names of layers beside rows that are drawn.

use maud::{Markup, html};

use crate::picture::axis::shorten;

/// Characters of a name at most, so that a phone has room for what is drawn.
const NAME: usize = 22;

/// One name a row, from top to bottom.
pub(super) fn names(rows: &[String]) -> Markup {
    html! {
        div class="names" {
            @for name in rows { span title=(name) { (shorten(name, NAME)) } }
        }
    }
}

/// How high a row is: the more there are, the lower. A CSS declaration.
pub(super) fn row_height(rows: usize) -> String {
    let height = match rows {
        0..=12 => "1.5rem",
        13..=28 => "1.15rem",
        _ => ".8rem",
    };
    format!("--rows:{rows};--row:{height}")
}
