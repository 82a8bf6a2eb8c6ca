//! Where the time of a backward pass went, from the moments at which gradients were written.

use std::{collections::HashMap, sync::Arc};

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
    /// From each parameter's seconds since the start of the pass.
    pub(super) fn new(written: impl Iterator<Item = (Arc<str>, f64)>) -> Self {
        let mut written: Vec<_> = written.collect();
        written.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let mut before = 0.0;
        let parameter =
            |(name, at): (Arc<str>, f64)| BackwardTime { name, secs: at - std::mem::replace(&mut before, at) };
        Self { parameters: written.into_iter().map(parameter).collect() }
    }

    /// Time per layer: its parameters' times together, in the order of the backward pass. A layer is all of a parameter's
    /// name but its last segment.
    pub fn layers(&self) -> Vec<(&str, f64)> {
        let mut layers: Vec<(&str, f64)> = Vec::new();
        let mut places = HashMap::new();
        for BackwardTime { name, secs } in &self.parameters {
            let layer = name.rsplit_once('.').map_or(&**name, |(layer, _)| layer);
            let place = *places.entry(layer).or_insert(layers.len());
            if place == layers.len() {
                layers.push((layer, 0.0));
            }
            layers[place].1 += secs;
        }
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_takes_the_time_since_the_one_before_and_a_layer_that_of_its_parameters() {
        let at = [("conv.weight", 7.0), ("fc.weight", 3.0), ("fc.bias", 2.0), ("conv.bias", 5.0), ("scale", 7.5)];
        let timeline = BackwardTimeline::new(at.iter().map(|&(name, secs)| (Arc::from(name), secs)));
        let seen: Vec<(&str, f64)> = timeline.parameters.iter().map(|p| (&*p.name, p.secs)).collect();
        let want = [("fc.bias", 2.0), ("fc.weight", 1.0), ("conv.bias", 2.0), ("conv.weight", 2.0), ("scale", 0.5)];
        assert_eq!(seen, want);
        assert_eq!(timeline.layers(), [("fc", 3.0), ("conv", 4.0), ("scale", 0.5)]);
    }
}
