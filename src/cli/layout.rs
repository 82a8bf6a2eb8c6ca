//! Layout of reports on the terminal: short numbers and wrapped lines.

use gradwatch::printable;
use textwrap::{Options, WordSeparator, WordSplitter};

/// Width of the output in columns.
const WIDTH: usize = 100;

/// Formats a number with three decimals, or in scientific notation if it is very small or large.
pub(super) fn size(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value == 0.0 || (1e-3..1e4).contains(&value.abs()) => format!("{value:.3}"),
        Some(value) => format!("{value:.1e}"),
    }
}

/// Wraps a text at spaces and indents all lines after the first.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let options = Options::new(WIDTH)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(&printable::line(text), options) + "\n"
}
