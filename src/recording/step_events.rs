//! The TensorBoard entries of a tracked step.

use std::fmt::Write;

use super::Reading;
use crate::{
    events::{
        EventsError, SummaryWriter, tags, write_gradient_bands, write_gradients, write_histograms, write_layers,
        write_ranks, write_slope, write_timeline, write_updates, write_weights,
    },
    gradient::{DepthProfile, Due},
    optim::Rates,
};

/// Writes all entries of a step. `clips`: gradients are clipped, so those series are written too.
///
/// # Errors
/// If the event file cannot be written.
pub(super) fn write(
    events: &SummaryWriter,
    rates: Rates,
    reading: &Reading,
    due: Due,
    clips: bool,
) -> Result<(), EventsError> {
    let step = reading.step;
    events.scalar(tags::LOSS.name(), step, reading.loss)?;
    events.scalar(tags::LEARNING_RATE.name(), step, rates.learning_rate)?;
    if clips {
        write_clip(events, reading, due)?;
    }
    if reading.skipped_steps > 0 {
        events.scalar(tags::SKIPPED_STEPS.name(), step, reading.skipped_steps as f64)?;
    }
    match &reading.gradients {
        None => events.scalar(tags::TOTAL_NORM.name(), step, reading.total_norm)?,
        Some(gradients) => {
            if due.parameters {
                write_gradients(events, step, gradients)?;
            } else {
                write_gradient_bands(events, step, gradients)?;
            }
            if due.histograms {
                write_histograms(events, tags::GRAD_HISTOGRAM, step, &gradients.parameters)?;
                write_histograms(events, tags::PARAM_HISTOGRAM, step, &reading.weights)?;
            }
        }
    }
    write_occasional(events, reading)
}

fn write_clip(events: &SummaryWriter, reading: &Reading, due: Due) -> Result<(), EventsError> {
    let figures = [(tags::CLIP_COEF, reading.clip_coef), (tags::CLIP_TOTAL_NORM_AFTER, reading.total_norm_after)];
    let share = reading.clipped_fraction.map(|share| (tags::CLIPPED_FRACTION, share));
    let figures = figures.into_iter().chain(share).map(|(tag, value)| (tag.to_string(), value));
    events.scalars(reading.step, figures)?;
    if !due.parameters || reading.most_clipped.is_empty() {
        return Ok(());
    }
    let mut table = "| most clipped | times |\n|---|---|\n".to_owned();
    for (name, coef) in &reading.most_clipped {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {name} | {coef:.3e} |");
    }
    events.text(tags::MOST_CLIPPED.name(), reading.step, table)
}

/// Writes the series that are not measured at every tracked step.
fn write_occasional(events: &SummaryWriter, reading: &Reading) -> Result<(), EventsError> {
    let step = reading.step;
    write_weights(events, step, &reading.weights)?;
    write_updates(events, step, &reading.updates)?;
    write_layers(events, step, &reading.layers)?;
    if let Some(timeline) = &reading.timeline {
        write_timeline(events, step, timeline)?;
    }
    if let Some(slope) = reading.depth_profile.as_ref().and_then(DepthProfile::slope) {
        write_slope(events, step, &slope)?;
    }
    if let Some(ranks) = &reading.ranks {
        write_ranks(events, step, ranks)?;
    }
    let optional = [
        (tags::NOISE_SCALE, reading.noise_scale),
        (tags::MICRO_BATCH_COSINE, reading.micro_batch_cosine),
        (tags::PREVIOUS_COSINE, reading.previous_cosine),
    ];
    optional
        .into_iter()
        .filter_map(|(tag, value)| Some((tag, value?)))
        .try_for_each(|(tag, value)| events.scalar(tag.name(), step, value))
}
