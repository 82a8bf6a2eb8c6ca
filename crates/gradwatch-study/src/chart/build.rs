//! Builds charts from results: groups the runs and computes the statistics of each group.

use super::{Axis, Chart, Curves, Line, Panel, Point};
use crate::{
    definition::{ChartDefinition, ChartKind, Scale},
    groups::{Group, cell, groups, name, number},
    results::{Cell, Results, Row},
};

impl Chart {
    /// The chart of a definition. Runs that agree in its columns are a group with one point; for curves, with one line
    /// of points. `curves` has the series of the runs; charts of other kinds do not use it.
    ///
    /// Panels, lines, and categories are in ascending order if they are numbers, else in the order of the results.
    pub fn new(definition: &ChartDefinition, results: &Results, curves: &Curves) -> Self {
        let keep = |row: &Row| {
            let admits = |filter: &crate::definition::Filter| filter.admits(cell(row, column(results, &filter.column)));
            definition.filters.iter().all(admits)
        };
        let key = |name: &Option<String>| name.as_deref().map(|name| column(results, name));
        let lines = if definition.kind == ChartKind::HeatMap { &definition.rows } else { &definition.lines };
        let by: Vec<usize> = [key(&definition.panels), key(lines), key(&definition.x)].into_iter().flatten().collect();
        let groups = groups(results, &by, keep);
        let parts = Parts {
            panels: key(&definition.panels).map(|column| distinct(results, &groups, column)),
            lines: key(lines).map(|column| distinct(results, &groups, column)),
            xs: key(&definition.x).map(|column| distinct(results, &groups, column)).unwrap_or_default(),
        };
        let scale = x_scale(definition, &parts.xs);
        let mut chart = empty(definition, scale, &parts);
        if groups.is_empty() {
            chart.remarks.push(without_runs(definition, results));
        }
        chart.panels =
            parts.panel_names(definition).into_iter().map(|name| Panel { name, lines: Vec::new() }).collect();
        if definition.kind == ChartKind::Curves {
            chart.add_curves(definition, &groups, &parts, curves);
        } else {
            chart.add_points(definition, results, &groups, &parts);
        }
        chart
    }

    fn add_points(&mut self, definition: &ChartDefinition, results: &Results, groups: &[Group], parts: &Parts) {
        let mut count = 0;
        for group in groups {
            let [panel, line] = parts.places(&group.keys);
            for (series, y) in definition.y.iter().enumerate() {
                let index = if definition.y.len() > 1 { series } else { line };
                let statistics = group.statistics(results, column(results, y));
                let x = group.keys.last().unwrap_or(&Cell::Missing);
                let place = if self.x.scale == Scale::Category { parts.x_place(x) as f64 } else { number(x) };
                let (diverged, runs) = (statistics.missing, group.rows.clone());
                let point = Point { x: place, label: name(x), statistics, diverged, runs, group: count };
                self.line(panel, index).points.push(point);
                count += 1;
            }
        }
        let lines = self.panels.iter_mut().flat_map(|panel| &mut panel.lines);
        lines.for_each(|line| line.points.sort_by(|one, other| one.x.total_cmp(&other.x)));
    }

    fn add_curves(&mut self, definition: &ChartDefinition, groups: &[Group], parts: &Parts, curves: &Curves) {
        let rows = || groups.iter().flat_map(|group| &group.rows);
        let absent = definition.y.iter().filter(|tag| !rows().any(|row| curves.has(*row, tag)));
        self.remarks.extend(absent.filter(|_| !groups.is_empty()).map(|tag| curves.absence(tag)));
        let steps = definition.y.iter().map(|tag| curves.steps_per_point(rows(), tag));
        self.steps_per_point = steps.max().unwrap_or(1);
        let mut count = 0;
        for group in groups {
            let [panel, line] = parts.places(&group.keys);
            for (series, tag) in definition.y.iter().enumerate() {
                let index = if definition.y.len() > 1 { series } else { line };
                let points = curves.points(&group.rows, tag, self.steps_per_point, count);
                self.line(panel, index).points.extend(points);
                count += 1;
            }
        }
    }

    /// The line with this index in a panel, which is added if it is missing. Lines are in the order of their indices.
    fn line(&mut self, panel: usize, index: usize) -> &mut Line {
        let lines = &mut self.panels[panel].lines;
        let place = lines.partition_point(|line| line.index < index);
        if lines.get(place).is_none_or(|line| line.index != index) {
            lines.insert(place, Line { index, points: Vec::new() });
        }
        &mut lines[place]
    }
}

