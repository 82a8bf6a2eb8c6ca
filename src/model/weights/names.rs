//! Removes prefixes of wrappers from tensor names.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{Refusal, choice::is_average, refusal::shown, state_dict::StateDict, stored::StoredTensor};

/// Prefixes removed if no name matches: those of DataParallel and DistributedDataParallel, torch.compile, and
/// Lightning.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// Wrappers of submodules, inside of names: DataParallel, torch.compile, FSDP, and activation checkpointing.
const INNER_WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// Maximum number of nested wrappers.
const MOST_WRAPPERS: usize = 8;
/// Maximum number of prefixes to try with names of other libraries.
const MOST_TRANSLATED: usize = 8;

/// A state dict without the prefix of its names.
#[derive(Debug)]
pub(super) struct Unwrapped<'a> {
    /// The prefix; empty if there was none.
    pub prefix: String,
    pub dict: StateDict<'a>,
    /// Names that do not start with the prefix and are not names of the model.
    pub outside: Vec<String>,
}

/// Number of names that match the model's, with the best prefix.
pub(super) fn matched<'n>(names: impl Iterator<Item = &'n str>, own: &HashSet<&str>) -> usize {
    best(names, own).1
}

/// Removes the prefix with which the most names match the model's, directly or after translation by `translated`.
///
/// A prefix of only some of the names counts if at least half of the model's names match with it, because single names
/// are the same in many models.
///
/// # Errors
/// If two tensors have the same name.
pub(super) fn unwrap<'a>(
    dict: StateDict<'a>,
    own: &HashSet<&str>,
    translated: impl Fn(&[(String, StoredTensor<'a>)]) -> usize,
) -> Result<Unwrapped<'a>, Refusal> {
    let names = || dict.tensors.iter().map(|(name, _)| name.as_str());
    let (mut prefix, mut most) = best(names(), own);
    if 2 * most < own.len() {
        for around in widest(names()) {
            let inside = dict.tensors.iter().filter_map(|(name, tensor)| {
                name.strip_prefix(around).map(|name| (without_inner(name).into_owned(), tensor.clone()))
            });
            let count = translated(&inside.collect::<Vec<_>>());
            if count > most {
                (prefix, most) = (around, count);
            }
        }
    }
    let is_around_all = |prefix: &str| names().all(|name| name.starts_with(prefix));
    let prefix = match most {
        0 => wrappers(names(), own),
        _ if 2 * most >= own.len() || is_around_all(prefix) => prefix.to_owned(),
        _ => String::new(),
    };
    take(dict, prefix, own)
}

/// Returns the prefix with which the most names match the model's, and the number of matches. In a tie, the empty
/// prefix wins, then a prefix that does not indicate an average, then the first one in the file.
fn best<'n>(names: impl Iterator<Item = &'n str>, own: &HashSet<&str>) -> (&'n str, usize) {
    let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
    for (index, name) in names.enumerate() {
        for (prefix, _) in splits(name).filter(|(_, rest)| own.contains(&*without_inner(rest))) {
            counts.entry(prefix).or_insert((0, index)).0 += 1;
        }
    }
    let rank = |(prefix, (count, first)): &(&str, (usize, usize))| {
        (*count, prefix.is_empty(), !is_average(prefix), Reverse(*first))
    };
    let best = counts.into_iter().max_by_key(rank);
    best.map_or(("", 0), |(prefix, (count, _))| (prefix, count))
}

/// Returns the most common prefixes, including the empty one; the shorter one first in a tie.
fn widest<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (prefix, _) in names.flat_map(splits) {
        *counts.entry(prefix).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(prefix, count)| (Reverse(*count), prefix.len(), *prefix));
    counts.into_iter().take(MOST_TRANSLATED).map(|(prefix, _)| prefix).collect()
}

/// Returns every split of a name after a dot, and the whole name.
fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = name.match_indices('.').map(|(at, _)| at + 1).take(MOST_WRAPPERS);
    std::iter::once(0).chain(dots).map(|at| name.split_at(at))
}

