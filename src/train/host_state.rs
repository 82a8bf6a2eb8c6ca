//! Host state of a run outside its tensors, as stored in a checkpoint.

use serde::{Deserialize, Serialize};
use tch::Device;

use super::{Counters, State, data_identity::DataIdentity, early_stopping::EvaluationHistory, threads};
use crate::{
    checkpoint::CheckpointName,
    diagnosis::{Diagnosis, Facts, RuleSet},
    evaluation::TallyCounts,
    gradient::{GradientHistory, NoiseScale},
    optim::PlateauCourse,
    recording::{Pictures, Recorder},
};

/// Counters and histories of a run. The fields of the same name in the parts of [`State`] describe them.
#[derive(Serialize, Deserialize)]
pub(super) struct HostState {
    pub data: DataIdentity,
    /// See [`Model::digest`](crate::model::Model::digest).
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default, rename = "weights")]
    pub initial_weights: Option<String>,
    #[serde(flatten)]
    pub counters: Counters,
    pub elapsed_secs: f64,
    pub evaluating_secs: f64,
    pub tally: TallyCounts,
    pub evaluations: EvaluationHistory,
    pub plateau: Option<PlateauCourse>,
    pub history: GradientHistory,
    pub noise_scale: NoiseScale,
    /// State and findings of the rules.
    #[serde(default)]
    pub diagnosis: Option<Diagnosis>,
    /// State of the rule sets of other tools.
    #[serde(default)]
    pub rule_sets: Vec<RuleSet>,
    /// Facts for the rules.
    #[serde(default)]
    pub facts: Facts,
    /// Training and validation images that are skipped because they do not decode.
    #[serde(default)]
    pub bad_images: [Vec<u32>; 2],
    pub pictures: Option<Pictures>,
    /// Whether entries are missing in a file of the run.
    pub is_incomplete: bool,
    /// Whether each micro-batch has random numbers of its own. Earlier versions draw those of a run in sequence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seeds_micro_batches: bool,
    /// Threads per CPU operation, which affect the last bits of sums; `None` on other devices.
    #[serde(default)]
    pub threads: Option<usize>,
}

impl State {
    /// Copies the state outside the tensors.
    pub(super) fn host_state(&self) -> HostState {
        let Self { data, model, gradients, optimization, evaluations, judge, output, counters, clock, .. } = self;
        let bad_images = data.bad_images();
        HostState {
            data: data.identity.clone(),
            model: model.network.model.digest().map(str::to_owned),
            initial_weights: model.initial_weights.clone(),
            counters: counters.clone(),
            elapsed_secs: clock.elapsed().as_secs_f64(),
            evaluating_secs: clock.evaluating.as_secs_f64(),
            tally: evaluations.tally.counts,
            evaluations: evaluations.early_stopping.history.clone(),
            plateau: optimization.plateau.as_ref().map(|plateau| plateau.course.clone()),
            history: judge.history.clone(),
            noise_scale: gradients.noise_scale.clone(),
            diagnosis: judge.diagnosis.clone(),
            rule_sets: judge.rule_sets.clone(),
            facts: judge.facts.clone(),
            pictures: output.recorder.as_ref().and_then(Recorder::pictures).cloned(),
            is_incomplete: output.recorder.as_ref().is_some_and(Recorder::has_failed)
                || bad_images.iter().any(|images| !images.is_empty()),
            bad_images,
            seeds_micro_batches: model.random_streams.is_some(),
            threads: (model.device() == Device::Cpu).then(threads::now),
        }
    }

    /// Restores the state outside the tensors from the checkpoint `name`.
    pub(super) fn restore_host_state(&mut self, name: CheckpointName, host: HostState) {
        // Lists every field, so that a new one cannot be forgotten.
        let HostState {
            // The checks before the start compare these with the data and the model.
            data: _,
            model: _,
            initial_weights,
            counters,
            elapsed_secs,
            evaluating_secs,
            tally,
            evaluations,
            plateau,
            history,
            noise_scale,
            diagnosis,
            rule_sets,
            facts,
            bad_images,
            // The recorder restored these when it opened the files.
            pictures: _,
            is_incomplete: _,
            // The start has chosen the random streams by it.
            seeds_micro_batches: _,
            // Restored before the first operation.
            threads: _,
        } = host;
        self.model.initial_weights = initial_weights;
        self.counters = counters;
        self.clock.resume(elapsed_secs, evaluating_secs);
        self.evaluations.tally.counts = tally;
        self.evaluations.early_stopping.history = evaluations;
        if let (Some(plateau), Some(course)) = (&mut self.optimization.plateau, plateau) {
            plateau.course = course;
        }
        self.gradients.noise_scale = noise_scale;
        self.judge.restore(diagnosis, rule_sets, facts, history);
        self.data.mark_bad_images(bad_images);
        self.output.saved_at = Some(name);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_checkpoint_keeps_the_keys_of_an_earlier_version() {
        let text = include_str!("../../tests/golden/run/checkpoints/epoch-0001-step-00000008/host.json");
        let host: HostState = serde_json::from_str(text).unwrap();
        assert_eq!((host.counters.epoch, host.counters.step), (1, 8));
        let (earlier, now): (Value, Value) =
            (serde_json::from_str(text).unwrap(), serde_json::to_value(&host).unwrap());
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&now), keys(&earlier));
        for key in ["epoch", "step", "next_batch", "taken_steps", "images", "weights", "best_figures", "evaluations"] {
            assert_eq!(now[key], earlier[key], "{key}");
        }
    }
}
