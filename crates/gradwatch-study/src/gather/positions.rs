//! Gradient problems of a run by position: at step 0, and as they were last measured.

use std::{collections::HashMap, path::Path, sync::Arc};

use gradwatch_doctor::{
    diagnosis::{Facts, ParameterFacts},
    replay::{Replay, ReplayError, ReplayEvent, Sample},
    statistics::{DepthProfile, GradientStatistics, ProfileSource},
};

use super::{Values, unread::Unread};
use crate::gradient_problems::{self, problems};

/// Reads the gradients of a run.
pub(super) fn read(unread: &mut Unread<'_>) -> Values {
    // Without its config, the run would be read as one of another program.
    let config = "config.toml";
    if !unread.run.join(config).is_file() {
        unread.add_missing(config);
    }
    let ends = match read_ends(unread.run) {
        Ok(ends) => ends,
        // The event files are noted as missing.
        Err(ReplayError::NoEvents { .. }) => [None, None],
        Err(error) => {
            unread.notes.push(error.to_string());
            [None, None]
        }
    };
    let columns = gradient_problems::columns();
    let of_time = columns.chunks(columns.len() / ends.len()).zip(ends);
    let cell = |problem: Option<bool>| problem.map(|is_so| f64::from(u8::from(is_so))).into();
    let named =
        of_time.filter_map(|(columns, problems)| Some(columns.iter().cloned().zip(problems?.into_iter().map(cell))));
    named.flatten().collect()
}

/// The problems at both times; `None` if no layers were measured.
fn read_ends(run: &Path) -> Result<[Option<Vec<Option<bool>>>; 2], ReplayError> {
    let mut replay = Replay::open(run, &[])?;
    let weights = weights(&replay.facts);
    let mut ends: [Option<Measured>; 2] = [None, None];
    replay.play(|event| match event {
        ReplayEvent::Restart => ends = [None, None],
        ReplayEvent::Step(sample) => {
            if sample.step == 0 {
                ends[0].get_or_insert_default().add(&sample);
            }
            ends[1].get_or_insert_default().add(&sample);
        }
        ReplayEvent::Evaluation(_) => {}
    })?;
    Ok(ends.map(|measured| measured?.problems(&weights)))
}

/// The newest of each measurement. Layers, parameters, and norms have intervals of their own; the first step has all.
#[derive(Default)]
struct Measured {
    profile: Option<DepthProfile>,
    gradients: Option<GradientStatistics>,
    total_norm: f64,
}

impl Measured {
    fn add(&mut self, sample: &Sample) {
        let profile = sample.depth_profile.as_ref().filter(|profile| !profile.layers.is_empty());
        self.profile = profile.cloned().or(self.profile.take());
        self.gradients = sample.gradients.clone().or(self.gradients.take());
        // A run that diverges may end before it measures the layers again.
        self.total_norm = sample.total_norm;
    }

    /// `None` if neither layers nor parameters were measured.
    fn problems(&self, weights: &[Arc<str>]) -> Option<Vec<Option<bool>>> {
        let gradients = self.gradients.as_ref();
        let rms: HashMap<&str, f64> =
            gradients.iter().flat_map(|step| &step.parameters).map(|weight| (&*weight.name, weight.rms())).collect();
        let sizes = weights.iter().filter_map(|weight| Some((layer_of(weight)?.into(), *rms.get(&**weight)?)));
        let sizes: Vec<(Arc<str>, f64)> = sizes.collect();
        let none = DepthProfile { source: ProfileSource::PreActivations, layers: Vec::new() };
        let profile = self.profile.as_ref().unwrap_or(&none);
        let is_measured = !sizes.is_empty() || self.profile.is_some();
        is_measured.then(|| problems(profile, &sizes, gradients, self.total_norm))
    }
}

/// The weights of layers: matrices and kernels, in the order of the forward pass, without biases, gains, and embeddings
/// of positions.
fn weights(facts: &Facts) -> Vec<Arc<str>> {
    let is_weight = |parameter: &&ParameterFacts| parameter.shape.len() >= 2 && layer_of(&parameter.name).is_some();
    facts.parameters.iter().filter(is_weight).map(|parameter| Arc::clone(&parameter.name)).collect()
}

fn layer_of(weight: &str) -> Option<&str> {
    weight.strip_suffix(".weight")
}
