//! The TensorBoard tags of a run's telemetry.
//!
//! Statistics per parameter or layer have their own groups (`grad_norm/...`), so that the few series about the whole
//! model stay together in `gradients` and `updates`.

use super::{EventsError, Histogram, SummaryWriter};
use crate::gradient::{
    BackwardTimeline, Bands, Distribution, GradientStatistics, LayerStatistics, ParameterUpdate, Slope,
    TensorStatistics,
};

/// Writes `grad_norm/total`, and the 5th, 50th, and 95th percentile of the parameters' RMS gradients as
/// `gradients/rms_p5`, `_p50`, and `_p95`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_gradient_bands(
    writer: &SummaryWriter,
    step: u64,
    statistics: &GradientStatistics,
) -> Result<(), EventsError> {
    let rms = Bands::of(statistics.parameters.iter().map(TensorStatistics::rms));
    let total = ("grad_norm/total".into(), statistics.total_norm);
    writer.scalars(step, [total].into_iter().chain(bands("gradients/rms", rms)))
}

/// Writes everything in [`write_gradient_bands`], and `grad_norm/`, `grad_rms/`, and `grad_max_abs/` for every
/// parameter. Parameters with a distribution also get `grad_mean/`, `grad_std/`, and `grad_zero_fraction/`, as well as
/// nonzero counts of problematic elements: `grad_denormals/`, `grad_nans/`, `grad_infinities/`, and
/// `grad_negative_infinities/`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_gradients(writer: &SummaryWriter, step: u64, statistics: &GradientStatistics) -> Result<(), EventsError> {
    write_gradient_bands(writer, step, statistics)?;
    writer.scalars(step, figures("grad", &statistics.parameters))
}

/// Writes the same statistics per parameter as [`write_gradients`] for weights, as `param_norm/` and so on.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_weights(writer: &SummaryWriter, step: u64, weights: &[TensorStatistics]) -> Result<(), EventsError> {
    writer.scalars(step, figures("param", weights))
}

fn figures(group: &str, tensors: &[TensorStatistics]) -> Vec<(String, f64)> {
    let mut figures = Vec::with_capacity(6 * tensors.len());
    for of in tensors {
        let mut add = |figure: &str, value: f64| figures.push((format!("{group}_{figure}/{}", of.name), value));
        add("norm", of.norm);
        add("rms", of.rms());
        add("max_abs", of.max_abs);
        let Some(distribution) = &of.distribution else { continue };
        add("mean", distribution.mean);
        add("std", distribution.std);
        add("zero_fraction", of.zero_fraction().unwrap_or_default());
        let Distribution { denormals, nans, infinities, negative_infinities, .. } = *distribution;
        let unwanted = [
            ("denormals", denormals),
            ("nans", nans),
            ("infinities", infinities),
            ("negative_infinities", negative_infinities),
        ];
        unwanted.into_iter().filter(|(_, count)| *count > 0).for_each(|(figure, count)| add(figure, count as f64));
    }
    figures
}

/// Writes `<group>_histogram/<parameter>` for each tensor with a distribution: `grad_histogram/`, `param_histogram/`.
///
/// # Errors
/// If an earlier entry could not be written.
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

/// Writes `update_norm/` and `update_ratio/` of each parameter, and the percentiles of the ratios as
/// `updates/ratio_p5`, `_p50`, and `_p95`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_updates(writer: &SummaryWriter, step: u64, updates: &[ParameterUpdate]) -> Result<(), EventsError> {
    let of_one = updates.iter().flat_map(|update| {
        let name = &update.name;
        [(format!("update_norm/{name}"), update.norm), (format!("update_ratio/{name}"), update.update_ratio)]
    });
    let ratios = Bands::of(updates.iter().map(|update| update.update_ratio));
    writer.scalars(step, of_one.chain(bands("updates/ratio", ratios)))
}

/// Writes `activation_mean/`, `activation_rms/`, `activation_nonpositive/`, `activation_saturated/`, and
/// `layer_grad_rms/` (RMS of dLoss/dz) of each layer.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_layers(writer: &SummaryWriter, step: u64, layers: &[LayerStatistics]) -> Result<(), EventsError> {
    let figures = layers.iter().flat_map(|layer| {
        let always = [
            ("activation_mean", layer.mean),
            ("activation_rms", layer.rms),
            ("activation_nonpositive", layer.nonpositive_fraction),
            ("activation_saturated", layer.saturated_fraction),
        ];
        let figures = always.into_iter().chain(layer.gradient_rms.map(|rms| ("layer_grad_rms", rms)));
        figures.map(|(figure, value)| (format!("{figure}/{}", layer.layer), value))
    });
    writer.scalars(step, figures)
}

/// Writes `gradients/depth_slope` and `gradients/depth_slope_error`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_slope(writer: &SummaryWriter, step: u64, slope: &Slope) -> Result<(), EventsError> {
    let error = ("gradients/depth_slope_error", slope.standard_error);
    writer.scalars(step, [("gradients/depth_slope", slope.log2_per_layer), error])
}

/// Writes `backward_ms/<layer>`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_timeline(writer: &SummaryWriter, step: u64, timeline: &BackwardTimeline) -> Result<(), EventsError> {
    let layers = timeline.layers().into_iter();
    writer.scalars(step, layers.map(|(layer, secs)| (format!("backward_ms/{layer}"), 1e3 * secs)))
}

fn bands(name: &str, bands: Option<Bands>) -> impl Iterator<Item = (String, f64)> {
    let percentiles = bands.map(|Bands { p5, p50, p95 }| [("p5", p5), ("p50", p50), ("p95", p95)]);
    percentiles.into_iter().flatten().map(move |(percentile, value)| (format!("{name}_{percentile}"), value))
}
