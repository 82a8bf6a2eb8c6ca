//! The TensorBoard tags of a run's telemetry.
//!
//! Statistics per parameter or layer have their own groups (`grad_norm/...`), so that the few series about the whole
//! model stay together in `gradients` and `updates`.

mod facts;
mod histogram;
mod ranks;
mod role;
pub mod tags;

pub use facts::write_facts;
pub use histogram::histogram_of;
pub(crate) use ranks::RankColumn;
pub use ranks::write_ranks;
pub use role::Role;
pub(crate) use tags::own_tags;

use gradwatch_events::{EventsError, SummaryWriter};

use crate::statistics::{
    BackwardTimeline, Bands, Distribution, GradientStatistics, LayerStatistics, ParameterUpdate, Slope,
    TensorStatistics,
};
use tags::{BandTag, GroupTag, TensorTags};

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
    let total = (tags::TOTAL_NORM.to_string(), statistics.total_norm);
    writer.scalars(step, [total].into_iter().chain(bands(tags::GRADIENT_RMS, rms)))
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
    writer.scalars(step, figures(&tags::GRADIENT, &statistics.parameters))
}

/// Writes the same statistics per parameter as [`write_gradients`] for weights, as `param_norm/` and so on.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_weights(writer: &SummaryWriter, step: u64, weights: &[TensorStatistics]) -> Result<(), EventsError> {
    writer.scalars(step, figures(&tags::WEIGHT, weights))
}

fn figures(tags: &TensorTags, tensors: &[TensorStatistics]) -> Vec<(String, f64)> {
    let mut figures = Vec::with_capacity(6 * tensors.len());
    for tensor in tensors {
        let mut add = |tag: GroupTag, value: f64| figures.push((tag.of(&tensor.name), value));
        add(tags.norm, tensor.norm);
        add(tags.rms, tensor.rms());
        add(tags.max_abs, tensor.max_abs);
        let Some(distribution) = &tensor.distribution else { continue };
        add(tags.mean, distribution.mean);
        add(tags.std, distribution.std);
        add(tags.zero_fraction, tensor.zero_fraction().unwrap_or_default());
        let Distribution { denormals, nans, infinities, negative_infinities, .. } = *distribution;
        let unwanted = [
            (tags.denormals, denormals),
            (tags.nans, nans),
            (tags.infinities, infinities),
            (tags.negative_infinities, negative_infinities),
        ];
        unwanted.into_iter().filter(|(_, count)| *count > 0).for_each(|(tag, count)| add(tag, count as f64));
    }
    figures
}

/// Writes a histogram for each tensor with a distribution, with [`tags::GRAD_HISTOGRAM`] or [`tags::PARAM_HISTOGRAM`].
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_histograms(
    writer: &SummaryWriter,
    tag: GroupTag,
    step: u64,
    tensors: &[TensorStatistics],
) -> Result<(), EventsError> {
    for tensor in tensors {
        if let Some(histogram) = histogram_of(tensor)? {
            writer.histogram(tag.of(&tensor.name), step, histogram)?;
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
        [(tags::UPDATE_NORM.of(name), update.norm), (tags::UPDATE_RATIO.of(name), update.update_ratio)]
    });
    let ratios = Bands::of(updates.iter().map(|update| update.update_ratio));
    writer.scalars(step, of_one.chain(bands(tags::UPDATE_RATIOS, ratios)))
}

/// Writes `activation_mean/`, `activation_rms/`, `activation_nonpositive/`, `activation_saturated/`,
/// `activation_dormant/`, and `layer_grad_rms/` (RMS of dLoss/dz) of each layer.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_layers(writer: &SummaryWriter, step: u64, layers: &[LayerStatistics]) -> Result<(), EventsError> {
    let figures = layers.iter().flat_map(|layer| {
        let always = [
            (tags::ACTIVATION_MEAN, layer.mean),
            (tags::ACTIVATION_RMS, layer.rms),
            (tags::ACTIVATION_NONPOSITIVE, layer.nonpositive_fraction),
            (tags::ACTIVATION_SATURATED, layer.saturated_fraction),
        ];
        let dormant = layer.dormant_fraction.map(|fraction| (tags::ACTIVATION_DORMANT, fraction));
        let gradient = layer.gradient_rms.map(|rms| (tags::LAYER_GRAD_RMS, rms));
        always.into_iter().chain(dormant).chain(gradient).map(|(tag, value)| (tag.of(&layer.layer), value))
    });
    writer.scalars(step, figures)
}

/// Writes `gradients/depth_slope` and `gradients/depth_slope_error`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_slope(writer: &SummaryWriter, step: u64, slope: &Slope) -> Result<(), EventsError> {
    let error = (tags::DEPTH_SLOPE_ERROR.name(), slope.standard_error);
    writer.scalars(step, [(tags::DEPTH_SLOPE.name(), slope.log2_per_layer), error])
}

/// Writes `backward_ms/<layer>`.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_timeline(writer: &SummaryWriter, step: u64, timeline: &BackwardTimeline) -> Result<(), EventsError> {
    let layers = timeline.layers().into_iter();
    writer.scalars(step, layers.map(|(layer, secs)| (tags::BACKWARD_MS.of(layer), 1e3 * secs)))
}

fn bands(tags: BandTag, bands: Option<Bands>) -> impl Iterator<Item = (String, f64)> {
    let percentiles = bands.map(|Bands { p5, p50, p95 }| [(tags.p5, p5), (tags.p50, p50), (tags.p95, p95)]);
    percentiles.into_iter().flatten().map(|(tag, value)| (tag.to_string(), value))
}
