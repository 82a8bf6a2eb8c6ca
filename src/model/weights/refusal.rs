//! Explains why the bytes of a file are not weights.

/// Actual and expected contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Actual contents.
    pub got: String,
    /// Expected contents, and how to get them.
    pub want: String,
}

/// How to create readable PyTorch weights.
pub(super) const STATE_DICT: &str = "a state dict: torch.save(model.state_dict(), FILE)";
/// Maximum length of a name in a message.
const SHOWN: usize = 80;

impl Refusal {
    pub fn new(got: impl Into<String>, want: impl Into<String>) -> Self {
        Self { got: got.into(), want: want.into() }
    }

    /// The file ends too early, or refers to data beyond its end.
    pub fn cut(what: &str, bytes: usize) -> Self {
        Self::new(
            format!("{what} that is truncated or damaged, with {bytes} bytes"),
            "the complete file; copy or download it again",
        )
    }

    /// The file is inconsistent.
    pub fn damaged(got: impl Into<String>) -> Self {
        Self::new(got, "an undamaged file; copy or download it again")
    }
}

/// The file is from Keras.
pub(super) fn keras(what: &str) -> Refusal {
    Refusal::new(
        format!("{what}, as Keras and TensorFlow write them"),
        "PyTorch weights in .safetensors or .pth; Keras layers have other names and orders of dimensions",
    )
}

/// Escapes a name from a file so that it fits on one line, and truncates it.
pub(super) fn shown(name: &str) -> String {
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
