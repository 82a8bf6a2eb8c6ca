use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};
use resvg::usvg::roxmltree::{Document, Node};

use super::{fixture::*, *};
use crate::{
    definition::ChartDefinition,
    results::{ColumnKind, Results},
};

const NAN: f64 = f64::NAN;

fn draw_svg(definition: &ChartDefinition, results: &Results) -> String {
    svg(&Chart::new(definition, results, &Curves::default()), "../report.html")
}

fn nodes<'a, 'input>(document: &'a Document<'input>, tag: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    document.descendants().filter(move |node| node.has_tag_name(tag))
}

/// Places of the markers: the translations of paths.
pub(super) fn markers(text: &str) -> Vec<[f64; 2]> {
    let document = Document::parse(text).unwrap();
    let place = |node: Node<'_, '_>| {
        let inner = node.attribute("transform")?.strip_prefix("translate(")?.strip_suffix(')')?.to_owned();
        let (x, y) = inner.split_once(' ')?;
        Some([x.parse().ok()?, y.parse().ok()?])
    };
    let links = nodes(&document, "a").flat_map(|link| link.children().filter(|node| node.has_tag_name("path")));
    links.filter_map(place).collect()
}

pub(super) fn texts(text: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap();
    nodes(&document, "text").filter_map(|node| node.text().map(str::to_owned)).collect()
}

/// The marks of missing values, without their explanation in the caption.
fn marks(text: &str) -> Vec<String> {
    texts(text).into_iter().filter(|text| text.starts_with('×') && !text.starts_with("×:")).collect()
}

/// Values at depths 0, 5, and 10 with one method.
fn three(values: [f64; 3]) -> Results {
    let rows = [0.0, 5.0, 10.0].into_iter().zip(values);
    results(&rows.map(|(depth, value)| (depth, "a", 1.0, [value, 0.0])).collect::<Vec<_>>())
}

// The plot of a single panel is 300 pixels high. Above it are half a margin (7), the title (34), and one row of the
// legend (21 + 8), so it extends from 70 to 370.

#[test]
fn values_are_at_their_places_on_a_linear_axis() {
    let range = ChartDefinition { y_range: Some([0.0, 1.0]), ..definition(ChartKind::Lines) };
    let places = markers(&draw_svg(&range, &three([0.0, 0.25, 1.0])));
    assert_eq!(places.iter().map(|place| place[1]).collect::<Vec<_>>(), [370.0, 295.0, 70.0]);
    assert!((places[0][0] + places[2][0] - 2.0 * places[1][0]).abs() < 0.2, "{places:?}");
    assert!(places[0][0] < places[1][0]);
}

#[test]
fn equal_ratios_are_equal_distances_on_a_logarithmic_axis() {
    let log = ChartDefinition { y_scale: Scale::Log, y_range: Some([0.01, 1.0]), ..definition(ChartKind::Lines) };
    let text = draw_svg(&log, &three([0.01, 0.1, 1.0]));
    assert_eq!(markers(&text).iter().map(|place| place[1]).collect::<Vec<_>>(), [370.0, 220.0, 70.0]);
    assert!(texts(&text).contains(&"accuracy (log scale)".to_owned()));
    let log = ChartDefinition { x_scale: Some(Scale::Log), ..definition(ChartKind::Lines) };
    let rows = [(1.0, "a", 1.0, [0.5, 0.0]), (10.0, "a", 1.0, [0.6, 0.0]), (100.0, "a", 1.0, [0.7, 0.0])];
    let places = markers(&draw_svg(&log, &results(&rows)));
    assert!((places[0][0] + places[2][0] - 2.0 * places[1][0]).abs() < 0.2, "{places:?}");
}

#[test]
fn a_bar_extends_from_zero_to_its_mean() {
    let range = ChartDefinition { y_range: Some([-1.0, 1.0]), ..definition(ChartKind::Bars) };
    let text = draw_svg(&range, &three([0.5, -1.0, 0.0]));
    let document = Document::parse(&text).unwrap();
    let bars = nodes(&document, "a").filter_map(|link| link.children().find(|node| node.has_tag_name("rect")));
    let ends: Vec<[&str; 2]> = bars.map(|bar| ["y", "height"].map(|name| bar.attribute(name).unwrap())).collect();
    // Zero is in the middle, at 220.
    assert_eq!(ends, [["145", "75"], ["220", "150"], ["220", "0"]]);
    // Without a range, the axis starts at 0.
    assert!(texts(&draw_svg(&definition(ChartKind::Bars), &three([0.8, 0.9, 0.85]))).contains(&"0".to_owned()));
}

