//! SVG chart of the gradient over depth, with one row per layer.

use std::fmt::Write;

use maud::{Markup, html};

use super::{
    chart::{at, path, side},
    index_of,
    layer_rows::{names, row_height},
    profiles::Profile,
    scale::Scale,
};
use crate::number::number;
use crate::statistics::ProfileSource;

/// Most rows to draw.
const ROWS: usize = 64;
/// Row height in drawing units. The drawing is 1000 units wide.
const ROW: i64 = 10;

/// Draws the given profiles (first, middle, and last); empty without profiles.
pub(super) fn depth_chart(profiles: &[&Profile]) -> Markup {
    let Some(last) = profiles.last() else { return html! {} };
    let layers: Vec<String> = last.profile.layers.iter().map(|(layer, _)| layer.to_string()).collect();
    let each = layers.len().div_ceil(ROWS).max(1);
    let layers: Vec<String> = layers.into_iter().step_by(each).collect();
    let sizes: Vec<Vec<f64>> = profiles.iter().map(|profile| sizes_of(profile, &layers)).collect();
    let Some(scale) = Scale::log(&sizes.concat()) else { return html! {} };
    let classes = ["first", "middle", "last"];
    let classes = if profiles.len() == 2 { ["first", "last", ""] } else { classes };
    let label = describe(last, &layers);
    html! {
        figure class="depth" style=(row_height(layers.len())) {
            figcaption {
                h3 { "Gradient over depth " small { "log axis" } }
                ul class="legend" {
                    @for (profile, class) in profiles.iter().zip(classes) {
                        li class=(class) { "step " b { (profile.step) } }
                    }
                }
            }
            p class="caption" { (label) @if each > 1 { " Showing one layer in " (each) "." } }
            div class="rows" {
                (names(&layers))
                svg viewBox={ "0 0 1000 " (ROW * layers.len() as i64) } preserveAspectRatio="none" role="img"
                    aria-label=(label) {
                    title { (label) }
                    path class="grid" d=(grid(&scale, layers.len())) {}
                    @for (sizes, class) in sizes.iter().zip(classes) { (draw_line(sizes, class, &scale)) }
                }
                div class="x" aria-hidden="true" {
                    @for (place, text) in scale.ticks() {
                        span class=(side(place)) style=(at("left", place)) { (text) }
                    }
                }
            }
        }
    }
}

fn sizes_of(profile: &Profile, layers: &[String]) -> Vec<f64> {
    let known = &profile.profile.layers;
    let mut next = 0;
    let size = |layer: &String| {
        let index = index_of(known, next, |(name, _)| **name == **layer)?;
        next = index + 1;
        Some(known[index].1)
    };
    layers.iter().map(size).map(|size| size.unwrap_or(f64::NAN)).collect()
}

fn draw_line(sizes: &[f64], class: &str, scale: &Scale) -> Markup {
    let place = |(row, size): (usize, &f64)| {
        let x = (1000.0 * scale.fraction(*size)?).round() as i64;
        Some((x, ROW * row as i64 + ROW / 2))
    };
    let points: Vec<_> = sizes.iter().enumerate().map(place).collect();
    let mut dots = String::new();
    for (x, y) in points.iter().flatten() {
        let _ = write!(dots, "M{x} {y}h0");
    }
    html! {
        g class=(class) {
            path class="line" d=(path(points.into_iter())) {}
            path class="dots" d=(dots) {}
        }
    }
}

fn grid(scale: &Scale, rows: usize) -> String {
    let bottom = ROW * rows as i64;
    scale.ticks().iter().map(|(place, _)| format!("M{} 0V{bottom}", (1000.0 * place).round())).collect()
}

fn describe(last: &Profile, layers: &[String]) -> String {
    let ends = match layers {
        [first, .., last] => format!("From {first} (input) down to {last} (loss)."),
        _ => "One layer.".into(),
    };
    let slope = last.profile.slope().map(|slope| {
        let factor = 2f64.powf(slope.log2_per_layer);
        format!(" At step {}, each layer multiplies the gradient by {} on the way back.", last.step, number(factor))
    });
    let what = match last.profile.source {
        ProfileSource::PreActivations => "Root mean square of dLoss/dz",
        proxy => proxy.label(),
    };
    format!("{what}. {ends}{}", slope.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::DepthProfile;

    fn profile(step: u64, sizes: &[f64]) -> Profile {
        let layers = sizes.iter().enumerate().map(|(index, size)| (format!("layer{index}").into(), *size)).collect();
        Profile { step, profile: DepthProfile { source: ProfileSource::PreActivations, layers } }
    }

    #[test]
    fn a_gradient_that_halves_at_every_layer_is_a_straight_line_and_said_to() {
        let (first, last) = (profile(0, &[0.25, 0.5, 1.0]), profile(9, &[1.0, 1.0, 1.0]));
        let svg = depth_chart(&[&last, &first]).into_string();
        assert!(svg.contains("each layer multiplies the gradient by 0.5 on the way back."), "{svg}");
        assert!(svg.contains(r#"<g class="last"><path class="line" d="M0 5L500 15L1000 25">"#), "{svg}");
    }

    #[test]
    fn layers_without_a_finite_size_are_gaps_and_deep_nets_are_thinned() {
        let svg = depth_chart(&[&profile(0, &[f64::NAN, 1.0, f64::INFINITY, 10.0])]).into_string();
        assert!(svg.contains(r#"d="M0 15h0M1000 35h0""#), "{svg}");
        assert_eq!(depth_chart(&[]).into_string(), "");
        assert_eq!(depth_chart(&[&profile(0, &[f64::NAN, 0.0])]).into_string(), "");
        let deep = depth_chart(&[&profile(0, &[1.0; 200])]).into_string();
        assert!(deep.contains("Showing one layer in 4.") && deep.contains("--rows:50"), "{deep}");
    }
}
