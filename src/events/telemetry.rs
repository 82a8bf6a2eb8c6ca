//! What a run's telemetry is called in TensorBoard.
//!
//! Everything about one parameter or layer has a group of its own (`grad_norm/...`), so that the few series about the
//! whole model stay together in `gradients` and `updates`.

use super::{EventsError, Histogram, Step, SummaryWriter};
use crate::gradient::{
    BackwardTimeline, Bands, Distribution, GradientStatistics, LayerStatistics, ParameterUpdate, Slope,
    TensorStatistics,
};

/// Writes `grad_norm/total`, and the 5th, 50th and 95th percentile of the parameters' RMS gradients as
/// `gradients/rms_p5`, `_p50` and `_p95`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_gradient_bands(
    writer: &SummaryWriter,
    step: u64,
    statistics: &GradientStatistics,
) -> Result<(), EventsError> {
    writer.scalar("grad_norm/total", step, statistics.total_norm)?;
    let rms = Bands::of(statistics.parameters.iter().map(TensorStatistics::rms));
    write_bands(writer, "gradients/rms", step.into(), rms)
}

/// Writes all of [`write_gradient_bands`], and for every parameter `grad_norm/`, `grad_rms/`, `grad_max_abs/`, and where
/// they were taken `grad_mean/`, `grad_std/` and `grad_zero_fraction/`. Where there are any, the numbers of elements of an
/// unwanted kind too: `grad_denormals/`, `grad_nans/`, `grad_infinities/`, `grad_negative_infinities/`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_gradients(writer: &SummaryWriter, step: u64, statistics: &GradientStatistics) -> Result<(), EventsError> {
    write_gradient_bands(writer, step, statistics)?;
    statistics.parameters.iter().try_for_each(|grad| write_tensor(writer, "grad", step.into(), grad))
}

/// Writes `param_norm/` and all else of [`write_gradients`] for weights.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_weights(writer: &SummaryWriter, step: u64, weights: &[TensorStatistics]) -> Result<(), EventsError> {
    weights.iter().try_for_each(|weight| write_tensor(writer, "param", step.into(), weight))
}

fn write_tensor(writer: &SummaryWriter, group: &str, step: Step, of: &TensorStatistics) -> Result<(), EventsError> {
    let write = |figure: &str, value: f64| writer.scalar(format!("{group}_{figure}/{}", of.name), step, value);
    write("norm", of.norm)?;
    write("rms", of.rms())?;
    write("max_abs", of.max_abs)?;
    let Some(distribution) = &of.distribution else { return Ok(()) };
    write("mean", distribution.mean)?;
    write("std", distribution.std)?;
    write("zero_fraction", of.zero_fraction().unwrap_or_default())?;
    let Distribution { denormals, nans, infinities, negative_infinities, .. } = *distribution;
    let unwanted = [
        ("denormals", denormals),
        ("nans", nans),
        ("infinities", infinities),
        ("negative_infinities", negative_infinities),
    ];
    unwanted.into_iter().filter(|(_, count)| *count > 0).try_for_each(|(figure, count)| write(figure, count as f64))
}

/// Writes `<group>_histogram/<parameter>` of each tensor that has a distribution: `grad_histogram/`, `param_histogram/`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_histograms(
    writer: &SummaryWriter,
    group: &str,
    step: u64,
    tensors: &[TensorStatistics],
) -> Result<(), EventsError> {
    for tensor in tensors {
        if let Some(histogram) = Histogram::of_tensor(tensor)? {
            writer.histogram(format!("{group}_histogram/{}", tensor.name), step, histogram)?;
        }
    }
    Ok(())
}

/// Writes `update_norm/` and `update_ratio/` of each parameter, and the percentiles of the ratios as `updates/ratio_p5`,
/// `_p50` and `_p95`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_updates(writer: &SummaryWriter, step: u64, updates: &[ParameterUpdate]) -> Result<(), EventsError> {
    for update in updates {
        writer.scalar(format!("update_norm/{}", update.name), step, update.norm)?;
        writer.scalar(format!("update_ratio/{}", update.name), step, update.update_ratio)?;
    }
    write_bands(writer, "updates/ratio", step.into(), Bands::of(updates.iter().map(|update| update.update_ratio)))
}

/// Writes `activation_mean/`, `activation_rms/`, `activation_nonpositive/`, `activation_saturated/` and
/// `layer_grad_rms/` (RMS of dLoss/dz) of each layer.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_layers(writer: &SummaryWriter, step: u64, layers: &[LayerStatistics]) -> Result<(), EventsError> {
    for layer in layers {
        let write = |figure: &str, value| writer.scalar(format!("{figure}/{}", layer.layer), step, value);
        write("activation_mean", layer.mean)?;
        write("activation_rms", layer.rms)?;
        write("activation_nonpositive", layer.nonpositive_fraction)?;
        write("activation_saturated", layer.saturated_fraction)?;
        layer.gradient_rms.map_or(Ok(()), |rms| write("layer_grad_rms", rms))?;
    }
    Ok(())
}

/// Writes `gradients/depth_slope` and `gradients/depth_slope_error`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_slope(writer: &SummaryWriter, step: u64, slope: &Slope) -> Result<(), EventsError> {
    writer.scalar("gradients/depth_slope", step, slope.log2_per_layer)?;
    writer.scalar("gradients/depth_slope_error", step, slope.standard_error)
}

/// Writes `backward_ms/<layer>`.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_timeline(writer: &SummaryWriter, step: u64, timeline: &BackwardTimeline) -> Result<(), EventsError> {
    let mut layers = timeline.layers().into_iter();
    layers.try_for_each(|(layer, secs)| writer.scalar(format!("backward_ms/{layer}"), step, 1e3 * secs))
}

fn write_bands(writer: &SummaryWriter, name: &str, step: Step, bands: Option<Bands>) -> Result<(), EventsError> {
    let Some(Bands { p5, p50, p95 }) = bands else { return Ok(()) };
    [("p5", p5), ("p50", p50), ("p95", p95)]
        .into_iter()
        .try_for_each(|(percentile, value)| writer.scalar(format!("{name}_{percentile}"), step, value))
}
