//! Largest trainable depth of a network with such layers.

use serde::Serialize;

use super::forecast::Forecast;
use crate::{diagnosis::Thresholds, gradient::Slope};

/// A number of layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Unknown.
    Unknown,
    /// Unlimited in practice.
    Any,
    /// At most this many layers.
    Layers(f64),
}

impl Reach {
    /// Depth above which the slope is only noise of the random initialization.
    const MOST: f64 = 300.0;

    fn of(layers: Option<f64>) -> Self {
        match layers {
            None => Self::Unknown,
            Some(layers) if layers.is_nan() => Self::Unknown,
            Some(layers) if layers > Self::MOST => Self::Any,
            Some(layers) => Self::Layers(layers.max(1.0)),
        }
    }
}

/// Depth of the model, and the largest trainable depths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrainableDepth {
    /// Number of layers in the depth profile.
    pub layers: usize,
    /// Six depth scales of mean-field theory, within which networks train well.
    pub theory: Reach,
    /// Depth at which the measured slope reaches the threshold of the rule `vanishing` or `exploding`.
    pub bound: Reach,
}

impl TrainableDepth {
    pub(super) fn of(layers: usize, forecast: &Forecast, slope: Option<Slope>) -> Self {
        let thresholds = Thresholds::default();
        let bound = slope.map(|slope| {
            let per_layer = slope.log2_per_layer;
            let most = if per_layer < 0.0 { thresholds.vanishing } else { thresholds.exploding };
            1.0 + most.log2() / per_layer
        });
        Self { layers, theory: Reach::of(forecast.trainable_depth()), bound: Reach::of(bound) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(log2_per_layer: f64, chi: Option<f64>) -> TrainableDepth {
        let forecast = Forecast { factors: Vec::new(), chi };
        let slope = Slope { log2_per_layer, standard_error: 0.0, log2_at_input: 0.0 };
        TrainableDepth::of(6, &forecast, Some(slope))
    }

    #[test]
    fn a_gradient_that_halves_at_every_layer_reaches_the_bound_of_vanishing_after_eight() {
        // log2(0.005) = -7.64.
        let Reach::Layers(layers) = depth(-1.0, None).bound else { panic!() };
        assert!((layers - 8.644).abs() < 1e-3);
        // log2(100) = 6.64.
        let Reach::Layers(layers) = depth(2.0, None).bound else { panic!() };
        assert!((layers - 4.322).abs() < 1e-3);
    }

    #[test]
    fn six_depth_scales_are_theorys_and_a_gradient_that_stays_bears_any_depth() {
        // chi = e^-2: a depth scale of half a layer.
        assert_eq!(depth(0.0, Some((-2f64).exp())).theory, Reach::Layers(3.0));
        assert_eq!(depth(0.0, Some(1.0)), TrainableDepth { layers: 6, theory: Reach::Any, bound: Reach::Any });
        assert_eq!(depth(f64::NAN, None).bound, Reach::Unknown);
        assert_eq!(depth(0.0, None).theory, Reach::Unknown);
    }
}
