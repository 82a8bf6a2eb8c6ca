//! Tests of line charts.

use image::RgbImage;

use super::*;

/// A chart of the learning rates 1e-4 to 1 with one panel.
fn chart<'a>(x: &'a [f64], panels: &'a [Panel<'a>]) -> LineChart<'a> {
    let mark = Mark { x: None, label: "" };
    LineChart { title: "title", x_label: "learning rate", x, x_range: [-4.0, 0.0], panels, mark }
}

fn line(values: &[f64]) -> [Line<'_>; 1] {
    [Line { name: "loss", values, is_faint: false }]
}

fn pixels(chart: &LineChart<'_>) -> RgbImage {
    image::load_from_memory(&chart.draw().unwrap().png).unwrap().into_rgb8()
}

/// Mean height of the pixels with a color in the column of each position, as a value; `None` without any.
fn heights(chart: &LineChart<'_>, color: Color) -> Vec<Option<f64>> {
    let (pixels, area) = (pixels(chart), chart.areas()[0]);
    let [low, high] = chart.panels[0].range().unwrap().ends();
    let x_range = Range::of(&chart.x_range).unwrap();
    let height = |x: &f64| {
        let column = (across(area, x_range, *x) as u32).clamp(area.left, area.right() - 1);
        let rows: Vec<u32> = (area.top..area.bottom()).filter(|y| pixels.get_pixel(column, *y).0 == color).collect();
        let mean = rows.iter().sum::<u32>() as f64 / rows.len() as f64 + 0.5;
        (!rows.is_empty()).then(|| low + (f64::from(area.bottom()) - mean) / f64::from(area.height) * (high - low))
    };
    chart.x.iter().map(height).collect()
}

#[test]
fn a_line_passes_each_value_at_its_position() {
    let x = [-3.5, -2.0, -1.0];
    let lines = line(&[1.0, 3.0, 2.0]);
    let panels = [Panel { unit: "loss", lines: &lines, range: None }];
    for (got, want) in heights(&chart(&x, &panels), BAR).into_iter().zip([1.0, 3.0, 2.0]) {
        assert!((got.unwrap() - want).abs() < 0.05, "{got:?} {want}");
    }
}

#[test]
fn a_value_that_is_not_finite_is_a_gap_and_a_value_alone_is_a_dot() {
    let x = [-3.5, -3.0, -2.0, -1.5, -1.0];
    let lines = line(&[1.0, f64::NAN, 1.5, f64::INFINITY, 2.0]);
    let panels = [Panel { unit: "loss", lines: &lines, range: None }];
    let drawn = heights(&chart(&x, &panels), BAR).iter().map(Option::is_some).collect::<Vec<_>>();
    assert_eq!(drawn, [true, false, true, false, true]);
}

#[test]
fn a_given_range_cuts_off_the_values_outside_of_it() {
    let x = [-3.5, -2.0];
    let lines = line(&[1.0, 1e9]);
    let range = Some([0.0, 2.0]);
    let panels = [Panel { unit: "loss", lines: &lines, range }, Panel { unit: "loss", lines: &lines, range }];
    let drawn = heights(&chart(&x, &panels), BAR);
    assert!((drawn[0].unwrap() - 1.0).abs() < 0.05);
    assert_eq!(drawn[1], None);
    // The second panel has the same line, and none of the first panel's pixels are between them.
    let (chart, pixels) = (chart(&x, &panels), pixels(&chart(&x, &panels)));
    let [first, second] = chart.areas()[..] else { panic!("two panels") };
    assert!(first.height >= 2 * second.height && first.bottom() + GAP <= second.top + 1);
    assert!(
        (first.bottom() + 1..second.top - 1)
            .all(|y| (first.left..first.right()).all(|x| pixels.get_pixel(x, y).0 != BAR))
    );
}

#[test]
fn the_mark_crosses_every_panel_at_its_position() {
    let x = [-4.0, 0.0];
    let lines = line(&[1.0, 1.0]);
    let panels = [Panel { unit: "a", lines: &lines, range: None }, Panel { unit: "b", lines: &lines, range: None }];
    let chart = LineChart { mark: Mark { x: Some(-1.0), label: "0.1" }, ..chart(&x, &panels) };
    let pixels = pixels(&chart);
    for area in chart.areas() {
        // A decade below the right end of an axis of four decades.
        let column = area.left + 3 * area.width / 4;
        assert_eq!(pixels.get_pixel(column, area.top + 5).0, FIT);
    }
}

#[test]
fn ticks_are_powers_of_ten_and_finer_on_a_short_axis() {
    let labels = |low: f64, high: f64| {
        x_ticks(Range::of(&[low, high]).unwrap()).into_iter().map(|(_, label)| label).collect::<Vec<_>>()
    };
    assert_eq!(labels(-5.0, 1.0), ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]);
    assert_eq!(labels(-2.0, -1.0), ["0.01", "0.016", "0.025", "0.04", "0.063", "0.1"]);
}

#[test]
fn a_value_for_each_position_is_wanted() {
    let lines = line(&[0.0; 3]);
    let panels = [Panel { unit: "loss", lines: &lines, range: None }];
    let error = chart(&[-1.0], &panels).draw().unwrap_err().to_string();
    assert_eq!(error, "a line chart cannot be drawn: got 3 values, want 1; give one for each position");
}
