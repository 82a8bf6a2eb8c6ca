//! The numbers of a chart as CSV.

use csv::Writer;

use super::Chart;

/// Every number drawn, one row per point: panel, line, x, number of runs with and without a finite value, mean, lowest
/// and highest value, sample standard deviation, the number beside its cross, and the ends of its whisker or band. An unknown number is empty.
pub fn csv(chart: &Chart) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    // Writing to a vector cannot fail, and all records have the same length.
    let _ = writer
        .write_record(["panel", "line", "x", "n", "missing", "mean", "min", "max", "std", "crosses", "low", "high"]);
    for (panel, line, point) in chart.points() {
        let seen = &point.statistics;
        let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
        let [mean, min, max, std] = [seen.mean, seen.min, seen.max, seen.std].map(number);
        let (n, missing) = (seen.n.to_string(), seen.missing.to_string());
        let (name, line, x) = (&*panel.name, chart.line_name(line), &*point.label);
        let (crosses, [low, high]) = (point.diverged.to_string(), seen.spread().map(number));
        let record = [name, line, x, &n, &missing, &mean, &min, &max, &std, &crosses, &low, &high];
        let _ = writer.write_record(record);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::{collection::vec, prelude::*, sample::select};
    use resvg::usvg::roxmltree::Document;

    use super::*;
    use crate::{
        chart::{
            Curves, Digits,
            fixture::{definition, results},
            svg,
        },
        definition::{ChartDefinition, ChartKind, Scale},
    };

    /// A number as a tooltip shows it.
    fn short(field: &str) -> String {
        gradwatch_doctor::number::short(field.parse().unwrap())
    }

    /// The tooltip of a row of the CSV file, from its text alone.
    fn tooltip(row: &csv::StringRecord) -> String {
        let names: Vec<&str> = [&row[0], &row[1], &row[2]].into_iter().filter(|name| !name.is_empty()).collect();
        let (n, missing): (usize, usize) = (row[3].parse().unwrap(), row[4].parse().unwrap());
        let runs = n + missing;
        let runs = format!("{runs} run{}", if runs == 1 { "" } else { "s" });
        let without = if missing > 0 { format!(", {missing} of {runs} without a finite value") } else { String::new() };
        let value = match n {
            0 => format!("no finite value in {runs}"),
            1 => format!("{} (n = 1{without})", short(&row[5])),
            _ => {
                let [mean, min, max, std] = [5, 6, 7, 8].map(|field| short(&row[field]));
                format!("{mean} ± {std}, {min} to {max} (n = {n}{without})")
            }
        };
        format!("{}: {value}", names.join(", "))
    }

    fn records(chart: &Chart) -> Vec<csv::StringRecord> {
        csv::Reader::from_reader(csv(chart).as_bytes()).records().map(Result::unwrap).collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![-2.0..2.0, 1e-3..1e3, select(vec![f64::NAN, f64::INFINITY, 0.0, 1e-9, 1e9])]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_number_of_a_chart_is_in_its_csv_with_n_and_spread(
            rows in vec((select(vec![1.0, 2.0, 8.0]), select(vec!["a", "b"]), 0u8..3, value()), 1..20),
            steps in vec(vec((0u64..6, value()), 1..6), 20),
            kind in select(ChartKind::ALL.to_vec()),
            is_log in any::<bool>(),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(depth, method, seed, y)| (depth, method, f64::from(seed), [y, 0.0])).collect();
            let definition = ChartDefinition {
                panels: Some("seed".into()),
                y_scale: if is_log { Scale::Log } else { Scale::Linear },
                ..definition(kind)
            };
            let mut curves = Curves::default();
            for (row, steps) in steps.into_iter().enumerate() {
                curves.insert(row, "accuracy/validation", steps.into_iter().collect::<BTreeMap<_, _>>());
            }
            let chart = Chart::new(&definition, &results(&rows), &curves);
            let (drawn, records) = (svg(&chart, ""), records(&chart));
            let document = Document::parse(&drawn).unwrap();
            let known: BTreeSet<String> = records.iter().map(tooltip).collect();
            let means = || records.iter().filter_map(|row| row[5].parse::<f64>().ok());
            let digits = Digits::of(means());
            let cells: BTreeSet<String> = means().map(|mean| digits.text(mean)).collect();
            let crosses: BTreeSet<String> = records.iter().map(|row| format!("×{}", &row[9])).chain(["×".into()]).collect();
            for link in document.descendants().filter(|node| node.has_tag_name("a")) {
                let title = link.children().find(|node| node.has_tag_name("title")).and_then(|title| title.text()).unwrap();
                prop_assert!(known.contains(title), "{title}\n{known:#?}");
                for text in link.descendants().filter(|node| node.has_tag_name("text")).filter_map(|node| node.text()) {
                    prop_assert!(cells.contains(text) || crosses.contains(text), "{text}\n{cells:?} {crosses:?}");
                }
            }
            // n, missing, and spread of every row are those of its runs.
            for (row, (.., point)) in records.iter().zip(chart.points()) {
                let runs: usize = row[3].parse::<usize>().unwrap() + row[4].parse::<usize>().unwrap();
                prop_assert_eq!(runs, point.runs.len());
                prop_assert_eq!(row[8].is_empty(), &row[3] == "0" || &row[3] == "1");
            }
        }

        #[test]
        fn every_marker_is_at_the_height_of_a_mean_of_the_csv(
            values in vec(-2.0..2.0, 3),
        ) {
            let rows: Vec<_> = values.iter().zip([1.0, 2.0, 3.0]).map(|(value, depth)| (depth, "a", 1.0, [*value, 0.0])).collect();
            let ranged = ChartDefinition { y_range: Some([-1.0, 1.0]), ..definition(ChartKind::Lines) };
            let chart = Chart::new(&ranged, &results(&rows), &Curves::default());
            // The plot extends from 70 to 370.
            let means = records(&chart).into_iter().map(|row| row[5].parse::<f64>().unwrap());
            let want: Vec<f64> = means.filter(|mean| mean.abs() <= 1.0).map(|mean| 370.0 - 150.0 * (mean + 1.0)).collect();
            let seen = crate::chart::tests::markers(&svg(&chart, ""));
            prop_assert_eq!(seen.len(), want.len());
            prop_assert!(seen.iter().zip(&want).all(|(seen, want)| (seen[1] - want).abs() <= 0.0501), "{seen:?} {want:?}");
        }
    }
}
