//! Tries each recommended change and inspects the changed model.

use serde::Serialize;
use tracing::subscriber::{NoSubscriber, with_default};

use super::{Inspection, inspect};
use crate::{config::Config, diagnosis::Remedy, train::TrainError};

/// Inspection of the model with one change.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// Config line of the change.
    pub change: String,
    /// Inspection of the changed model; `None` if it cannot be built or run.
    pub inspection: Option<Inspection>,
    /// Error, if there was one.
    pub error: Option<String>,
}

/// Inspects the model with each of `remedies` separately, best result first. Skips changes that are not config lines,
/// and changes whose effect appears only during training.
pub fn try_remedies(config: &Config, remedies: &[Remedy], batches: usize) -> Vec<Trial> {
    let changed = |remedy: &Remedy| remedy.change.apply_to(config).ok();
    let shows = |other: &Config| other.model != config.model || other.data != config.data || other.loss != config.loss;
    let candidates = remedies.iter().filter_map(|remedy| Some((remedy, changed(remedy).filter(shows)?)));
    // Messages about the model were already logged for the unchanged config.
    let quietly = |config| with_default(NoSubscriber::new(), || inspect(config, batches));
    let mut trials: Vec<Trial> =
        candidates.map(|(remedy, config)| Trial::of(&remedy.change.to_string(), quietly(config))).collect();
    trials.sort_by(|one, other| one.badness().total_cmp(&other.badness()));
    trials
}

impl Trial {
    fn of(change: &str, outcome: Result<Inspection, TrainError>) -> Self {
        let change = change.to_owned();
        match outcome {
            Ok(inspection) => Self { change, inspection: Some(inspection), error: None },
            Err(error) => Self { change, inspection: None, error: Some(error.to_string()) },
        }
    }

    /// Ranks by severity first, then by the ratio of the first to the last gradient.
    fn badness(&self) -> f64 {
        // Larger than the logarithm of any ratio.
        const SEVERITY: f64 = 1e4;
        let Some(inspection) = &self.inspection else { return f64::INFINITY };
        let severities = inspection.findings.iter().map(|finding| SEVERITY * (1.0 + f64::from(finding.severity as u8)));
        let apart = inspection.ratio.map_or(SEVERITY, |ratio| ratio.log2().abs().min(SEVERITY));
        severities.sum::<f64>() + apart
    }
}
