//! The `[repair]` table.

use serde::Serialize;

use super::{
    Severity, check_key_pattern, matches,
    names::named_enum,
    range::{COUNT, Numbers},
    reader::Section,
};

named_enum! {
    /// Reaction of a run to findings that a config change may fix.
    pub enum RepairMode {
        /// No reaction.
        Off = "off",
        /// Log the change, and from which checkpoint it would be tried.
        Advise = "advise",
        /// Return to the last healthy checkpoint, and try the change.
        Auto = "auto",
    }
}

/// The `[repair]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RepairConfig {
    /// Reaction to findings.
    pub mode: RepairMode,
    /// Minimum severity of a finding to repair.
    pub severity: Severity,
    /// Maximum number of changes to try in a run.
    pub max_repairs: usize,
    /// Steps that repairs may discard, as a share of the steps of the run.
    pub budget: f64,
    /// Steps for which a change must keep the finding away. They count from the step at which it was found.
    pub trial_steps: u64,
    /// Patterns of the config keys to change.
    pub allow: Vec<String>,
}

/// A run may be repeated a few times.
const BUDGET: Numbers = Numbers::between(1e-6, 1000.0).or_zero();

impl Default for RepairConfig {
    fn default() -> Self {
        // Neither the network nor its images, which other runs are compared by.
        let allow = ["optimizer.*", "clipping.*", "schedule.*", "loss.*", "model.initialization*", "data.normalize"];
        Self {
            mode: RepairMode::Off,
            severity: Severity::Critical,
            max_repairs: 5,
            budget: 0.5,
            trial_steps: 50,
            allow: allow.map(str::to_owned).to_vec(),
        }
    }
}

impl RepairConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let given: Option<Vec<String>> = table.optional("allow", |_| true, "patterns of config keys");
        let config = Self {
            mode: table.choice("mode", default.mode),
            severity: table.choice("severity", default.severity),
            max_repairs: table.count("max_repairs", default.max_repairs, COUNT),
            budget: table.number("budget", default.budget, &BUDGET),
            trial_steps: table.count("trial_steps", default.trial_steps, COUNT),
            allow: given.clone().unwrap_or(default.allow),
        };
        // The keys to check against come from reading an empty table, which must not check its own default.
        for error in given.iter().flatten().filter_map(|pattern| check_key_pattern(pattern).err()) {
            table.problem("allow", error.to_string());
        }
        if config.severity == Severity::Info {
            table.problem(
                "severity",
                "got \"info\", want one of warning, critical, fatal: an info finding is no problem",
            );
        }
        table.finish();
        config
    }

    /// Whether repairs may change a config key.
    pub fn allows(&self, key: &str) -> bool {
        self.allow.iter().any(|pattern| matches(pattern, key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn patterns_must_match_a_key() {
        let parse = |allow: &str| {
            let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nrepair.allow = ";
            Config::parse(&format!("{toml}{allow}"), "test").map(|config| config.repair)
        };
        let error = parse("[\"optimizer.lr\", \"clipping.*\"]").unwrap_err().to_string();
        let want = "repair.allow: no config key matches \"optimizer.lr\"; did you mean \"optimizer.learning_rate\"?";
        assert!(error.contains(want), "{error}");
        let all = parse("[\"*\"]").unwrap();
        assert!(all.allows("model.activation") && all.allows("optimizer.learning_rate"));
        let some = parse("[\"clipping.*\"]").unwrap();
        assert!(some.allows("clipping.agc.clip_factor") && !some.allows("optimizer.learning_rate"));
    }
}
