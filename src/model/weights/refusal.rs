//! Why the bytes of a file are no weights.

/// What a file is, and what is wanted in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was seen.
    pub got: String,
    /// What is wanted, and how to get it.
    pub want: String,
}

/// How to get weights of PyTorch that can be read.
pub const STATE_DICT: &str = "a state dict: torch.save(model.state_dict(), FILE)";
/// Letters of a foreign name in a message.
const SHOWN: usize = 80;

impl Refusal {
    pub fn new(got: impl Into<String>, want: impl Into<String>) -> Self {
        Self { got: got.into(), want: want.into() }
    }

    /// The file ends too early, or points beyond its end.
    pub fn cut(what: &str, bytes: usize) -> Self {
        Self::new(
            format!("{what} that is cut off, or damaged, in {bytes} bytes"),
            "all of it; copy or download it again",
        )
    }

    /// The file contradicts itself.
    pub fn damaged(got: impl Into<String>) -> Self {
        Self::new(got, "a file without damage; copy or download it again")
    }
}

/// What a file of Keras is.
pub fn keras(what: &str) -> Refusal {
    Refusal::new(
        format!("{what}, as Keras and TensorFlow write them"),
        "weights of PyTorch in .safetensors or .pth; the layers of Keras have other names and orders of their sides",
    )
}

/// A name from a file on one line, with no more letters than a message bears.
pub fn shown(name: &str) -> String {
    let mut shown: String = name.escape_debug().take(SHOWN).collect();
    if name.escape_debug().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_stays_on_one_line_of_bounded_length() {
        assert_eq!(shown("a.b"), "a.b");
        assert_eq!(shown("a\n\x1b[2J"), "a\\n\\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(1000)).len(), SHOWN + 3);
    }
}
