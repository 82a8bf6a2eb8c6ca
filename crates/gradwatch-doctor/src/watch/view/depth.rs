//! Size of the gradient over depth, now and at the first step.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{Theme, text};
use crate::{
    number::short,
    picture::axis::shorten,
    printable,
    report::{Profile, Scale},
    watch::{RunModel, ViewState},
};

/// Widest names of layers, in columns.
const NAMES: usize = 18;

/// Draws one row per layer, from the input to the loss, on a logarithmic axis.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &RunModel, state: &ViewState, theme: Theme) {
    let profiles = model.report.course.profiles.three();
    let (Some(first), Some(last)) = (profiles.first(), profiles.last()) else {
        let inner = text::frame(buffer, area, "Gradient over depth", theme);
        text::put(buffer, inner, inner.height / 2, 1, "the files have no gradient per layer", theme.faint());
        return;
    };
    let title = format!("Gradient over depth: ■ step {}, o step {}", last.step, first.step);
    let inner = text::frame(buffer, area, &title, theme);
    let layers: Vec<(String, f64)> = last
        .profile
        .layers
        .iter()
        .map(|(name, size)| (printable::line(name).into_owned(), *size))
        .filter(|(name, _)| name.contains(&state.search))
        .collect();
    let rows = usize::from(inner.height.saturating_sub(1));
    let share = layers.len().div_ceil(rows.max(1)).max(1);
    let layers: Vec<(String, f64)> = layers.into_iter().step_by(share).collect();
    let sizes: Vec<f64> =
        layers.iter().map(|(_, size)| *size).chain(first.profile.layers.iter().map(|(_, size)| *size)).collect();
    let Some(scale) = Scale::log(&sizes).filter(|_| rows > 0) else { return };
    draw_layers(buffer, inner, &layers, first, &scale, theme);
    text::put(buffer, inner, inner.height - 1, 0, &slope_of(last, share), theme.faint());
}

fn draw_layers(
    buffer: &mut Buffer,
    inner: Rect,
    layers: &[(String, f64)],
    first: &Profile,
    scale: &Scale,
    theme: Theme,
) {
    let widest = layers.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let names = widest.min(NAMES).min(usize::from(inner.width / 3));
    let values = 9;
    let bars =
        Rect { x: inner.x + names as u16 + 1, width: inner.width.saturating_sub(names as u16 + 2 + values), ..inner };
    let column = |size: f64| Some((scale.fraction(size)? * f64::from(bars.width.saturating_sub(1))).round() as u16);
    for (row, (name, size)) in layers.iter().enumerate() {
        let row = row as u16;
        text::put(buffer, inner, row, 0, &shorten(name, names), Style::new());
        if let Some(end) = column(*size) {
            text::put(buffer, bars, row, 0, &"─".repeat(usize::from(end)), theme.faint());
            text::put(buffer, bars, row, end, "■", theme.train());
        }
        let before = first.profile.layers.iter().find(|(known, _)| printable::line(known) == *name);
        if let Some(before) = before.and_then(|(_, size)| column(*size)) {
            text::put(buffer, bars, row, before, "o", theme.validation());
        }
        let value = format!(" {}", short(*size));
        text::put(buffer, inner, row, inner.width.saturating_sub(values), &value, Style::new());
    }
}

/// Factor per layer on the way back from the loss.
fn slope_of(last: &Profile, share: usize) -> String {
    let shown = if share > 1 { format!("one layer in {share}; ") } else { String::new() };
    let source = last.profile.source.label();
    match last.profile.slope() {
        Some(slope) => {
            format!("{shown}{source}: x {} per layer on the way back", short(2f64.powf(slope.log2_per_layer)))
        }
        None => format!("{shown}{source}"),
    }
}
