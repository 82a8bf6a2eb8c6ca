//! Patterns of parameter names.

/// Whether a parameter's name fits a pattern, in which `*` stands for any characters, dots too.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(tail) = name.strip_prefix(head) else { return false };
            (0..=tail.len()).filter(|&start| tail.is_char_boundary(start)).any(|start| matches(rest, &tail[start..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name) in
            [("fc.*", "fc.weight"), ("*", ""), ("*.bias", "a.b.bias"), ("l*.c*.w*t", "l1.conv.weight")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("fc", "fc.weight"), ("*.bias", "bias"), ("", "x"), ("a*b", "abc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
