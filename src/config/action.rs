//! What `[[diagnosis.actions]]` says: what is done about findings.

use serde::Serialize;

use super::{matches, names::named_enum, reader::Section};

named_enum! {
    /// How bad a finding is.
    #[derive(PartialOrd, Ord)]
    pub enum Severity {
        /// Worth knowing.
        Info = "info",
        /// The run loses by it.
        Warning = "warning",
        /// The run will not get anywhere like this.
        Critical = "critical",
        /// The run cannot go on.
        Fatal = "fatal",
    }
}

/// One answer to findings. Each is told in the log, in TensorBoard and in findings.jsonl in any case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    /// Patterns of names of rules, in which `*` stands for any characters.
    pub rules: Vec<String>,
    /// From which severity on.
    pub severity: Severity,
    /// Whether the run ends, with a checkpoint and an exit code of its own.
    pub stop: bool,
    /// Whether a checkpoint is saved after the step.
    pub checkpoint: bool,
    /// Whether the last readings are written to recent_steps.jsonl.
    pub dump: bool,
    /// A command for the shell; it gets the finding as JSON on its standard input. Empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// An address to which the finding is posted as JSON. Empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub webhook: String,
}

impl Action {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let is_address = |address: &String| address.starts_with("http://") || address.starts_with("https://");
        let action = Self {
            rules: table.get(
                "rules",
                vec!["*".into()],
                |rules| !rules.is_empty(),
                "at least one pattern of names of rules",
            ),
            severity: table.choice("severity").unwrap_or(Severity::Warning),
            stop: table.any("stop", false),
            checkpoint: table.any("checkpoint", false),
            dump: table.any("dump", false),
            command: table.any("command", String::new()),
            webhook: table.get("webhook", String::new(), is_address, "an address that begins with http:// or https://"),
        };
        let says_something = action.stop || action.checkpoint || action.dump;
        if !says_something && action.command.is_empty() && action.webhook.is_empty() {
            table.missing("stop", "stop, checkpoint or dump = true, or a command or webhook: the action does nothing");
        }
        table.finish();
        action
    }

    /// Whether it answers a finding.
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
        assert!(wrong.contains("want an address that begins with http://"), "{wrong}");
    }
}