#[test]
fn a_heat_map_colors_the_lowest_and_the_highest_mean_with_the_ends_of_viridis() {
    let rows = [(1.0, "a", 1.0, [0.1, 0.0]), (2.0, "a", 1.0, [0.9, 0.0]), (1.0, "b", 1.0, [NAN, 0.0])];
    let text = draw_svg(&definition(ChartKind::HeatMap), &results(&rows));
    let document = Document::parse(&text).unwrap();
    let cells = nodes(&document, "a").filter_map(|link| link.children().find(|node| node.has_tag_name("rect")));
    let fills: Vec<&str> = cells.map(|cell| cell.attribute("fill").unwrap()).collect();
    assert_eq!(fills, ["#440154", "#fde725", "currentColor"]);
    let texts = texts(&text);
    for want in ["0.100", "0.900", "×", "1", "2", "a", "b", "depth", "method", "accuracy"] {
        assert!(texts.contains(&want.to_owned()), "{want}: {texts:?}");
    }
}

#[test]
fn runs_without_a_finite_value_have_a_mark_with_their_count() {
    let rows = [
        (1.0, "a", 1.0, [0.5, 0.0]),
        (1.0, "a", 2.0, [NAN, 0.0]),
        (2.0, "a", 1.0, [f64::INFINITY, 0.0]),
        (2.0, "a", 2.0, [NAN, 0.0]),
    ];
    for kind in [ChartKind::Lines, ChartKind::Bars] {
        let text = draw_svg(&definition(kind), &results(&rows));
        assert_eq!(marks(&text), ["×1", "×2"], "{kind}");
        assert!(text.contains("<title>a, 1: 0.5 (n = 1, 1 of 2 runs without a finite value)</title>"), "{text}");
        assert!(text.contains("no finite value in 2 runs"), "{text}");
    }
}

#[test]
fn a_band_extends_from_the_lowest_to_the_highest_run() {
    let rows = [
        (0.0, "a", 1.0, [0.2, 0.0]),
        (0.0, "a", 2.0, [0.4, 0.0]),
        (1.0, "a", 1.0, [0.6, 0.0]),
        (1.0, "a", 2.0, [1.0, 0.0]),
    ];
    let range = ChartDefinition { y_range: Some([0.0, 1.0]), ..definition(ChartKind::Lines) };
    let text = draw_svg(&range, &results(&rows));
    let document = Document::parse(&text).unwrap();
    let band = nodes(&document, "path").find(|path| path.attribute("fill-opacity") == Some("0.15")).unwrap();
    let heights: Vec<&str> = band.attribute("d").unwrap().split(['M', 'L', 'z', ' ']).collect();
    // Highest runs from left to right, lowest runs back.
    assert_eq!([heights[2], heights[4], heights[6], heights[8]], ["250", "70", "190", "310"]);
    assert_eq!(markers(&text).iter().map(|place| place[1]).collect::<Vec<_>>(), [280.0, 130.0]);
}

#[test]
fn panels_lines_and_categories_are_in_numerical_order_or_in_that_of_the_results() {
    let rows = [(8.0, "b", 2.0, [0.1, 0.0]), (4.0, "a", 1.0, [0.2, 0.0]), (8.0, "a", 1.0, [0.3, 0.0])];
    let chart = ChartDefinition {
        x: Some("method".into()),
        lines: Some("depth".into()),
        panels: Some("seed".into()),
        ..definition(ChartKind::Lines)
    };
    let chart = Chart::new(&chart, &results(&rows), &Curves::default());
    assert_eq!(chart.lines, ["4", "8"]);
    assert_eq!(chart.x.categories, ["b", "a"]);
    let panels: Vec<&str> = chart.panels.iter().map(|panel| &*panel.name).collect();
    assert_eq!(panels, ["seed = 1", "seed = 2"]);
    let points: Vec<(&str, &str, f64, Vec<usize>)> = chart
        .points()
        .map(|(panel, line, point)| (&*panel.name, chart.line_name(line), point.x, point.runs.clone()))
        .collect();
    let want = [("seed = 1", "4", 1.0, vec![1]), ("seed = 1", "8", 1.0, vec![2]), ("seed = 2", "8", 0.0, vec![0])];
    assert_eq!(points, want);
}

#[test]
fn several_columns_are_one_line_each() {
    let two =
        ChartDefinition { y: vec!["accuracy".into(), "loss".into()], lines: None, ..definition(ChartKind::Lines) };
    let chart = Chart::new(&two, &results(&[(1.0, "a", 1.0, [0.5, 2.0])]), &Curves::default());
    let means: Vec<_> = chart.points().map(|(_, line, point)| (chart.line_name(line), point.statistics.mean)).collect();
    assert_eq!(means, [("accuracy", 0.5), ("loss", 2.0)]);
}

