//! The charts in docs/studies: every number in them follows from the results beside them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use gradwatch_study::{ChartDefinition, ChartKind, Study};

type Row = BTreeMap<String, String>;
/// Panel, line, and x of a point.
type Place = [String; 3];

fn read(path: &Path) -> Vec<Row> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| header.iter().zip(&record).map(|(k, v)| (k.into(), v.into())).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// The finite values of each point, and the number of runs without one, straight from the results.
fn expected(chart: &ChartDefinition, runs: &[Row]) -> BTreeMap<Place, (Vec<f64>, usize)> {
    let mut points: BTreeMap<Place, (Vec<f64>, usize)> = BTreeMap::new();
    for run in runs {
        let admits =
            chart.filters.iter().all(|filter| filter.values.iter().any(|it| it.to_string() == run[&filter.column]));
        // A run without a place on an axis is not drawn.
        let x = chart.x.as_ref().map_or("", |name| &run[name]);
        if !admits || x.is_empty() {
            continue;
        }
        for (index, column) in chart.y.iter().enumerate() {
            let line = match (&chart.lines, chart.labels.get(index)) {
                (Some(lines), _) => run[lines].clone(),
                (None, Some(label)) => label.clone(),
                (None, None) if chart.y.len() > 1 => column.clone(),
                (None, None) => String::new(),
            };
            let panel = chart
                .panels
                .as_ref()
                .map_or(String::new(), |name| format!("{} = {}", name.rsplit('.').next().unwrap(), run[name]));
            let point = points.entry([panel, line, x.to_owned()]).or_default();
            match run[column].parse::<f64>() {
                Ok(value) if value.is_finite() => point.0.push(value),
                _ => point.1 += 1,
            }
        }
    }
    points
}

fn check(chart: &ChartDefinition, runs: &[Row], drawn: &[Row]) {
    let mut expected = expected(chart, runs);
    for point in drawn {
        let place = ["panel", "line", "x"].map(|key| point[key].clone());
        let (values, missing) = expected.remove(&place).unwrap_or_else(|| panic!("{}: {place:?}", chart.title));
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = if n > 1.0 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
        let (min, max) = values.iter().fold((f64::INFINITY, -f64::INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        assert_eq!([&point["n"], &point["missing"]], [&values.len().to_string(), &missing.to_string()], "{place:?}");
        for (key, want) in [("mean", mean), ("min", min), ("max", max), ("std", std)] {
            match point[key].parse::<f64>() {
                Ok(got) => {
                    assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{place:?} {key}: {got}, not {want}")
                }
                Err(_) => assert!(!want.is_finite(), "{place:?}: no {key}, want {want}"),
            }
        }
    }
    assert!(expected.is_empty(), "{}: not drawn: {:?}", chart.title, expected.keys());
}

#[test]
fn every_number_of_a_documented_chart_follows_from_the_results_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut checked = 0;
    for folder in fs::read_dir(root.join("docs/studies")).unwrap() {
        let folder: PathBuf = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let study = Study::load(&root.join("configs/studies").join(format!("{name}.toml"))).unwrap();
        let runs = read(&folder.join("results.csv"));
        assert!(!runs.is_empty(), "{name}");
        for chart in &study.charts {
            assert!(folder.join(format!("{}.svg", chart.slug())).exists(), "{name}: {}", chart.title);
            let drawn = read(&folder.join(format!("{}.csv", chart.slug())));
            assert!(!drawn.is_empty(), "{name}: {}", chart.title);
            // The curves are those of the event files.
            if chart.kind != ChartKind::Curves {
                check(chart, &runs, &drawn);
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no chart was checked");
}
