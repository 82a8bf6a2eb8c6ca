//! Evaluations between two steps.

use std::time::Instant;

use super::{EarlyStopping, State, StopSignal, TrainError};
use crate::{
    config::CheckpointConfig,
    data::Preprocessing,
    disk,
    evaluation::{Loss, Metrics, Tally, accuracy_by_batch, evaluate},
    recording::Explainer,
};

/// Training accuracy minus validation accuracy from which batch normalization may be the reason.
const BEHIND: f64 = 0.1;

/// State of the evaluations of a run.
pub(super) struct Evaluations {
    /// Running sums over the training images since the last evaluation.
    pub tally: Tally,
    /// Tracks the best evaluation so far.
    pub early_stopping: EarlyStopping,
    /// Validation images to explain.
    pub explained: Vec<u32>,
}

impl State {
    /// Evaluates on the validation images. Returns whether the weights are among the best ones that checkpoints keep.
    /// If `stop` arrives during the evaluation, the evaluation has no effect.
    pub(super) fn evaluate(&mut self, stop: &StopSignal) -> Result<bool, TrainError> {
        let started = Instant::now();
        // Device syncs here: untracked steps may have been skipped, and the running metrics are read.
        let skips = self.gradients.read_skips()?;
        self.judge_skips(skips, None)?;
        let (model, data, evaluations) = (&self.model, &self.data, &self.evaluations);
        let training = evaluations.tally.of_all_ranks(&self.ranks)?.read(&data.classes)?;
        let should_stop = || stop.signal().is_some();
        let loss = Loss::of_evaluation(data.validation.dataset());
        let (classes, ranks) = (&data.classes, &self.ranks);
        let run = || evaluate(&model.network, &data.validation, &loss, classes, model.numerics, ranks, should_stop);
        let Some(validation) = run()? else { return Ok(false) };
        let of_ema = match &model.ema {
            None => None,
            Some(ema) => match ema.instead(run)?? {
                None => return Ok(false),
                of_ema => of_ema,
            },
        };
        let is_behind = training.accuracy - validation.accuracy > BEHIND;
        let mut by_batch = None;
        if is_behind && self.config.diagnosis.enabled {
            if self.ranks.is_first() {
                by_batch = self.accuracy_by_batch(stop)?;
            }
            if self.is_stopped(stop)? {
                return Ok(false);
            }
        }
        self.gather_bad_images()?;
        let (model, data, evaluations) = (&self.model, &self.data, &mut self.evaluations);
        disk::point("evaluate");
        let step = self.counters.step;
        evaluations.tally = Tally::of_training(data.training.dataset(), model.device())?;
        self.counters.evaluated_at = Some(step);
        let is_best = evaluations.early_stopping.add(step, &validation);
        if let Some(plateau) = &mut self.optimization.plateau {
            plateau.add(validation.of(self.config.evaluate.metric));
        }
        self.explain();
        let (epoch, elapsed) = (self.counters.epoch, self.clock.elapsed());
        if let Some(recorder) = &mut self.output.recorder {
            recorder.evaluation(step, epoch, elapsed, &training, &validation, of_ema.as_ref());
            recorder.batch_statistics_accuracy(step, by_batch);
            self.output.progress.evaluation(step, &training, &validation, of_ema.as_ref(), is_best);
            if is_best {
                recorder.save_best(&self.model.network);
            }
            self.diagnose_evaluation(&training, &validation, by_batch);
        }
        let is_kept = enters_best(&mut self.counters.best_figures, &self.config.checkpoint, &validation);
        self.counters.last_validation = Some(validation.without_classes());
        // An existing checkpoint of this step does not contain the evaluation.
        self.output.saved_at = None;
        self.clock.evaluating += started.elapsed();
        Ok(is_kept)
    }

    /// Whether any rank has a stop signal.
    fn is_stopped(&self, stop: &StopSignal) -> Result<bool, TrainError> {
        let own = f64::from(u8::from(stop.signal().is_some()));
        Ok(self.ranks.gather(&[own])?.iter().any(|rank| rank[0] > 0.0))
    }

    /// Marks the images that other ranks could not decode.
    pub(super) fn gather_bad_images(&self) -> Result<(), TrainError> {
        if self.ranks.are_alone() {
            return Ok(());
        }
        let [training, validation] = self.data.bad_images();
        let all = |own: &[u32]| -> Result<Vec<u32>, TrainError> {
            let own: Vec<f64> = own.iter().map(|index| f64::from(*index)).collect();
            Ok(self.ranks.gather_lists(&own)?.concat().into_iter().map(|index| index as u32).collect())
        };
        self.data.mark_bad_images([all(&training)?, all(&validation)?]);
        Ok(())
    }

    /// Validation accuracy with the statistics of each batch instead of the running ones.
    fn accuracy_by_batch(&mut self, stop: &StopSignal) -> Result<Option<f64>, TrainError> {
        let Self { config, model, data, counters, .. } = self;
        let is_kept = |layer: &str| config.model.keeps_statistics(layer);
        let (batch_size, should_stop) = (config.data.batch_size, || stop.signal().is_some());
        let validation = &data.validation;
        model.without_side_effects(|model| {
            // A TorchScript program may draw random numbers.
            if let Some(streams) = model.random_streams {
                streams.start_probe(counters.step);
            }
            Ok(accuracy_by_batch(&model.network, validation, batch_size, model.numerics, is_kept, should_stop)?)
        })
    }

    /// Writes Grad-CAM pictures of the chosen validation images. An image that cannot be explained does not end the
    /// run.
    fn explain(&mut self) {
        let Self { config, data, model, evaluations, output, counters, .. } = self;
        let Some(recorder) = output.recorder.as_mut().filter(|_| !evaluations.explained.is_empty()) else { return };
        let dataset = data.validation.dataset();
        let explainer = Explainer {
            network: &model.network,
            dataset,
            classes: &data.classes,
            preprocessing: &Preprocessing::new(dataset.shape(), &data.scale, &config.data),
            on_bad_image: config.data.on_bad_image,
            device: model.device(),
        };
        match explainer.explain(&evaluations.explained) {
            Ok(pictures) => recorder.explanations(counters.step, pictures),
            Err(error) => recorder.report_failure(&error),
        }
    }
}

/// Returns whether an evaluation is among the best ones that checkpoints keep, and if so, adds it to them.
fn enters_best(best: &mut Vec<f64>, config: &CheckpointConfig, validation: &Metrics) -> bool {
    let figure = validation.of(config.metric);
    let better = |one: f64, other: f64| if config.metric.lower_is_better() { one < other } else { one > other };
    let rank = best.partition_point(|&earlier| !better(figure, earlier));
    let is_kept = figure.is_finite() && rank < config.keep_best;
    if is_kept {
        best.insert(rank, figure);
    }
    best.truncate(config.keep_best);
    is_kept
}
