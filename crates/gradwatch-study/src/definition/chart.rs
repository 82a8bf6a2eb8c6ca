//! Charts and tables of a study.

use gradwatch_doctor::{config::Section, named_enum};

use super::{
    Filter,
    names::{Names, check_column, check_numbers, optional_text, text},
};
use crate::results::Column;

named_enum! {
    /// Kind of a chart.
    pub enum ChartKind {
        /// The mean of each group as a point, and a line through them.
        Lines = "lines",
        /// The mean of each group as a bar.
        Bars = "bars",
        /// The mean of each group as a color.
        HeatMap = "heat_map",
        /// A series of the runs over their steps.
        Curves = "curves",
    }
}

named_enum! {
    /// Scale of an axis.
    pub enum Scale {
        /// Equal distances are equal differences.
        Linear = "linear",
        /// Equal distances are equal ratios.
        Log = "log",
        /// One place per value.
        Category = "category",
    }
}

/// A chart, from `[[charts]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartDefinition {
    /// Title.
    pub title: String,
    /// Kind.
    pub kind: ChartKind,
    /// Column of the horizontal axis; `None` for curves, which have steps there.
    pub x: Option<String>,
    /// Columns of the values, one series each; for curves, the tag of the series.
    pub y: Vec<String>,
    /// Column of the vertical axis of a heat map.
    pub rows: Option<String>,
    /// Names of the columns of `y` in the legend; empty for those of the columns.
    pub labels: Vec<String>,
    /// Column with one line or group of bars per value.
    pub lines: Option<String>,
    /// Column with one panel per value.
    pub panels: Option<String>,
    /// The runs that it shows: those that all of these admit.
    pub filters: Vec<Filter>,
    /// Scale of the horizontal axis; `None` for categories of texts and a linear scale of numbers.
    pub x_scale: Option<Scale>,
    /// Scale of the values: linear or logarithmic.
    pub y_scale: Scale,
    /// Ends of the axis of the values.
    pub y_range: Option<[f64; 2]>,
    /// Label of the horizontal axis, instead of the name of the column.
    pub x_label: Option<String>,
    /// Label of the values, instead of the name of the column.
    pub y_label: Option<String>,
}

/// A table, from `[[tables]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDefinition {
    /// Title.
    pub title: String,
    /// Column with one row per value.
    pub rows: String,
    /// Column with one column per value; `None` for a single column.
    pub columns: Option<String>,
    /// Column of the values.
    pub value: String,
    /// The runs that it shows: those that all of these admit.
    pub filters: Vec<Filter>,
}

impl ChartDefinition {
    /// Reads a table of `[[charts]]`; `None` if a required key is missing or invalid. `texts` are the columns with texts.
    pub(super) fn read(mut section: Section<'_>, columns: &[Column], texts: &[&str]) -> Option<Self> {
        let title = text(&mut section, "title", "a title");
        if title.as_ref().is_some_and(|title| slug(title).is_empty()) {
            section.problem("title", "the title has no letters or digits; its files are named after it");
        }
        let kind = section.required_choice::<ChartKind>("kind");
        if let Some(kind) = kind {
            report_other_kinds(&section, kind);
        }
        let (x, rows) = (optional_text(&mut section, "x"), optional_text(&mut section, "rows"));
        if !section.has("y") {
            section.missing("y", "a column, a list of columns, or, for curves, a tag");
        }
        let y = section.optional("y", |names: &Names| !names.0.is_empty(), "a name or a list with at least one");
        let y = y.unwrap_or_default().0;
        let (lines, panels) = (optional_text(&mut section, "lines"), optional_text(&mut section, "panels"));
        if y.len() > 1 && lines.is_some() {
            section
                .problem("lines", "got several columns in y, which are the lines; remove lines, or all but one column");
        }
        let fits = |labels: &Vec<String>| labels.len() == y.len() && y.len() > 1;
        let labels = section.optional("labels", fits, "a name for each of several columns in y").unwrap_or_default();
        let filters = Filter::read(section.section("where"));
        for (key, name) in [("x", &x), ("rows", &rows), ("lines", &lines), ("panels", &panels)] {
            name.iter().for_each(|name| check_column(&section, key, name, columns));
        }
        filters.iter().for_each(|filter| check_column(&section, "where", &filter.column, columns));
        if kind.is_some_and(|kind| kind != ChartKind::Curves) {
            y.iter().for_each(|name| check_numbers(&section, "y", name, columns));
        }
        let has_texts = x.as_deref().is_some_and(|x| texts.contains(&x));
        let x_scale = x_scale(&mut section, kind, has_texts);
        let (y_scale, y_range) = y_axis(&mut section);
        let (x_label, y_label) = (optional_text(&mut section, "x_label"), optional_text(&mut section, "y_label"));
        section.finish();
        Some(Self {
            title: title?,
            kind: kind?,
            x,
            y,
            labels,
            rows,
            lines,
            panels,
            filters,
            x_scale,
            y_scale,
            y_range,
            x_label,
            y_label,
        })
    }

