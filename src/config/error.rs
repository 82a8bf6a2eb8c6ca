//! Config errors, each on one line.

use std::{fmt, io, path::PathBuf};

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
    /// Keys or values are invalid; lists all of them.
    #[error("config {name}: {}", joined(problems))]
    Invalid {
        /// Name of the file.
        name: String,
        /// All problems, in the order of their keys.
        problems: Vec<Problem>,
    },
}

fn joined(problems: &[Problem]) -> String {
    let mut told: Vec<String> = problems.iter().take(MOST_PROBLEMS).map(Problem::to_string).collect();
    if let more @ 1.. = problems.len().saturating_sub(MOST_PROBLEMS) {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
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

    #[test]
    fn a_message_tells_the_first_problems_and_how_many_there_are_beside_them() {
        let problem = |index: usize| Problem { key: format!("k{index}"), text: "unknown key".into() };
        assert_eq!(joined(&[problem(1), problem(2)]), "k1: unknown key; k2: unknown key");
        let all: Vec<Problem> = (0..MOST_PROBLEMS + 5).map(problem).collect();
        let told = joined(&all);
        assert!(told.ends_with("k19: unknown key; and 5 more"), "{told}");
        assert_eq!(told.matches("unknown key").count(), MOST_PROBLEMS);
    }

    #[test]
    fn a_text_stays_on_its_line_and_gives_a_terminal_no_command() {
        assert_eq!(shortened("lérning", 3), "lér...");
        assert_eq!(shortened("a\nb\u{1b}]0;x", 99), "a\\nb\\u{1b}]0;x");
        assert_eq!(shortened("abc", 3), "abc");
    }
}
