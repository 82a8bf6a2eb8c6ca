//! Config errors.

use std::{fmt, fmt::Write, io, path::PathBuf};

use crate::printable;

/// Most problems that one message lists.
pub(super) const MOST_PROBLEMS: usize = 20;
/// Longest key, argument, or TOML parser message to show, in characters.
pub(super) const MOST_CHARACTERS: usize = 300;

/// One problem in a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its tables: `optimizer.learning_rate`.
    pub key: String,
    /// Value found and value expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shortened(&self.key, MOST_CHARACTERS), self.text)
    }
}

/// Config error. None of these changes anything on disk.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be opened.
    #[error("config {}: {cause}; want the path of a TOML file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Reason from the operating system, or the actual kind of file.
        cause: io::Error,
    },
    /// The file is not valid TOML.
    #[error("config {name} is not valid TOML: {message}")]
    Syntax {
        /// Name of the file.
        name: String,
        /// Location and reason, on one line.
        message: String,
    },
    /// A `--set` argument is not a valid assignment.
    #[error("--set {argument:?}: want key=value, e.g. --set optimizer.learning_rate=0.01")]
    Override {
        /// The argument.
        argument: String,
    },
    /// A pattern for config keys, such as an `--allow-change` argument, matches no key.
    #[error("no config key matches {pattern:?}; {hint}")]
    NoSuchKey {
        /// The pattern.
        pattern: String,
        /// The nearest valid pattern, or where to find the keys.
        hint: String,
    },
    /// Keys or values are invalid; lists all of them. One problem is one line. Several problems have a line each,
    /// indented by two spaces, after a line with their number. Control characters are escaped, so the message has no
    /// other line breaks.
    #[error("config {}{}", printable::line(name), listed(problems))]
    Invalid {
        /// Name of the file.
        name: String,
        /// All problems, in the order of their keys.
        problems: Vec<Problem>,
    },
}

/// The problems of a file, as the end of a message about it: `: ` and the only problem, or their number and a line each.
pub fn listed(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return format!(": {}", printable::line(&problem.to_string()));
    }
    let mut list = format!(" has {} problems:", problems.len());
    for problem in problems.iter().take(MOST_PROBLEMS) {
        // Writing to a String cannot fail.
        let _ = write!(list, "\n  {}", printable::line(&problem.to_string()));
    }
    if let more @ 1.. = problems.len().saturating_sub(MOST_PROBLEMS) {
        let _ = write!(list, "\n  and {more} more");
    }
    list
}

/// Truncates a text to `most` characters plus an ellipsis, and escapes control characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let is_short = text.char_indices().nth(most).is_none();
    let some: String = text.chars().take(most).collect();
    let plain = some.chars().flat_map(|character| {
        let escaped = character.is_control().then(|| character.escape_default());
        escaped.into_iter().flatten().chain((!character.is_control()).then_some(character))
    });
    let plain: String = plain.collect();
    if is_short { plain } else { format!("{plain}...") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(index: usize) -> Problem {
        Problem { key: format!("k{index}"), text: "unknown key".into() }
    }

    fn message(name: &str, problems: Vec<Problem>) -> String {
        ConfigError::Invalid { name: name.to_owned(), problems }.to_string()
    }

    #[test]
    fn one_problem_is_one_line_and_several_have_a_line_each() {
        assert_eq!(message("a.toml", vec![problem(1)]), "config a.toml: k1: unknown key");
        let two = message("a.toml", vec![problem(1), problem(2)]);
        assert_eq!(two, "config a.toml has 2 problems:\n  k1: unknown key\n  k2: unknown key");
    }

    #[test]
    fn a_message_tells_the_first_problems_and_how_many_there_are_beside_them() {
        let told = message("a.toml", (0..MOST_PROBLEMS + 5).map(problem).collect());
        assert!(told.starts_with("config a.toml has 25 problems:\n  k0: unknown key\n"), "{told}");
        assert!(told.ends_with("\n  k19: unknown key\n  and 5 more"), "{told}");
        assert_eq!(told.matches("unknown key").count(), MOST_PROBLEMS);
    }

    #[test]
    fn a_name_or_a_key_with_line_breaks_forges_no_line() {
        let hostile = Problem { key: "a\nb".into(), text: "c\nd\u{1b}\u{202e}".into() };
        let told = message("x\nforged", vec![hostile.clone(), hostile]);
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(
            told.starts_with("config x\\u000aforged has 2 problems:\n  a\\nb: c\\u000ad\\u001b\\u202e\n"),
            "{told}"
        );
    }

    #[test]
    fn a_chain_of_causes_tells_each_cause_once() {
        let cause = || io::Error::other("the disk is gone");
        let errors = [
            ConfigError::Unreadable { path: "a.toml".into(), cause: cause() },
            ConfigError::Syntax { name: "a.toml".into(), message: "line 1: no value".into() },
            ConfigError::Override { argument: "seed".into() },
            ConfigError::NoSuchKey { pattern: "x".into(), hint: "did you mean y?".into() },
            ConfigError::Invalid { name: "a.toml".into(), problems: vec![problem(1), problem(2)] },
        ];
        for error in errors {
            let text = error.to_string();
            assert_eq!(format!("{:#}", anyhow::Error::from(error)), text);
        }
    }

    #[test]
    fn a_text_stays_on_its_line_and_gives_a_terminal_no_command() {
        assert_eq!(shortened("lérning", 3), "lér...");
        assert_eq!(shortened("a\nb\u{1b}]0;x", 99), "a\\nb\\u{1b}]0;x");
        assert_eq!(shortened("abc", 3), "abc");
    }
}
