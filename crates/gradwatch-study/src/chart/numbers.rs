//! The numbers of a chart as CSV.

use csv::Writer;

use super::Chart;

/// Every number drawn, one row per point: panel, line, x, number of runs with and without a finite value, mean, lowest
/// and highest value, and sample standard deviation. An unknown number is empty.
pub fn csv(chart: &Chart) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    // Writing to a vector cannot fail, and all records have the same length.
    let _ = writer.write_record(["panel", "line", "x", "n", "missing", "mean", "min", "max", "std"]);
    for (panel, line, point) in chart.points() {
        let seen = &point.statistics;
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let [mean, min, max, std] = [seen.mean, seen.min, seen.max, seen.std].map(number);
        let (n, missing) = (seen.n.to_string(), seen.missing.to_string());
        let record = [&*panel.name, chart.line_name(line), &*point.label, &n, &missing, &mean, &min, &max, &std];
        let _ = writer.write_record(record);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}
