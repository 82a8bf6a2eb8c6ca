//! Tags found in the files of a run, and their roles.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Role, TagPatterns, sample::Names};
use crate::number::count;

/// Role of a tag, and the last file that contained it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownTag {
    pub role: Role,
    /// Whether its name looks like a parameter name.
    pub is_parameter: bool,
    /// Index of its name.
    pub place: usize,
    /// Number of the last file that contained the tag.
    pub source: usize,
}

/// The tag that provides a role of the whole model, and the rejected ones.
#[derive(Debug)]
struct Claim {
    rank: usize,
    tag: String,
    others: Vec<String>,
}

/// All tags found so far.
#[derive(Debug)]
pub(super) struct Tags {
    patterns: TagPatterns,
    seen: HashMap<String, Option<KnownTag>>,
    claims: BTreeMap<Role, Claim>,
    /// Indices of user-defined patterns that matched a tag.
    used: BTreeSet<usize>,
    /// Number of values whose tags exceed [`Tags::MOST`].
    left_out: u64,
}

impl Tags {
    /// Maximum number of tags to remember. A run has a few dozen per parameter.
    const MOST: usize = 100_000;
    /// Most tags to list in a message.
    const NAMED: usize = 8;

    pub(super) fn new(patterns: TagPatterns) -> Self {
        let (seen, claims, used) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { patterns, seen, claims, used, left_out: 0 }
    }

    /// Looks up a tag in a file. Returns its role and the file that contained it before.
    pub(super) fn find(&mut self, part: &str, tag: String, source: usize, names: &mut Names) -> Option<KnownTag> {
        let whole = if part.is_empty() { tag } else { format!("{part}/{tag}") };
        if let Some(known) = self.seen.get_mut(&whole) {
            let before = *known;
            if let Some(known) = known {
                known.source = source;
            }
            return before;
        }
        if self.seen.len() == Self::MOST {
            self.left_out += 1;
            return None;
        }
        let tag = if part.is_empty() { &whole } else { &whole[part.len() + 1..] };
        let meaning = self.patterns.meaning_in(part, tag).filter(|meaning| {
            self.used.extend(Some(meaning.rank).filter(|rank| *rank < self.patterns.given().len()));
            !meaning.role.is_of_model() || self.claims_its_role(meaning.role, meaning.rank, &whole)
        });
        let known = meaning.and_then(|meaning| {
            let (role, is_parameter) = (meaning.role, meaning.is_parameter());
            Some(KnownTag { role, is_parameter, place: names.place(role, &meaning.name)?, source })
        });
        self.seen.insert(whole, known);
        known
    }

    /// Whether the tag provides its role: the first tag does, unless a later one matches an earlier pattern.
    fn claims_its_role(&mut self, role: Role, rank: usize, tag: &str) -> bool {
        let Some(claim) = self.claims.get_mut(&role) else {
            self.claims.insert(role, Claim { rank, tag: tag.to_owned(), others: Vec::new() });
            return true;
        };
        let is_surer = rank < claim.rank;
        let other = if is_surer {
            claim.rank = rank;
            let other = std::mem::replace(&mut claim.tag, tag.to_owned());
            self.seen.insert(other.clone(), None);
            other
        } else {
            tag.to_owned()
        };
        claim.others.push(other);
        is_surer
    }

    /// Number of tags found.
    pub(super) fn count(&self) -> usize {
        self.seen.len()
    }

    /// Some of the tags, in alphabetical order.
    pub(super) fn examples(&self) -> Vec<String> {
        let mut tags: Vec<&String> = self.seen.keys().collect();
        tags.sort_unstable();
        tags.into_iter().take(Self::NAMED).map(|tag| plain(tag)).collect()
    }

    /// Notes about unused patterns, rejected tags, and ignored values.
    pub(super) fn notes(&self) -> Vec<String> {
        let unused = self.patterns.given().iter().enumerate().filter(|(index, _)| !self.used.contains(index));
        let unused = unused.map(|(_, (role, pattern))| {
            let examples = self.examples().join(", ");
            match self.count() {
                1 => format!("--tag {role}={pattern} does not match the only tag ({examples})"),
                tags => format!("--tag {role}={pattern} matches none of the {tags} tags ({examples})"),
            }
        });
        let doubled = self.claims.iter().filter(|(_, claim)| !claim.others.is_empty()).map(|(role, claim)| {
            let others = claim.others.iter().take(Self::NAMED).map(|tag| plain(tag)).collect::<Vec<_>>().join(", ");
            let more = claim.others.len().saturating_sub(Self::NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("{role} is read from {}, not from {others}{more}; select with --tag {role}=TAG", plain(&claim.tag))
        });
        let left_out = (self.left_out > 0).then(|| {
            let verb = if self.left_out == 1 { "was" } else { "were" };
            let values = count(self.left_out, "value");
            format!("there are more than {} tags: {values} of further tags {verb} skipped", Self::MOST)
        });
        unused.chain(doubled).chain(left_out).collect()
    }
}

/// Replaces control characters, so that the tag stays on one line.
fn plain(tag: &str) -> String {
    tag.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Facts;

    fn find(tags: &mut Tags, tag: &str) -> Option<Role> {
        tags.find("", tag.to_owned(), 0, &mut Names::new(&Facts::default())).map(|known| known.role)
    }

    #[test]
    fn of_several_tags_of_one_role_the_surest_is_read_and_the_others_are_told() {
        let mut tags = Tags::new(TagPatterns::foreign());
        assert_eq!(find(&mut tags, "val_loss_step"), Some(Role::ValidationLoss));
        assert_eq!(find(&mut tags, "val_loss_epoch"), Some(Role::ValidationLoss));
        assert_eq!((find(&mut tags, "val_loss_step"), find(&mut tags, "val_loss/1")), (None, None));
        let want = "validation_loss is read from val_loss_epoch, not from val_loss_step, val_loss/1; \
                    select with --tag validation_loss=TAG";
        assert_eq!(tags.notes(), [want]);
    }

    #[test]
    fn a_pattern_that_fits_nothing_is_told_with_tags_that_are_there() {
        let given = ["loss=goal".to_owned(), "grad_norm=n/*".to_owned()];
        let mut tags = Tags::new(TagPatterns::foreign().with(&given).unwrap());
        find(&mut tags, "n/fc.weight");
        find(&mut tags, "goals");
        assert_eq!(tags.notes(), ["--tag loss=goal matches none of the 2 tags (goals, n/fc.weight)"]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut tags = Tags::new(TagPatterns::foreign());
        (0..Tags::MOST + 5).for_each(|index| _ = find(&mut tags, &format!("gradients/{index}.weight")));
        assert_eq!(tags.count(), Tags::MOST);
        assert_eq!(tags.notes(), ["there are more than 100000 tags: 5 values of further tags were skipped"]);
    }
}
