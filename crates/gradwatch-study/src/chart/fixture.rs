//! Results and definitions for tests.

use std::path::PathBuf;

use crate::{
    definition::{ChartDefinition, ChartKind, Filter, Scale},
    results::{Cell, Column, ColumnKind, Results, Row},
};

/// Results with the axes `depth` and `method`, a seed, and the measures `accuracy` and `loss`, by row.
pub(crate) fn results(rows: &[(f64, &str, f64, [f64; 2])]) -> Results {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let columns = vec![
        column("depth", ColumnKind::Axis),
        column("method", ColumnKind::Axis),
        column("seed", ColumnKind::Seed),
        column("accuracy", ColumnKind::Measure),
        column("loss", ColumnKind::Measure),
    ];
    let row = |(depth, method, seed, [accuracy, loss]): &(f64, &str, f64, [f64; 2])| Row {
        run: format!("depth={depth},method={method},seed={seed}"),
        folder: PathBuf::from(format!("depth={depth},method={method},seed={seed}")),
        cells: vec![
            Cell::Number(*depth),
            Cell::Text((*method).into()),
            Cell::Number(*seed),
            Cell::Number(*accuracy),
            Cell::Number(*loss),
        ],
    };
    Results { columns, rows: rows.iter().map(row).collect() }
}

/// A chart of `accuracy` by `depth`, with a line per `method`.
pub(crate) fn definition(kind: ChartKind) -> ChartDefinition {
    let is_map = kind == ChartKind::HeatMap;
    let method = Some("method".to_owned());
    ChartDefinition {
        title: "Accuracy by depth".into(),
        kind,
        x: (kind != ChartKind::Curves).then(|| "depth".into()),
        y: vec![if kind == ChartKind::Curves { "accuracy/validation" } else { "accuracy" }.into()],
        rows: method.clone().filter(|_| is_map),
        lines: method.filter(|_| !is_map),
        panels: None,
        filters: Vec::new(),
        x_scale: None,
        y_scale: Scale::Linear,
        y_range: None,
        x_label: None,
        labels: Vec::new(),
        y_label: None,
    }
}

/// Admits the rows with this value.
pub(crate) fn filter(column: &str, value: Cell) -> Filter {
    Filter { column: column.into(), values: vec![value] }
}
