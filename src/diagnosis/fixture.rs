//! Configs and layers for the tests of rules.

use crate::{
    config::Config,
    gradient::{DepthProfile, LayerStatistics, ProfileSource},
};

/// An MLP with more or other keys.
pub(super) fn config(more: &str) -> Config {
    let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}");
    Config::parse(&toml, "test").unwrap()
}

/// A profile of layers with these sizes, from the input on.
pub(super) fn profile(sizes: &[f64]) -> DepthProfile {
    let layers = sizes.iter().enumerate().map(|(index, &size)| (format!("layers.{index}.linear").into(), size));
    DepthProfile { source: ProfileSource::PreActivations, layers: layers.collect() }
}

/// A healthy layer.
pub(super) fn layer(name: &str) -> LayerStatistics {
    LayerStatistics {
        layer: name.into(),
        mean: 0.4,
        rms: 0.8,
        nonpositive_fraction: 0.5,
        saturated_fraction: 0.0,
        gradient_rms: Some(1e-3),
    }
}
