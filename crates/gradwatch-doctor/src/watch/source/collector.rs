//! Everything about a run that the screen shows, collected step by step in bounded memory.

use super::clock::Clock;
use crate::{
    AssessOptions,
    assessor::Assessor,
    config::Config,
    diagnosis::Subject,
    replay::{ReplayEvent, Sample},
    report::{Grid, Series},
};

/// Report, activations, and speed of a run so far.
#[derive(Clone)]
pub(super) struct Collector {
    pub assessor: Assessor,
    /// Share of activations that are 0 or less, per layer.
    pub activations: Grid,
    /// Share of a step that the slowest rank waits for images.
    pub waiting: Series,
    pub clock: Clock,
}

impl Collector {
    pub(super) fn new(config: Option<&Config>) -> Self {
        Self {
            assessor: Assessor::new(&AssessOptions::default(), config),
            activations: Grid::default(),
            waiting: Series::default(),
            clock: Clock::default(),
        }
    }

    /// Adds an event of the run.
    pub(super) fn add(&mut self, event: &ReplayEvent, subject: &Subject<'_>) {
        match event {
            ReplayEvent::Restart => *self = Self::new(subject.config),
            ReplayEvent::Step(sample) => self.add_step(sample),
            ReplayEvent::Evaluation(_) => {}
        }
        self.assessor.add(event, subject);
    }

    fn add_step(&mut self, sample: &Sample) {
        if let Some(secs) = sample.wall_time {
            self.clock.add(sample.step, secs);
        }
        if !sample.layers.is_empty() {
            let known = sample.layers.iter().filter(|layer| !layer.nonpositive_fraction.is_nan());
            self.activations.add_cells(sample.step, known.map(|layer| (&*layer.layer, layer.nonpositive_fraction)));
        }
        let share = |rank: &crate::statistics::RankStep| rank.loading_secs / (rank.busy_secs + rank.wait_secs);
        let slowest = sample.ranks.iter().flat_map(|ranks| ranks.ranks.iter().map(share)).fold(f64::NAN, f64::max);
        if slowest.is_finite() {
            self.waiting.add(sample.step, slowest);
        }
    }
}
