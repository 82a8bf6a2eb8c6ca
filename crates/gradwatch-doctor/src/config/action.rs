//! The `[[diagnosis.actions]]` tables: reactions to findings.

use serde::Serialize;

use super::{
    Named, RuleName, matches,
    names::named_enum,
    nearest,
    reader::{Section, quoted},
};

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

impl Default for Action {
    fn default() -> Self {
        Self {
            rules: vec!["*".into()],
            severity: Severity::Warning,
            stop: false,
            checkpoint: false,
            dump: false,
            command: String::new(),
            webhook: String::new(),
        }
    }
}

impl Action {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let action = Self {
            rules: table.get("rules", default.rules, |rules| !rules.is_empty(), "at least one rule name pattern"),
            severity: table.choice("severity", default.severity),
            stop: table.any("stop", default.stop),
            checkpoint: table.any("checkpoint", default.checkpoint),
            dump: table.any("dump", default.dump),
            command: table.any("command", default.command),
            webhook: table.get("webhook", default.webhook, |address| is_webhook(address), WEBHOOK),
        };
        // Earlier versions accepted any name, so a saved config may have an unknown one.
        for pattern in action.rules.iter().filter(|pattern| !table.is_saved() && !matches_a_rule(pattern)) {
            table.problem("rules", unknown_rule(pattern));
        }
        let says_something = action.stop || action.checkpoint || action.dump;
        if !says_something && action.command.is_empty() && action.webhook.is_empty() {
            table.missing("stop", "stop, checkpoint, or dump = true, or a command or webhook: the action does nothing");
        }
        table.finish();
        action
    }

    /// Whether the action applies to a finding.
    pub fn answers(&self, rule: &str, severity: Severity) -> bool {
        let former = RuleName::ALIASES.iter().filter(|(_, member)| member.name() == rule).map(|(name, _)| *name);
        let names: Vec<&str> = std::iter::once(rule).chain(former).collect();
        severity >= self.severity && self.rules.iter().any(|pattern| names.iter().any(|name| matches(pattern, name)))
    }
}

/// Form of the address of a webhook.
pub(crate) const WEBHOOK: &str = "a URL that starts with http:// or https://";

/// Whether a text has the form of [`WEBHOOK`].
pub(crate) fn is_webhook(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

fn matches_a_rule(pattern: &str) -> bool {
    pattern.parse::<RuleName>().is_ok() || RuleName::ALL.iter().any(|rule| matches(pattern, rule.name()))
}

fn unknown_rule(pattern: &str) -> String {
    let names: Vec<&str> = RuleName::MEMBERS.iter().map(|rule| rule.label()).collect();
    let hint = match nearest::name(pattern, &names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "docs/diagnosis.md lists the rules".to_owned(),
    };
    format!("got {}, want names of rules, or patterns that match some; {hint}", quoted(pattern))
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
    fn a_rule_name_that_matches_no_rule_is_refused_with_the_nearest_one() {
        let rules = |rules: &str| format!("[[diagnosis.actions]]\nstop = true\nrules = {rules}");
        let wrong = config(&rules("[\"vanish\", \"loss_*\"]")).unwrap_err();
        let want = "config test: diagnosis.actions.rules: got \"vanish\", want names of rules, or patterns that match \
                    some; did you mean \"vanishing\"?";
        assert_eq!(wrong, want);
        let hostile = config(&rules("[\"x\\u001b*\"]")).unwrap_err();
        assert!(!hostile.contains('\u{1b}') && hostile.ends_with("docs/diagnosis.md lists the rules"), "{hostile}");
        for valid in ["[\"*\"]", "[\"*gradient\", \"dead_relu\"]"] {
            assert!(config(&rules(valid)).is_ok(), "{valid}");
        }
        // A run of an earlier version still resumes.
        let base = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
        let saved = format!("{base}{}", rules("[\"vanish\"]"));
        let saved = Config::parse_saved(&saved, "test", &[], std::path::Path::new("none")).unwrap();
        assert_eq!(saved.diagnosis.actions[0].rules, ["vanish"]);
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
