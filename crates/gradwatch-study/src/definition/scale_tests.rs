//! Scales of the horizontal axis that a chart has, and those that it does not have.

use super::{Scale, tests::problems};
use crate::fixture::study;

/// A chart of this kind with these keys.
fn chart(kind: &str, keys: &str, scale: &str) -> String {
    format!("[[charts]]\ntitle = \"A\"\nkind = \"{kind}\"\ny = \"steps\"\nx_scale = \"{scale}\"\n{keys}")
}

#[test]
fn a_scale_that_a_chart_does_not_have_is_refused() {
    let categories = "want \"category\": each value of x has a place of its own; kind = \"lines\" has other scales";
    let texts = "want \"category\": x has text";
    let of_curves = "want \"linear\" or \"log\": the x axis of curves is the step";
    for (kind, keys, scale, want) in [
        ("bars", "x = \"seed\"", "log", categories),
        ("bars", "x = \"seed\"", "linear", categories),
        ("heat_map", "x = \"seed\"\nrows = \"seed\"", "log", categories),
        ("curves", "", "category", of_curves),
        ("lines", "x = \"ending\"", "linear", texts),
        ("lines", "x = \"model.activation\"\n[axes]\nmodel.activation = [\"relu\"]", "log", texts),
    ] {
        let line = format!("charts[0].x_scale: got \"{scale}\", {want}");
        assert_eq!(problems(&chart(kind, keys, scale)), [line], "{kind} {keys}");
    }
}

#[test]
fn a_scale_that_a_chart_has_is_accepted() {
    for (kind, keys, scale) in [
        ("bars", "x = \"seed\"", "category"),
        ("heat_map", "x = \"seed\"\nrows = \"verdict\"", "category"),
        ("lines", "x = \"seed\"", "log"),
        ("lines", "x = \"seed\"", "category"),
        ("lines", "x = \"verdict\"", "category"),
        ("curves", "", "log"),
    ] {
        let (_folder, study) = study(&chart(kind, keys, scale));
        assert_eq!(study.charts[0].x_scale.map(Scale::name), Some(scale), "{kind}");
    }
}
