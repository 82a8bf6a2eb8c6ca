//! Paths with braces, such as `train-{000..123}.tar`.

use std::path::{Path, PathBuf};

/// Upper limit for the number of shards.
const MOST_SHARDS: usize = 1 << 20;

/// Expands ranges (`{000..123}`, with as many digits as the first number) and lists (`{a,b}`) in braces, in order.
/// `None` if there are stars, braces are not closed, a range is no range of numbers, or there would be more than a
/// million paths.
pub(in super::super) fn expand(pattern: &Path) -> Option<Vec<PathBuf>> {
    let Some(text) = pattern.to_str() else { return Some(vec![pattern.to_owned()]) };
    // A pattern of a shell.
    if text.contains('*') && !pattern.exists() {
        return None;
    }
    Some(expanded(text)?.into_iter().map(PathBuf::from).collect())
}

fn expanded(text: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = text.split_once('{') else { return Some(vec![text.to_owned()]) };
    let (inner, after) = rest.split_once('}')?;
    let ends = expanded(after)?;
    let choices = match inner.split_once("..") {
        Some((first, last)) => range(first, last)?,
        None => inner.split(',').map(str::to_owned).collect(),
    };
    if choices.len().checked_mul(ends.len())? > MOST_SHARDS {
        return None;
    }
    Some(choices.iter().flat_map(|choice| ends.iter().map(move |end| format!("{before}{choice}{end}"))).collect())
}

fn range(first: &str, last: &str) -> Option<Vec<String>> {
    let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let digits = first.len();
    let count = to.checked_sub(from)?.checked_add(1)?;
    (count <= MOST_SHARDS as u64).then(|| (from..=to).map(|number| format!("{number:0digits$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(pattern: &str) -> Option<Vec<String>> {
        Some(expand(Path::new(pattern))?.iter().map(|path| path.display().to_string()).collect())
    }

    #[test]
    fn ranges_keep_their_digits_and_lists_their_order() {
        assert_eq!(paths("a.tar").unwrap(), ["a.tar"]);
        assert_eq!(paths("x/a-{08..11}.tar").unwrap(), ["x/a-08.tar", "x/a-09.tar", "x/a-10.tar", "x/a-11.tar"]);
        assert_eq!(paths("{b,a}{1..2}").unwrap(), ["b1", "b2", "a1", "a2"]);
        assert_eq!(paths("{8..10}").unwrap(), ["8", "9", "10"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in
            ["a{1..2.tar", "nowhere/a-*.tar", "a{2..1}", "a{x..y}", "{1..9999999999}", "{000..999}{000..999}{000..999}"]
        {
            assert_eq!(paths(pattern), None, "{pattern}");
        }
    }
}
