//! Messages that are told once.

use std::collections::BTreeSet;

/// Tells messages of one kind only once. Messages are of one kind if they differ only in numbers.
#[derive(Debug, Default)]
pub(crate) struct Once {
    told: BTreeSet<String>,
}

impl Once {
    /// Most kinds to remember. Further messages are not told.
    const MOST: usize = 500;

    /// Whether no message of this kind was told before. Remembers it.
    pub(crate) fn is_new(&mut self, message: &str) -> bool {
        self.told.len() < Self::MOST && self.told.insert(kind(message))
    }
}

/// A message without its numbers. Digits inside of names stay, because they tell files apart.
fn kind(message: &str) -> String {
    let is_number = |word: &str| {
        let digits = word.trim_matches(|character: char| character.is_ascii_punctuation());
        !digits.is_empty() && digits.chars().all(|character| character.is_ascii_digit() || character == '.')
    };
    message.split_whitespace().map(|word| if is_number(word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_only_in_numbers_are_told_once() {
        let mut once = Once::default();
        assert!(once.is_new("events.1.host: 3 values at byte 17: late after 0.5 s"));
        assert!(!once.is_new("events.1.host: 12 values at byte 230: late after 1.5 s"));
        assert!(once.is_new("events.2.host: 3 values at byte 17: late after 0.5 s"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut once = Once::default();
        let told = (0..2 * Once::MOST).filter(|name| once.is_new(&format!("tag{name}"))).count();
        assert_eq!(told, Once::MOST);
    }
}
