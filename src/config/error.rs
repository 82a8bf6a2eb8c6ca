//! Why a config cannot be used, told on one line.

use std::{fmt, io, path::PathBuf};

/// Problems that a message has room for.
pub(super) const MOST_PROBLEMS: usize = 20;
/// Characters of a key, and of what the TOML reader says.
pub(super) const MOST_CHARACTERS: usize = 300;

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its tables: `optimizer.learning_rate`.
    pub key: String,
    /// What was seen and what was wanted.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shortened(&self.key, MOST_CHARACTERS), self.text)
    }
}

/// Why a config could not be read. Nothing was changed by any of these.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be opened.
    #[error("config {}: {cause}; want the path of a TOML file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason, or what the file is instead.
        cause: io::Error,
    },
    /// The file is no TOML.
    #[error("config {name} is no TOML: {message}")]
    Syntax {
        /// The file.
        name: String,
        /// Where and why, on one line.
        message: String,
    },
    /// A `--set` argument is no assignment.
    #[error("--set {argument:?}: want key=value, e.g. --set optimizer.learning_rate=0.01")]
    Override {
        /// The argument.
        argument: String,
    },
    /// Keys or values are wrong: all of them.
    #[error("config {name}: {}", joined(problems))]
    Invalid {
        /// The file.
        name: String,
        /// Every problem, in the order of the keys.
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

/// A text on one line, without what a terminal takes for a command, and not longer than so many characters and a few.
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
