//! Patterns for parameter names.

/// Whether a name matches a pattern, in which `*` matches any characters, including dots.
///
/// A star matches as few characters as possible, and takes more only if the rest of the pattern does not match. The run
/// time is at most proportional to the product of both lengths, even with many stars.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Position after the last star, and the end of the characters that the star matched.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                at += 1;
                star = Some((at, seen));
            }
            (Some(byte), _) if *byte == name[seen] => (at, seen) = (at + 1, seen + 1),
            (_, Some((behind, taken))) => {
                (at, seen) = (behind, taken + 1);
                star = Some((behind, seen));
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
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

    #[test]
    fn what_follows_a_star_may_come_several_times_before_it_fits() {
        for (pattern, name) in [("*ab", "aab"), ("a*bc*d", "abcbcd"), ("*é*", "caféine"), ("**", "x"), ("a*", "a")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        assert!(!matches("*ab*ab", "ab") && !matches("*aa", "a"));
    }

    #[test]
    fn very_many_stars_take_no_time() {
        let started = std::time::Instant::now();
        assert!(!matches(&format!("{}b", "*a".repeat(2000)), &"a".repeat(4000)));
        assert!(started.elapsed().as_secs() < 5);
    }
}