/// The different values of the columns that make panels, lines, and positions; `None` without such a column.
struct Parts {
    panels: Option<Vec<Cell>>,
    lines: Option<Vec<Cell>>,
    xs: Vec<Cell>,
}

impl Parts {
    /// Indices of the panel and the line of a group.
    fn places(&self, keys: &[Cell]) -> [usize; 2] {
        let mut keys = keys.iter();
        [&self.panels, &self.lines].map(|values| match values {
            Some(values) => keys.next().map_or(0, |key| place(values, key)),
            None => 0,
        })
    }

    fn x_place(&self, x: &Cell) -> usize {
        place(&self.xs, x)
    }

    /// Names of the panels, such as `activation = relu`.
    fn panel_names(&self, definition: &ChartDefinition) -> Vec<String> {
        match (&self.panels, &definition.panels) {
            (Some(panels), Some(column)) => {
                let column = column.rsplit('.').next().unwrap_or(column);
                panels.iter().map(|panel| format!("{column} = {}", name(panel))).collect()
            }
            _ => vec![String::new()],
        }
    }
}

/// The chart without its points.
fn empty(definition: &ChartDefinition, scale: Scale, parts: &Parts) -> Chart {
    let is_map = definition.kind == ChartKind::HeatMap;
    let names = |cells: &[Cell]| cells.iter().map(name).collect::<Vec<_>>();
    let or = |label: &Option<String>, name: &str| label.clone().unwrap_or_else(|| name.to_owned());
    let values = or(&definition.y_label, &definition.y.join(", "));
    let [y, legend] = match is_map {
        true => [definition.rows.clone().unwrap_or_default(), values],
        false => [values, definition.lines.clone().unwrap_or_default()],
    };
    let lines = match &parts.lines {
        Some(lines) => names(lines),
        None if !definition.labels.is_empty() => definition.labels.clone(),
        None if definition.y.len() > 1 => definition.y.clone(),
        None => vec![String::new()],
    };
    Chart {
        title: definition.title.clone(),
        slug: definition.slug(),
        kind: definition.kind,
        x: Axis {
            label: or(&definition.x_label, definition.x.as_deref().unwrap_or("step")),
            scale,
            range: None,
            categories: if scale == Scale::Category { names(&parts.xs) } else { Vec::new() },
        },
        y: Axis { label: y, scale: definition.y_scale, range: definition.y_range, categories: Vec::new() },
        legend,
        lines,
        panels: Vec::new(),
        remarks: Vec::new(),
        steps_per_point: 1,
    }
}

/// Why a chart has no runs.
fn without_runs(definition: &ChartDefinition, results: &Results) -> String {
    let has_filters = !definition.filters.is_empty() && !groups(results, &[], |_| true).is_empty();
    if has_filters { "no run matches the filter (where)" } else { "no run has started" }.to_owned()
}

/// Bars, heat maps, and texts have categories. A run without a number has no place among numbers.
fn x_scale(definition: &ChartDefinition, xs: &[Cell]) -> Scale {
    let has_categories = matches!(definition.kind, ChartKind::Bars | ChartKind::HeatMap)
        || xs.iter().any(|x| matches!(x, Cell::Text(_)));
    match definition.x_scale {
        _ if has_categories => Scale::Category,
        Some(scale) => scale,
        None => Scale::Linear,
    }
}

/// Index of a column. The index of an unknown one is past the end, where all cells are missing.
pub(crate) fn column(results: &Results, name: &str) -> usize {
    results.columns.iter().position(|column| column.name == name).unwrap_or(results.columns.len())
}

/// The different values of a column over all groups: in ascending order if they are numbers, else in their order.
pub(crate) fn distinct(results: &Results, groups: &[Group], column: usize) -> Vec<Cell> {
    let mut values: Vec<Cell> = Vec::new();
    for row in groups.iter().flat_map(|group| &group.rows) {
        let value = cell(&results.rows[*row], column);
        if !values.iter().any(|known| name(known) == name(value)) {
            values.push(value.clone());
        }
    }
    if values.iter().all(|value| value.number().is_some()) {
        values.sort_by(Cell::order);
    }
    values
}

/// Index of a cell among the different values of its column.
pub(crate) fn place(values: &[Cell], cell: &Cell) -> usize {
    values.iter().position(|value| name(value) == name(cell)).unwrap_or(0)
}
