//! The `[[diagnosis.actions]]` tables: reactions to findings.

use serde::Serialize;

use super::{matches, names::named_enum, reader::Section};

named_enum! {
    /// Severity of a finding.
    #[derive(PartialOrd, Ord)]
    pub enum Severity {
        /// Good to know.
        Info = "info",
        /// The run loses accuracy or time.
        Warning = "warning",
        /// The run cannot succeed with these settings.
        Critical = "critical",
        /// The run cannot continue.
        Fatal = "fatal",
    }
}

/// One reaction to findings. Every finding is also written to the log, TensorBoard, and findings.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    /// Patterns of rule names, in which `*` matches any characters.
    pub rules: Vec<String>,
    /// Minimum severity.
    pub severity: Severity,
    /// Whether to end the run, with a checkpoint and its own exit code.
    pub stop: bool,
    /// Whether to save a checkpoint after the step.
    pub checkpoint: bool,
    /// Whether to write the last tracked steps to recent_steps.jsonl.
    pub dump: bool,
    /// Shell command that receives the finding as JSON on its standard input; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// URL to which the finding is posted as JSON; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub webhook: String,
}

impl Action {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let is_address = |address: &String| address.starts_with("http://") || address.starts_with("https://");
        let action = Self {
            rules: table.get("rules", vec!["*".into()], |rules| !rules.is_empty(), "at least one rule name pattern"),
            severity: table.choice("severity").unwrap_or(Severity::Warning),
            stop: table.any("stop", false),
            checkpoint: table.any("checkpoint", false),
            dump: table.any("dump", false),
            command: table.any("command", String::new()),
            webhook: table.get("webhook", String::new(), is_address, "a URL that starts with http:// or https://"),
        };
        let says_something = action.stop || action.checkpoint || action.dump;
        if !says_something && action.command.is_empty() && action.webhook.is_empty() {
            table.missing("stop", "stop, checkpoint, or dump = true, or a command or webhook: the action does nothing");
        }
        table.finish();
        action
    }

    /// Whether the action applies to a finding.
    pub fn answers(&self, rule: &str, severity: Severity) -> bool {
        severity >= self.severity && self.rules.iter().any(|pattern| matches(pattern, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(actions: &str) -> Result<Config, String> {
        let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{actions}");
        Config::parse(&toml, "test").map_err(|error| error.to_string())
    }

    #[test]
    fn an_action_answers_the_rules_it_names_from_its_severity_on() {
        let config =
            config("[[diagnosis.actions]]\nrules = [\"van*\", \"dead_relu\"]\nseverity = \"critical\"\nstop = true")
                .unwrap();
        let [action] = &config.diagnosis.actions[..] else { panic!() };
        assert!(action.answers("vanishing", Severity::Critical) && action.answers("dead_relu", Severity::Fatal));
        assert!(!action.answers("vanishing", Severity::Warning) && !action.answers("exploding", Severity::Fatal));
        assert_eq!(Config::parse(&config.to_toml(), "again").unwrap(), config);
    }

    #[test]
    fn an_action_that_does_nothing_and_an_address_that_is_none_are_refused() {
        assert!(
            config("[[diagnosis.actions]]\nrules = [\"vanishing\"]").unwrap_err().contains("the action does nothing")
        );
        let wrong = config("[[diagnosis.actions]]\nwebhook = \"example.org\"").unwrap_err();
        assert!(wrong.contains("want a URL that starts with http://"), "{wrong}");
    }
}
