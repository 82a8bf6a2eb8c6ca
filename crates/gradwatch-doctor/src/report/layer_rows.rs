//! Layer names next to drawn rows.

use maud::{Markup, html};

use crate::picture::axis::shorten;

/// Longest name to show, in characters, so that the drawing has enough room on a phone.
const NAME: usize = 22;

/// Renders one name per row, from top to bottom.
pub(super) fn names(rows: &[String]) -> Markup {
    html! {
        div class="names" {
            @for name in rows { span title=(name) { (shorten(name, NAME)) } }
        }
    }
}

/// CSS declaration for the row height. More rows are lower.
pub(super) fn row_height(rows: usize) -> String {
    let height = match rows {
        0..=12 => "1.5rem",
        13..=28 => "1.15rem",
        _ => ".8rem",
    };
    format!("--rows:{rows};--row:{height}")
}
