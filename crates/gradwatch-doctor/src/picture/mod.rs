//! Pictures for TensorBoard's Images page, as PNG files: heat map, bar chart, line chart, confusion matrix, images with
//! captions, and an image with a heat map on top.
//!
//! Heat maps and bar charts accept any value. [`f64::NAN`] means unknown and is gray, [`f64::INFINITY`] means not
//! finite and is magenta, and [`f64::NEG_INFINITY`] is the logarithm of zero and is black. A legend explains these
//! colors if they appear. Long names are shortened in the middle. If there is no room for every label, only each 2nd,
//! 5th, 10th, ... is drawn. Text is large enough to read when TensorBoard shows the picture at two fifths of its width.
//! A table without cells gives a picture that says "no data".
//!
//! ```
//! use gradwatch_doctor::picture::HeatMap;
//!
//! let rows = ["conv1".to_string(), "fc".to_string()];
//! let map = HeatMap {
//!     title: "gradient of each layer",
//!     unit: "log10 RMS",
//!     rows: &rows,
//!     columns: &[0, 100, 250],
//!     values: &[-2.0, -2.5, f64::INFINITY, -1.0, -1.5, f64::NAN],
//!     range: None,
//! };
//! let picture = map.draw()?;
//! assert_eq!(&picture.png[1..4], b"PNG");
//! assert_eq!((picture.width, picture.height), (900, 560));
//! # Ok::<(), gradwatch_doctor::picture::PictureError>(())
//! ```

pub mod axis;
mod bar_chart;
mod canvas;
pub(crate) mod color;
mod confusion_matrix;
mod explanation;
mod heat_map;
mod image_grid;
mod line_chart;

pub use bar_chart::BarChart;
pub use confusion_matrix::ConfusionMatrix;
pub use explanation::Explanation;
pub use heat_map::HeatMap;
pub use image_grid::ImageGrid;
pub use line_chart::{Line, LineChart, Mark, Panel};

/// A drawn picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Contents of the PNG file.
    pub png: Vec<u8>,
    /// Width in pixels. Heat maps and bar charts are 900 pixels wide, or wider if the columns or bars need more room.
    pub width: u32,
    /// Height in pixels. Heat maps and bar charts are 560 pixels high, or higher if the rows need more room.
    pub height: u32,
}

/// Drawing error. Later pictures can still be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The number of values does not match the names.
    #[error("a {picture} cannot be drawn: got {got} values, want {want}; give one for each {cell}")]
    Shape {
        /// Kind of picture.
        picture: &'static str,
        /// Item that needs one value each.
        cell: &'static str,
        /// Number of values given.
        got: usize,
        /// Number of values expected.
        want: usize,
    },
    /// The PNG file cannot be encoded.
    #[error("a picture of {width} x {height} pixels cannot be encoded: {cause}; draw fewer rows and columns")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Error from the encoder.
        cause: image::ImageError,
    },
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn any_value() -> impl Strategy<Value = f64> {
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, 5e-324, 1e300];
        prop_oneof![any::<f64>(), -20.0..5.0, select(special.to_vec())]
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9_.]{0,80}", ".{0,80}"]
    }

    fn assert_is_drawn(picture: Result<Picture, PictureError>) {
        let Picture { png, width, height } = picture.unwrap();
        let pixels = image::load_from_memory(&png).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (width, height));
    }

    #[test]
    fn a_table_without_cells_is_drawn() {
        let rows = ["fc".to_string()];
        let map = HeatMap { title: "", unit: "", rows: &rows, columns: &[], values: &[], range: None };
        assert_is_drawn(map.draw());
        assert_is_drawn(HeatMap { rows: &[], columns: &[1, 2], ..map }.draw());
        assert_is_drawn(BarChart { title: "", unit: "", names: &[], values: &[], fit: None, caption: None }.draw());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_heat_map_is_drawn(
            rows in prop_oneof![vec(any_name(), 0..4), vec(any_name(), 0..401)],
            columns in prop_oneof![vec(any::<u64>(), 0..4), vec(any::<u64>(), 0..513)],
            pattern in vec(any_value(), 1..50),
            range in proptest::option::of([any_value(), any_value()]),
            title in any_name(),
        ) {
            let values: Vec<_> = pattern.iter().copied().cycle().take(rows.len() * columns.len()).collect();
            let map = HeatMap { title: &title, unit: &title, rows: &rows, columns: &columns, values: &values, range };
            assert_is_drawn(map.draw());
        }

        #[test]
        fn any_line_chart_is_drawn(
            points in vec((any_value(), any_value()), 0..200),
            x_range in [any_value(), any_value()],
            range in proptest::option::of([any_value(), any_value()]),
            x in proptest::option::of(any_value()),
            name in any_name(),
            panels in 0..4usize,
        ) {
            let (along, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
            let lines = [Line { name: &name, values: &values, is_faint: true }];
            let panels = vec![Panel { unit: &name, lines: &lines, range }; panels];
            let mark = Mark { x, label: &name };
            let chart = LineChart { title: &name, x_label: &name, x: &along, x_range, panels: &panels, mark };
            assert_is_drawn(chart.draw());
        }

        #[test]
        fn any_bar_chart_is_drawn(
            bars in prop_oneof![vec((any_name(), any_value()), 0..6), vec((any_name(), any_value()), 0..401)],
            fit in proptest::option::of([any_value(), any_value()]),
            caption in proptest::option::of(any_name()),
            title in any_name(),
        ) {
            let (names, values): (Vec<_>, Vec<_>) = bars.into_iter().unzip();
            let caption = caption.as_deref();
            let chart = BarChart { title: &title, unit: &title, names: &names, values: &values, fit, caption };
            assert_is_drawn(chart.draw());
        }
    }
}
