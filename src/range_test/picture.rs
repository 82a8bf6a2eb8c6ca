//! Picture of a range test: loss and gradient norm over the learning rate.

use super::RangeTest;
use crate::{
    number::two_digits,
    picture::{Line, LineChart, Mark, Panel, Picture, PictureError},
};

/// Room above the losses up to the lowest one, relative to their range.
const ROOM: f64 = 0.5;

impl RangeTest {
    /// Draws the loss, the smoothed loss, and the total gradient norm over the learning rate, and marks the suggestion.
    ///
    /// # Errors
    /// If the picture cannot be encoded.
    pub fn draw(&self) -> Result<Picture, PictureError> {
        let column = |of: fn(&super::RangeStep) -> f64| self.steps.iter().map(of).collect::<Vec<f64>>();
        let (rates, norms) = (column(|step| step.learning_rate.log10()), column(|step| step.total_norm.log10()));
        let (losses, smoothed) = (column(|step| step.loss), column(|step| step.smoothed_loss));
        let mark = self.suggestion.as_ref().ok().map(|suggestion| suggestion.learning_rate);
        let label = mark.map_or("no suggestion".into(), |rate| format!("suggestion {}", two_digits(rate)));
        let [from, to] = self.rates.ends();
        LineChart {
            title: "learning rate range test",
            x_label: "learning rate",
            x: &rates,
            x_range: [from.log10(), to.log10()],
            panels: &[
                Panel {
                    unit: "loss",
                    lines: &[
                        Line { name: "loss", values: &losses, is_faint: true },
                        Line { name: "smoothed", values: &smoothed, is_faint: false },
                    ],
                    range: visible(&losses, &smoothed),
                },
                Panel {
                    unit: "log10 grad norm",
                    lines: &[Line { name: "gradient norm", values: &norms, is_faint: false }],
                    range: None,
                },
            ],
            mark: Mark { x: mark.map(f64::log10), label: &label },
        }
        .draw()
    }
}

/// Range of the loss axis: all losses up to the lowest smoothed one, with room for the start of a divergence, whose
/// losses can be larger by any factor.
fn visible(losses: &[f64], smoothed: &[f64]) -> Option<[f64; 2]> {
    let finite = || smoothed.iter().enumerate().filter(|(_, loss)| loss.is_finite());
    let (lowest, _) = finite().min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let until = losses[..=lowest].iter().copied().filter(|loss| loss.is_finite());
    let [low, high] =
        until.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], loss| [low.min(loss), high.max(loss)]);
    let after = losses[lowest..].iter().copied().filter(|loss| loss.is_finite()).fold(high, f64::max);
    let low = losses.iter().copied().filter(|loss| loss.is_finite()).fold(low, f64::min);
    Some([low, after.min(high + ROOM * (high - low))])
}
