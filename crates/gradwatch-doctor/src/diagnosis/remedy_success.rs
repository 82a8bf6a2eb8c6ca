//! How often each recommended change has fixed a faulty run.
//!
//! `remedy_success.tsv` has a line per rule and change: the number of faulty runs that trained well with the change, and
//! the number that were repeated with it. `make bench-remedies` measures them and prints the lines.

use std::{collections::HashMap, sync::LazyLock};

use super::{Remedy, RuleName};

/// Name of a rule, and kind of a change.
type Key = (&'static str, &'static str);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    fixed: f64,
    tried: f64,
}

static TABLE: LazyLock<HashMap<Key, Counts>> = LazyLock::new(|| {
    let lines = include_str!("remedy_success.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(parse).collect()
});

fn parse(line: &'static str) -> Option<(Key, Counts)> {
    let mut cells = line.split('\t');
    let (rule, change, fixed, tried) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    Some(((rule, change), Counts { fixed: fixed.parse().ok()?, tried: tried.parse().ok()? }))
}

/// Trials from which the counts decide, and not the order in which a rule lists its remedies.
const ENOUGH: f64 = 5.0;

/// Sorts remedies by their expected success: half of the runs without enough trials.
pub(super) fn sort(rule: RuleName, remedies: &mut [Remedy]) {
    let success = |remedy: &Remedy| {
        let kind = remedy.change.kind();
        let counts = TABLE.get(&(rule.name(), &*kind)).filter(|counts| counts.tried >= ENOUGH);
        // Laplace's rule of succession.
        counts.map_or(0.5, |counts| (counts.fixed + 1.0) / (counts.tried + 2.0))
    };
    remedies.sort_by(|one, other| success(other).total_cmp(&success(one)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("remedy_success.tsv").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let ((rule, _), Counts { fixed, tried }) = parse(line).unwrap_or_else(|| panic!("{line}"));
            assert!(RuleName::ALL.iter().any(|name| name.name() == rule), "{line}");
            assert!(fixed <= tried && tried > 0.0, "{line}");
        }
    }

    #[test]
    fn what_fixes_more_runs_comes_first_and_equals_keep_their_order() {
        let counts = TABLE.get(&("learning_rate", "optimizer.learning_rate")).unwrap();
        assert!(counts.fixed > 0.7 * counts.tried && counts.tried >= ENOUGH, "{counts:?}");
        let rate = Remedy::config("optimizer.learning_rate", 0.1, "");
        let [one, two] = ["one", "two"].map(|advice| Remedy::advice(advice, ""));
        let mut remedies = [one.clone(), rate.clone(), two.clone()];
        sort(RuleName::LearningRate, &mut remedies);
        assert_eq!(remedies, [rate.clone(), one.clone(), two.clone()]);
        // Nothing was tried for this rule.
        let mut remedies = [one.clone(), rate.clone(), two.clone()];
        sort(RuleName::Denormal, &mut remedies);
        assert_eq!(remedies, [one, rate, two]);
    }
}