#[test]
fn shares_have_confidence_intervals_and_columns_their_labels() {
    let two = ChartDefinition {
        y: vec!["accuracy".into(), "loss".into()],
        labels: vec!["first layer".into(), "output layer".into()],
        lines: None,
        ..definition(ChartKind::Bars)
    };
    let rows: Vec<_> = (0..20).map(|seed| (1.0, "a", f64::from(seed), [0.0, f64::from(seed % 2)])).collect();
    let mut results = results(&rows);
    results.columns[3].kind = ColumnKind::Flag;
    let chart = Chart::new(&two, &results, &Curves::default());
    assert_eq!(chart.lines, ["first layer", "output layer"]);
    // 0 of 20: from 0 to 0.1611, by Newcombe 1998.
    let [low, high] = chart.points().next().unwrap().2.statistics.spread();
    assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5, "{low} {high}");
    let drawn = svg(&chart, "");
    assert!(drawn.contains("Bar: share of runs; whisker: 95% confidence interval (Wilson); n = 20 runs"), "{drawn}");
    assert!(drawn.contains("first layer, 1: 0, 95% interval 0 to 0.1611 (n = 20)"), "{drawn}");
}

#[test]
fn the_csv_has_every_number_drawn() {
    let rows = [(1.0, "a, \"b\"", 1.0, [0.25, 0.0]), (1.0, "a, \"b\"", 2.0, [0.75, 0.0]), (2.0, "c", 1.0, [NAN, 0.0])];
    let text = csv(&Chart::new(&definition(ChartKind::Lines), &results(&rows), &Curves::default()));
    // Deviations of 0.25 twice: sqrt(2 * 0.0625).
    let want = format!(
        "panel,line,x,n,missing,mean,min,max,std,crosses,low,high\n,\"a, \"\"b\"\"\",1,2,0,0.5,0.25,0.75,{},0,0.25,0.75\n,c,2,0,1,,,,,1,,\n",
        0.125f64.sqrt()
    );
    assert_eq!(text, want);
}

#[test]
fn categories_that_are_numbers_are_thinned_and_long_names_are_slanted() {
    let rotations = |text: &str| text.matches("rotate(-35)").count();
    let rows: Vec<_> = (0..40).map(|depth| (f64::from(depth) + 100.0, "a", 1.0, [0.5, 0.0])).collect();
    let numbers = draw_svg(&definition(ChartKind::Bars), &results(&rows));
    assert_eq!(rotations(&numbers), 0);
    let shown = texts(&numbers);
    // 40 places on less than 900 pixels are more than 20 apart, and three digits are less than 40 wide.
    assert!(
        shown.contains(&"100".into()) && shown.contains(&"102".into()) && !shown.contains(&"101".into()),
        "{shown:?}"
    );
    let names: Vec<String> = (0..12).map(|index| format!("initialization_{index}")).collect();
    let rows: Vec<_> = names.iter().map(|name| (1.0, &**name, 1.0, [0.5, 0.0])).collect();
    let by_name = ChartDefinition { x: Some("method".into()), lines: None, ..definition(ChartKind::Bars) };
    assert_eq!(rotations(&draw_svg(&by_name, &results(&rows))), 12);
}

fn curves(of_rows: &[&[(u64, f64)]]) -> Curves {
    let mut curves = Curves::default();
    for (row, steps) in of_rows.iter().enumerate() {
        curves.insert(row, "accuracy/validation", steps.iter().copied().collect::<BTreeMap<_, _>>());
    }
    curves
}

#[test]
fn a_curve_is_the_mean_at_each_step_and_marks_where_a_run_diverged() {
    let runs = results(&[(1.0, "a", 1.0, [0.0; 2]), (1.0, "a", 2.0, [0.0; 2])]);
    let curves = curves(&[&[(0, 1.0), (10, 2.0), (20, 3.0)], &[(0, 3.0), (10, NAN), (20, NAN)]]);
    let chart = Chart::new(&definition(ChartKind::Curves), &runs, &curves);
    let points: Vec<_> = chart
        .points()
        .map(|(.., point)| (point.x, point.statistics.mean, point.statistics.missing, point.diverged))
        .collect();
    assert_eq!(points, [(0.0, 2.0, 0, 0), (10.0, 2.0, 1, 1), (20.0, 3.0, 1, 0)]);
    assert_eq!(marks(&svg(&chart, "")), ["×1"]);
}

#[test]
fn a_tag_that_no_run_has_is_named_with_similar_ones() {
    let runs = results(&[(1.0, "a", 1.0, [0.0; 2])]);
    let of_tags = |tags: &[&str]| {
        let y = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let definition = ChartDefinition { y, lines: None, ..definition(ChartKind::Curves) };
        texts(&svg(&Chart::new(&definition, &runs, &curves(&[&[(0, 1.0), (1, 2.0)]])), "")).join(" ")
    };
    let said = of_tags(&["accuracy/validtion"]);
    assert!(said.contains("no run has the tag accuracy/validtion; did you mean accuracy/validation?"), "{said}");
    assert!(!said.contains("no finite value") && !said.contains("n ="), "{said}");
    // The other curve is drawn.
    let said = of_tags(&["accuracy/validation", "zzz"]);
    assert!(said.contains("Each line is one run; no run has the tag zzz; the runs have 1 tag, such as"), "{said}");
}