/// Removes wrappers from inside a name.
fn without_inner(name: &str) -> Cow<'_, str> {
    let is_wrapper = |segment: &str| INNER_WRAPPERS.contains(&segment);
    if !name.split('.').skip(1).any(is_wrapper) {
        return name.into();
    }
    let mut segments = name.split('.');
    let first = segments.next().into_iter();
    first.chain(segments.filter(|segment| !is_wrapper(segment))).collect::<Vec<_>>().join(".").into()
}

/// Returns the known wrappers that all names have and the model does not.
fn wrappers<'n>(names: impl Iterator<Item = &'n str>, own: &HashSet<&str>) -> String {
    let mut names: Vec<&str> = names.collect();
    let mut taken = String::new();
    let is_around_all = |names: &[&str], prefix: &str| {
        !names.is_empty()
            && !own.iter().any(|own| own.starts_with(prefix))
            && names.iter().all(|name| name.starts_with(prefix))
    };
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| is_around_all(&names, prefix)) {
        names.iter_mut().for_each(|name| *name = &name[prefix.len()..]);
        taken.push_str(prefix);
    }
    taken
}

/// Keeps the names with the prefix. A name without it is kept too if it is a name of the model that does not occur with
/// the prefix.
fn take<'a>(dict: StateDict<'a>, prefix: String, own: &HashSet<&str>) -> Result<Unwrapped<'a>, Refusal> {
    let inside = |name: &str| name.strip_prefix(&*prefix).map(|name| without_inner(name).into_owned());
    let taken: HashSet<String> = dict.tensors.iter().filter_map(|(name, _)| inside(name)).collect();
    let beside = |name: &str| {
        let name = without_inner(name);
        (own.contains(&*name) && !taken.contains(&*name)).then(|| name.into_owned())
    };
    let ours = |name: &str| inside(name).or_else(|| beside(name));
    let mut taken_from = Unwrapped { prefix: prefix.clone(), dict: StateDict::default(), outside: Vec::new() };
    for (name, tensor) in dict.tensors {
        match ours(&name) {
            Some(name) => taken_from.dict.tensors.push((name, tensor)),
            None => taken_from.outside.push(shown(&name)),
        }
    }
    for mut unread in dict.unread {
        match ours(&unread.name) {
            Some(name) => {
                unread.name = name;
                taken_from.dict.unread.push(unread);
            }
            None if unread.is_tensor => taken_from.outside.push(shown(&unread.name)),
            None => {}
        }
    }
    let mut seen = HashSet::new();
    match taken_from.dict.tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        None => Ok(taken_from),
        Some((name, _)) => Err(Refusal::damaged(format!("two tensors named {}", shown(name)))),
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// Returns the prefix, the names, and the names outside, for a model with the names `own`.
    fn unwrapped(names: &[&str], own: &[&str]) -> Result<(String, Vec<String>, Vec<String>), Refusal> {
        let stored = StoredTensor::dense(&[0; 4], Kind::Float, vec![1]).unwrap();
        let tensors = names.iter().map(|name| ((*name).to_owned(), stored.clone())).collect();
        let own: HashSet<&str> = own.iter().copied().collect();
        // The other library adds "their_" before the names.
        let translated = |tensors: &[(String, StoredTensor<'_>)]| {
            tensors
                .iter()
                .filter(|(name, _)| name.strip_prefix("their_").is_some_and(|name| own.contains(name)))
                .count()
        };
        let taken = unwrap(StateDict { tensors, unread: Vec::new() }, &own, translated)?;
        Ok((taken.prefix, taken.dict.tensors.into_iter().map(|(name, _)| name).collect(), taken.outside))
    }

    fn prefix(names: &[&str], own: &[&str]) -> String {
        unwrapped(names, own).unwrap().0
    }

    #[test]
    fn prefixes_of_wrappers_go_where_all_names_have_them() {
        let (taken, names, _) = unwrapped(&["module._orig_mod.a.b", "module._orig_mod.c"], &["a.b"]).unwrap();
        assert_eq!((&*taken, &*names), ("module._orig_mod.", &["a.b".to_owned(), "c".to_owned()][..]));
        for inner in ["_orig_mod", "module", "_fsdp_wrapped_module._checkpoint_wrapped_module"] {
            assert_eq!(unwrapped(&[&format!("layer1.{inner}.a")], &["layer1.a"]).unwrap().1, ["layer1.a"]);
        }
        assert_eq!(prefix(&["model.a"], &["model.a"]), "", "the model's own name");
        assert_eq!(prefix(&[], &["a"]), "");
        assert_eq!(prefix(&["module.x", "module.y"], &["a"]), "module.", "of another model");
    }

    #[test]
    fn a_prefix_that_nobody_knows_goes_too_and_what_stands_beside_it_is_told() {
        let own = ["a.w", "b.w"];
        for wrapper in ["net.", "network.", "backbone.", "student.net.", "module.anything.at_all.", "a.w."] {
            let names = [format!("{wrapper}a.w"), format!("{wrapper}b.w"), "criterion.w".to_owned()];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let want = (wrapper.to_owned(), own.map(String::from).to_vec(), vec!["criterion.w".to_owned()]);
            assert_eq!(unwrapped(&names, &own).unwrap(), want);
        }
        let averaged = unwrapped(&["n_averaged", "module.a.w", "module.b.w"], &own).unwrap();
        assert_eq!((&*averaged.0, averaged.2), ("module.", vec!["n_averaged".to_owned()]));
    }

    #[test]
    fn a_name_of_the_model_without_the_prefix_is_taken_too() {
        let own = ["a.w", "b.w", "fc.w"];
        let (taken, names, outside) = unwrapped(&["backbone.a.w", "backbone.b.w", "fc.w", "x"], &own).unwrap();
        assert_eq!((&*taken, outside), ("backbone.", vec!["x".to_owned()]));
        assert_eq!(names, ["a.w", "b.w", "fc.w"]);
        let both = unwrapped(&["backbone.a.w", "backbone.b.w", "backbone.fc.w", "fc.w"], &own).unwrap();
        assert_eq!((both.1.len(), both.2), (3, vec!["fc.w".to_owned()]));
    }

    #[test]
    fn of_two_nets_the_one_without_a_prefix_then_the_one_that_is_no_average_is_taken() {
        let own = ["a.w"];
        assert_eq!(prefix(&["teacher.a.w", "student.a.w"], &own), "student.");
        assert_eq!(prefix(&["ema.a.w", "a.w"], &own), "");
        assert_eq!(prefix(&["encoder_q.a.w", "encoder_k.a.w"], &own), "encoder_q.");
        assert_eq!(prefix(&["model_ema.a.w"], &own), "model_ema.");
    }

    #[test]
    fn a_single_name_behind_a_prefix_is_not_the_model() {
        let own = ["conv.w", "fc.w", "bn.w"];
        assert_eq!(prefix(&["other.fc.w", "other.x", "another.y"], &own), "");
        assert_eq!(prefix(&["other.fc.w", "other.x"], &own), "other.", "all names have it");
    }

    #[test]
    fn names_of_another_library_may_be_wrapped_too() {
        let own = ["a", "b"];
        assert_eq!(prefix(&["module.net.their_a", "module.net.their_b", "module.loss"], &own), "module.net.");
        assert_eq!(prefix(&["their_a", "their_b"], &own), "");
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        assert!(unwrapped(&["a", "b", "a"], &["a"]).unwrap_err().got.contains("named a"));
        assert!(unwrapped(&["l._orig_mod.a", "l.a"], &["l.a"]).is_err());
    }

    #[test]
    fn a_name_of_a_million_dots_takes_no_time() {
        let long = ".".repeat(1 << 20);
        assert_eq!(prefix(&[&long, "a"], &["a"]), "");
    }
}
