//! A model before its first step: what goes through it, what comes back, and what theory expects of it.
//!
//! A few batches, no update, and nothing on disk:
//!
//! ```
//! use gradwatch::{config::{Config, RuleName}, inspect::inspect};
//!
//! let toml = "[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\nimage_size = 8\nsamples = 100\n\
//!             [model]\nname = \"mlp\"\ndepth = 8\nwidth = 64\nactivation = \"sigmoid\"\ninitialization = \"xavier_normal\"";
//! let inspection = inspect(Config::parse(toml, "demo.toml")?, 2)?;
//! assert_eq!(inspection.findings[0].rule, RuleName::Vanishing);
//! // On its way back through a layer the gradient shrinks to a quarter.
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
    diagnosis::{Diagnosis, Finding, Observation, Remedy, Subject},
    gradient::{ProfileSource, Slope},
    train::{Look, TrainError, prepare},
};
use forecast::Forecast;

/// What a few batches say of a model as it was drawn.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Images that were looked at.
    pub images: usize,
    /// Their mean loss.
    pub loss: f64,
    /// The loss of the best guess that knows nothing of the images.
    pub guess: f64,
    /// What the gradient's size at a layer is taken from.
    pub source: ProfileSource,
    /// Every layer with an activation, in the order of the forward pass; of a model without taps, those of its proxy.
    pub layers: Vec<LayerReport>,
    /// Gradient RMS of the first of them over that of the last; `None` for fewer than two, and where it is not finite.
    pub ratio: Option<f64>,
    /// Change of the gradient's size per layer on its way back.
    pub slope: Option<Slope>,
    /// The same by mean-field theory, as log2; `None` for models with shortcuts.
    pub expected_slope: Option<f64>,
    /// How deep such a net can be.
    pub depth: TrainableDepth,
    /// What the rules say, the cause of the rest first.
    pub findings: Vec<Finding>,
    /// The changes that the findings ask for, each once.
    pub remedies: Vec<Remedy>,
}

/// Looks at the model of `config` over its first `batches` batches.
///
/// # Errors
/// As for [`prepare`]; and where images cannot be read, or libtorch refuses.
pub fn inspect(config: Config, batches: usize) -> Result<Inspection, TrainError> {
    let prepared = prepare(config)?;
    prepared.fit_to_data()?;
    let look = prepared.look(batches)?;
    Ok(Inspection::of(&prepared.config, &look))
}

impl Inspection {
    fn of(config: &Config, look: &Look) -> Self {
        let forecast = Forecast::of(&config.model, look);
        let profile = look.depth_profile();
        let slope = profile.slope();
        let ratio = match &profile.layers[..] {
            [first, .., last] => Some(first.1 / last.1).filter(|ratio| ratio.is_finite()),
            _ => None,
        };
        let expected = forecast.chi.and_then(|_| forecast.profile(look).slope());
        let findings = judge(config, look);
        Self {
            images: look.images,
            loss: look.loss,
            guess: look.facts.guess(),
            source: profile.source,
            layers: layer::reports(config, look, &forecast),
            ratio,
            slope,
            expected_slope: expected.map(|slope| slope.log2_per_layer),
            depth: TrainableDepth::of(profile.layers.len(), &forecast, slope),
            remedies: remedies(&findings),
            findings,
        }
    }
}

/// What the rules say of the first step of a run that begins like this.
fn judge(config: &Config, look: &Look) -> Vec<Finding> {
    let seen = Observation {
        step: 0,
        loss: look.loss,
        learning_rate: f64::NAN,
        total_norm: look.total_norm,
        skipped_in_a_row: u64::from(!look.gradients.is_finite()),
        gradients: Some(&look.gradients),
        layers: &look.layers,
        depth_profile: Some(look.depth_profile()),
        ..Observation::default()
    };
    let mut diagnosis = Diagnosis::default();
    diagnosis.judge(&seen, &Subject { config: Some(config), facts: &look.facts });
    let root = diagnosis.root_cause().map(|finding| finding.rule);
    let mut findings = diagnosis.findings().to_vec();
    findings.sort_by_key(|finding| (Some(finding.rule) != root, std::cmp::Reverse(finding.severity)));
    findings
}

fn remedies(findings: &[Finding]) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = Vec::new();
    for remedy in findings.iter().flat_map(|finding| &finding.remedies) {
        if !remedies.iter().any(|known| known.change == remedy.change) {
            remedies.push(remedy.clone());
        }
    }
    remedies
}
