//! Inspects a model before its first step: activations, gradients, and the predictions of mean-field theory.
//!
//! Passes a few batches through the model. Updates no weights and writes nothing to disk:
//!
//! ```
//! use gradwatch::{config::{Config, RuleName}, inspect::inspect};
//!
//! let toml = "[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\nimage_size = 8\nsamples = 100\n\
//!             [model]\nname = \"mlp\"\ndepth = 8\nwidth = 64\nactivation = \"sigmoid\"\ninitialization = \"xavier_normal\"";
//! let inspection = inspect(Config::parse(toml, "demo.toml")?, 2)?;
//! assert_eq!(inspection.findings[0].rule, RuleName::Vanishing);
//! // Each layer shrinks the gradient to a quarter on its way back.
//! assert!(inspection.slope.unwrap().log2_per_layer < -1.9 && inspection.expected_slope.unwrap() < -1.9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod depth;
mod forecast;
mod function;
mod layer;
mod mean_field;
mod trial;

use serde::Serialize;

pub use depth::{Reach, TrainableDepth};
pub use layer::{LayerReport, Verdict};
pub use mean_field::{MeanField, Signal, depth_scale, normalized_chi};
pub use trial::{Trial, try_remedies};

use crate::{
    config::Config,
    diagnosis::{Diagnosis, Finding, Observation, Remedy, Subject, root_cause_first},
    gradient::{ProfileSource, Slope},
    train::{InitialMeasurement, TrainError, prepare},
};
use forecast::Forecast;

/// Statistics of an untrained model over a few batches.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Number of images.
    pub images: usize,
    /// Mean loss of these images.
    pub loss: f64,
    /// Loss of the best guess that ignores the images.
    pub guess: f64,
    /// Source of the gradient size per layer.
    pub source: ProfileSource,
    /// All layers with an activation, in the order of the forward pass. Without taps, the layers of the proxy.
    pub layers: Vec<LayerReport>,
    /// Gradient RMS of the first layer over that of the last; `None` for fewer than two layers, or if it is not finite.
    pub ratio: Option<f64>,
    /// Change of the gradient size per layer, going back.
    pub slope: Option<Slope>,
    /// The slope predicted by mean-field theory, as log2; `None` for models with shortcuts and if there is no
    /// prediction.
    pub expected_slope: Option<f64>,
    /// Depth of the model, and the largest trainable depths.
    pub depth: TrainableDepth,
    /// Findings of the rules, with the root cause first.
    pub findings: Vec<Finding>,
    /// Recommended changes of all findings, without duplicates.
    pub remedies: Vec<Remedy>,
}

/// Inspects the model of `config` over its first `batches` batches.
///
/// # Errors
/// As for [`prepare`]; or if images cannot be read, or libtorch reports an error.
pub fn inspect(config: Config, batches: usize) -> Result<Inspection, TrainError> {
    let prepared = prepare(config)?;
    prepared.fit_to_data()?;
    let initial = prepared.measure(batches)?;
    Ok(Inspection::of(&prepared.config, &initial))
}

impl Inspection {
    fn of(config: &Config, initial: &InitialMeasurement) -> Self {
        let forecast = Forecast::of(&config.model, initial);
        let profile = initial.depth_profile();
        let slope = profile.slope();
        let ratio = match &profile.layers[..] {
            [first, .., last] => Some(first.1 / last.1).filter(|ratio| ratio.is_finite()),
            _ => None,
        };
        let expected = forecast.chi.and_then(|_| forecast.profile(initial).slope());
        let findings = judge(config, initial);
        Self {
            images: initial.images,
            loss: initial.loss,
            guess: initial.facts.guess(),
            source: profile.source,
            layers: layer::reports(config, initial, &forecast),
            ratio,
            slope,
            expected_slope: expected.map(|slope| slope.log2_per_layer),
            depth: TrainableDepth::of(profile.layers.len(), &forecast, slope),
            remedies: Remedy::of_findings(&findings),
            findings,
        }
    }
}

/// Runs the rules on the first step of such a run.
fn judge(config: &Config, initial: &InitialMeasurement) -> Vec<Finding> {
    let seen = Observation {
        step: 0,
        loss: initial.loss,
        learning_rate: f64::NAN,
        total_norm: initial.total_norm,
        skipped_in_a_row: u64::from(!initial.gradients.is_finite()),
        gradients: Some(&initial.gradients),
        layers: &initial.layers,
        depth_profile: Some(initial.depth_profile()),
        ..Observation::default()
    };
    let mut diagnosis = Diagnosis::default();
    diagnosis.judge(&seen, &Subject { config: Some(config), facts: &initial.facts });
    let root = diagnosis.root_cause().map(|finding| finding.rule);
    let mut findings = diagnosis.findings().to_vec();
    root_cause_first(&mut findings, root);
    findings
}