#[test]
fn a_long_curve_averages_neighboring_steps() {
    let steps: Vec<(u64, f64)> = (0..1000).map(|step| (step, step as f64)).collect();
    let runs = results(&[(1.0, "a", 1.0, [0.0; 2])]);
    let chart = Chart::new(&definition(ChartKind::Curves), &runs, &curves(&[&steps]));
    // 999 steps in at most 400 points need at least 2.5 steps each.
    assert_eq!(chart.steps_per_point, 5);
    let points: Vec<(f64, f64)> = chart.points().map(|(.., point)| (point.x, point.statistics.mean)).collect();
    assert_eq!((points.len(), points[0], points[199]), (200, (2.0, 2.0), (997.0, 997.0)));
}

#[test]
fn a_chart_without_runs_or_values_is_drawn() {
    for kind in [ChartKind::Lines, ChartKind::Bars, ChartKind::HeatMap, ChartKind::Curves] {
        for results in [results(&[]), results(&[(1.0, "a", 1.0, [NAN, 0.0])])] {
            let text = draw_svg(&definition(kind), &results);
            assert!(png(&text).unwrap().starts_with(b"\x89PNG"), "{kind}");
        }
    }
}

#[test]
fn a_png_has_the_light_colors_and_twice_the_size() {
    let text = draw_svg(&definition(ChartKind::Lines), &three([0.1, 0.5, 0.9]));
    let png = png(&text).unwrap();
    let pixmap = resvg::tiny_skia::Pixmap::decode_png(&png).unwrap();
    let document = Document::parse(&text).unwrap();
    let width: u32 = document.root_element().attribute("width").unwrap().parse().unwrap();
    assert_eq!(pixmap.width(), 2 * width);
    let has = |red, green, blue| {
        let is_it = |pixel: &resvg::tiny_skia::PremultipliedColorU8| {
            (pixel.red(), pixel.green(), pixel.blue()) == (red, green, blue)
        };
        pixmap.pixels().iter().any(is_it)
    };
    // Paper, the first line, and text.
    assert!(has(0xff, 0xff, 0xff) && has(0x00, 0x72, 0xb2) && has(0x5a, 0x5f, 0x68) && !has(0x1b, 0x1d, 0x21));
}

fn any_value() -> impl Strategy<Value = f64> {
    let special = [NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, 5e-324];
    prop_oneof![any::<f64>(), -2.0..2.0, select(special.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_results_give_well_formed_svg_of_finite_numbers(
        rows in vec((any_value(), ".{0,60}", any_value(), [any_value(), any_value()]), 0..24),
        kind in select(ChartKind::ALL.to_vec()),
        [x_is_log, y_is_log, has_panels, swaps] in any::<[bool; 4]>(),
        title in ".{0,200}",
        steps in vec((0u64..2000, any_value()), 0..30),
    ) {
        let rows: Vec<_> = rows.iter().map(|(depth, name, seed, values)| (*depth, &**name, *seed, *values)).collect();
        let results = results(&rows);
        let of_runs = vec![&*steps; rows.len()];
        let default = definition(kind);
        let swapped = if swaps { Some("method".to_owned()) } else { default.x.clone() };
        let chart = ChartDefinition {
            title,
            x: default.x.clone().and(swapped),
            panels: has_panels.then(|| "seed".into()),
            x_scale: x_is_log.then_some(Scale::Log),
            y_scale: if y_is_log { Scale::Log } else { Scale::Linear },
            ..default
        };
        let chart = Chart::new(&chart, &results, &curves(&of_runs));
        let text = svg(&chart, "../report.html");
        let document = Document::parse(&text).unwrap();
        for node in document.descendants() {
            for attribute in node.attributes().filter(|attribute| matches!(attribute.name(), "d" | "x" | "y" | "width" | "height" | "transform" | "viewBox")) {
                prop_assert!(!attribute.value().contains("NaN") && !attribute.value().contains("inf"), "{}", attribute.value());
            }
        }
        prop_assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
        for record in csv::Reader::from_reader(numbers::csv(&chart).as_bytes()).records() {
            let record = record.unwrap();
            let is_finite = |field: &str| field.is_empty() || field.parse::<f64>().is_ok_and(f64::is_finite);
            prop_assert!((3..10).all(|field| is_finite(&record[field])), "{record:?}");
        }
    }
}