    /// Name of its files, without an extension: the letters and digits of the title in lowercase, joined by hyphens.
    pub fn slug(&self) -> String {
        slug(&self.title)
    }
}

/// Reads `x_scale`. Reports a scale that the kind of chart or its values do not have.
fn x_scale(section: &mut Section<'_>, kind: Option<ChartKind>, has_texts: bool) -> Option<Scale> {
    let scale = section.optional_choice("x_scale")?;
    let want = match (kind?, scale) {
        (ChartKind::Bars | ChartKind::HeatMap, Scale::Linear | Scale::Log) => {
            "want \"category\": each value of x has a place of its own; kind = \"lines\" has other scales"
        }
        (ChartKind::Curves, Scale::Category) => "want \"linear\" or \"log\": the x axis of curves is the step",
        (ChartKind::Lines, Scale::Linear | Scale::Log) if has_texts => "want \"category\": x has text",
        _ => return Some(scale),
    };
    section.problem("x_scale", format!("got \"{scale}\", {want}"));
    None
}

/// Reads `y_scale` and `y_range`.
fn y_axis(section: &mut Section<'_>) -> (Scale, Option<[f64; 2]>) {
    let scale = section.optional_choice("y_scale").unwrap_or(Scale::Linear);
    if scale == Scale::Category {
        section.problem("y_scale", "got \"category\", want \"linear\" or \"log\": y has numbers");
    }
    let is_range = |ends: &[f64; 2]| {
        let is_shown = ends.iter().all(|end| end.is_finite() && (scale != Scale::Log || *end > 0.0));
        is_shown && ends[0] < ends[1]
    };
    (scale, section.optional("y_range", is_range, "[low, high], above 0 on a logarithmic scale"))
}

/// The letters and digits of a title in lowercase, joined by hyphens.
pub(crate) fn slug(title: &str) -> String {
    let words = title.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

/// Reports keys that a kind of chart needs and does not have, or has and does not need.
fn report_other_kinds(section: &Section<'_>, kind: ChartKind) {
    let is_map = kind == ChartKind::HeatMap;
    if kind == ChartKind::Curves && section.has("x") {
        section.problem("x", "the x axis of curves is the step; remove the key");
    }
    if kind != ChartKind::Curves && !section.has("x") {
        section.missing("x", "the column of the horizontal axis");
    }
    match (is_map, section.has("rows")) {
        (true, false) => section.missing("rows", "the column of the vertical axis"),
        (false, true) => section.problem("rows", "only kind = \"heat_map\" has rows; remove the key"),
        _ => {}
    }
    if is_map && section.has("lines") {
        section.problem("lines", "a heat map has no lines; use rows, or panels");
    }
}

impl TableDefinition {
    /// Reads a table of `[[tables]]`; `None` if a required key is missing or invalid.
    pub(super) fn read(mut section: Section<'_>, columns: &[Column]) -> Option<Self> {
        let title = text(&mut section, "title", "a title");
        let rows = text(&mut section, "rows", "the column with one row per value");
        let across = optional_text(&mut section, "columns");
        let value = text(&mut section, "value", "the column of the values");
        let filters = Filter::read(section.section("where"));
        for (key, name) in [("rows", &rows), ("columns", &across)] {
            name.iter().for_each(|name| check_column(&section, key, name, columns));
        }
        filters.iter().for_each(|filter| check_column(&section, "where", &filter.column, columns));
        value.iter().for_each(|name| check_numbers(&section, "value", name, columns));
        section.finish();
        Some(Self { title: title?, rows: rows?, columns: across, value: value?, filters })
    }
}
