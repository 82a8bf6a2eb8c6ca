//! Where the time of a backward pass went, from the moments at which gradients were written.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

/// A backward pass, parameter by parameter.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BackwardTimeline {
    /// In the order in which the gradients were written, the last layer first.
    pub parameters: Vec<BackwardTime>,
}

/// One parameter's part of a backward pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackwardTime {
    /// The parameter.
    pub name: Arc<str>,
    /// From the gradient written before this one (for the first, from the start of the pass) to this one. Parameters that
    /// are written together, as weight and bias are, share the time of their layer by accident.
    pub secs: f64,
}

impl BackwardTimeline {
    /// From each parameter's time since the start of the pass.
    pub(super) fn new(written: impl Iterator<Item = (Arc<str>, Duration)>) -> Self {
        let mut written: Vec<_> = written.collect();
        written.sort_by_key(|(_, at)| *at);
        let mut before = Duration::ZERO;
        let parameter = |(name, at): (Arc<str>, Duration)| {
            let secs = (at - std::mem::replace(&mut before, at)).as_secs_f64();
            BackwardTime { name, secs }
        };
        Self { parameters: written.into_iter().map(parameter).collect() }
    }

    /// Time per layer: its parameters' times together, in the order of the backward pass. A layer is all of a parameter's
    /// name but its last segment.
    pub fn layers(&self) -> Vec<(&str, f64)> {
        let mut layers: Vec<(&str, f64)> = Vec::new();
        for BackwardTime { name, secs } in &self.parameters {
            let layer = name.rsplit_once('.').map_or(&**name, |(layer, _)| layer);
            match layers.iter_mut().find(|(seen, _)| *seen == layer) {
                Some((_, total)) => *total += secs,
                None => layers.push((layer, *secs)),
            }
        }
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_takes_the_time_since_the_one_before_and_a_layer_that_of_its_parameters() {
        let at = [("conv.weight", 70), ("fc.weight", 30), ("fc.bias", 20), ("conv.bias", 50), ("scale", 75)];
        let written = at.iter().map(|&(name, millis)| (Arc::from(name), Duration::from_millis(millis)));
        let timeline = BackwardTimeline::new(written);
        let seen: Vec<(&str, f64)> = timeline.parameters.iter().map(|p| (&*p.name, p.secs)).collect();
        let want =
            [("fc.bias", 0.02), ("fc.weight", 0.01), ("conv.bias", 0.02), ("conv.weight", 0.02), ("scale", 0.005)];
        assert_eq!(seen, want);
        assert_eq!(timeline.layers(), [("fc", 0.03), ("conv", 0.04), ("scale", 0.005)]);
    }
}
