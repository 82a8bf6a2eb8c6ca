//! Changes that a repair may try.

use super::Setting;
use crate::{
    config::{Config, differences},
    diagnosis::{Change, Remedy, WeightTransfer},
};

/// A change that a repair may try.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The change, and its effect.
    pub remedy: Remedy,
    /// Changes to make together with it.
    pub with: Vec<Remedy>,
    /// The config keys that all of them set.
    pub settings: Vec<Setting>,
    /// What they do to the weights.
    pub weights: WeightTransfer,
}

impl Proposal {
    /// Checks a recommended change: it must be a config line that `repair.allow` allows, that changes training, and that
    /// gives a valid config. `None` otherwise.
    pub fn of(remedy: &Remedy, config: &Config) -> Option<Self> {
        Self::together(remedy, &[], config)
    }

    /// Like [`of`](Self::of), for a change to make together with others. Each must change something beside the others.
    pub fn together(remedy: &Remedy, with: &[Remedy], config: &Config) -> Option<Self> {
        let (mut changed, mut weights) = (config.clone(), WeightTransfer::Kept);
        for Remedy { change, .. } in with.iter().chain([remedy]) {
            weights = weights.max(change.weight_transfer(&changed)?);
            let next = change.apply_to(&changed).ok()?;
            let differ = differences(&changed, &next);
            let is_allowed = |key: &str| config.repair.allows(key);
            let all_are_allowed =
                change.key().is_some_and(is_allowed) || differ.iter().all(|difference| is_allowed(&difference.key));
            if differ.is_empty() || !all_are_allowed {
                return None;
            }
            changed = next;
        }
        let settings: Vec<Setting> = differences(config, &changed).into_iter().map(Setting::from).collect();
        (!settings.is_empty()).then(|| Self { remedy: remedy.clone(), with: with.to_vec(), settings, weights })
    }

    /// The changes, the last one first.
    pub fn changes(&self) -> Vec<&Change> {
        [&self.remedy].into_iter().chain(&self.with).map(|remedy| &remedy.change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_allowed_changes_training_and_is_new() {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"";
        let parse = |more: &str| Config::parse(&format!("{toml}\n{more}"), "test").unwrap();
        let proposed = |change: &str, more: &str| {
            let remedy = Remedy { change: change.into(), why: "it helps".into() };
            let config = parse(&format!("optimizer.learning_rate = 0.1\n{more}"));
            Proposal::of(&remedy, &config)
        };
        let all = "repair.allow = [\"*\"]";
        let rate = proposed("optimizer.learning_rate = 0.01", "").unwrap();
        let setting =
            Setting { key: "optimizer.learning_rate".into(), before: Some("0.1".into()), after: Some("0.01".into()) };
        assert_eq!((rate.settings, rate.weights), (vec![setting], WeightTransfer::Kept));
        assert_eq!(proposed("model.initialization = \"orthogonal\"", "").unwrap().weights, WeightTransfer::New);
        assert!(proposed("model.initialization = \"orthogonal\"", "repair.allow = [\"optimizer.*\"]").is_none());
        let whole = "repair.allow = [\"model.initialization.method\"]";
        assert!(proposed("model.initialization = \"orthogonal\"", whole).is_some());
        assert!(proposed("model.activation = \"tanh\"", "").is_none(), "it is another network");
        assert!(proposed("model.activation = \"tanh\"", all).is_some());
        assert!(proposed("optimizer.learning_rate = 0.1", all).is_none(), "it changes nothing");
        assert!(proposed("early_stopping.patience = 3", all).is_none(), "it does not change training");
        assert!(proposed("check the labels", all).is_none());
        let config = parse("optimizer.learning_rate = 0.1\noptimizer.momentum = 0.5");
        let remedy = |change: &str| Remedy { change: change.into(), why: "it helps".into() };
        let together = |change: &str, with: &str| Proposal::together(&remedy(change), &[remedy(with)], &config);
        let both = together("optimizer.momentum = 0.9", "model.initialization = \"orthogonal\"").unwrap();
        assert_eq!((both.settings.len(), both.weights), (2, WeightTransfer::New));
        assert!(together("optimizer.momentum = 0.9", "optimizer.momentum = 0.9").is_none(), "it changes nothing more");
    }
}
