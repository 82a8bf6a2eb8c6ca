//! Finds state dicts in an unpickled file: at its root, or inside a training checkpoint.

use super::{
    Refusal,
    choice::is_no_weights,
    pickle::{Id, Object, Objects},
    refusal::{STATE_DICT, shown},
    state_dict::object_of,
};

/// Maximum nesting depth of a state dict.
const MOST_NESTED: usize = 4;
/// Maximum number of state dicts.
const MOST_FOUND: usize = 256;
/// Maximum number of keys in a message.
const LISTED: usize = 6;

/// A dict with at least one tensor under a string key.
#[derive(Debug, PartialEq)]
pub(super) struct Found<'a> {
    /// The keys that lead to it, separated by dots; empty for the root.
    pub path: String,
    /// Its names and values.
    pub entries: Vec<(&'a str, Id)>,
}

/// A container in the search, and how it was reached.
struct Place<'a> {
    id: Id,
    depth: usize,
    /// Index of the place that contains it, with its key or index there; `None` for the root.
    inside: Option<(usize, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Finds all state dicts, the outermost first, except for optimizer state. Each object is visited once, even if it is
/// referenced several times.
pub(super) fn find<'a>(objects: &Objects<'a>) -> Vec<Found<'a>> {
    search(objects, |id| state_dict(objects, id))
}

/// Finds the containers for which `take` returns entries.
fn search<'a>(objects: &Objects<'a>, take: impl Fn(Id) -> Option<Vec<(&'a str, Id)>>) -> Vec<Found<'a>> {
    let root = objects.root_id();
    let mut is_seen = vec![false; objects.count()];
    is_seen[root.index()] = true;
    let mut places = vec![Place { id: root, depth: 0, inside: None }];
    let (mut found, mut at) = (Vec::new(), 0);
    while at < places.len() && found.len() < MOST_FOUND {
        let Place { id, depth, .. } = places[at];
        if let Some(entries) = take(id) {
            found.push(Found { path: path(&places, at), entries });
        }
        if depth < MOST_NESTED {
            for (step, inner) in children(objects, id).into_iter().filter(|child| leads_on(objects, child)) {
                if !std::mem::replace(&mut is_seen[inner.index()], true) {
                    places.push(Place { id: inner, depth: depth + 1, inside: Some((at, step)) });
                }
            }
        }
        at += 1;
    }
    found
}

/// Whether the child, or anything inside it, may contain weights.
fn leads_on(objects: &Objects<'_>, (step, inner): &(Step<'_>, Id)) -> bool {
    !matches!(step, Step::Key(key) if is_no_weights(key))
        && matches!(objects.get(*inner), Object::Dict(_) | Object::Foreign { .. } | Object::List(_) | Object::Tuple(_))
}

/// Returns the state dict at these keys. The last key may also be a common prefix of names.
pub(super) fn at<'a>(objects: &Objects<'a>, key: &str) -> Option<Found<'a>> {
    let (mut id, mut rest) = (objects.root_id(), key);
    while let Some((inner, after)) = child(objects, id, rest) {
        (id, rest) = (inner, after);
        if rest.is_empty() {
            return state_dict(objects, id).map(|entries| Found { path: key.to_owned(), entries });
        }
    }
    let begins = format!("{rest}.");
    let mut entries = named(objects, id);
    entries.retain(|(name, _)| name.starts_with(&begins));
    entries.iter_mut().for_each(|(name, _)| *name = &name[begins.len()..]);
    has_tensor(objects, &entries).then(|| Found { path: key.to_owned(), entries })
}

/// Returns the entries with string keys, if there is a tensor among them.
fn state_dict<'a>(objects: &Objects<'a>, id: Id) -> Option<Vec<(&'a str, Id)>> {
    let entries = named(objects, id);
    has_tensor(objects, &entries).then_some(entries)
}

fn has_tensor(objects: &Objects<'_>, entries: &[(&str, Id)]) -> bool {
    entries.iter().any(|(_, value)| matches!(objects.get(*value), Object::Tensor(_)))
}

fn named<'a>(objects: &Objects<'a>, id: Id) -> Vec<(&'a str, Id)> {
    let (Object::Dict(entries) | Object::Foreign { entries, .. }) = objects.get(id) else { return Vec::new() };
    let name =
        |(key, value): &(Id, Id)| if let Object::Text(name) = objects.get(*key) { Some((*name, *value)) } else { None };
    entries.iter().filter_map(name).collect()
}

fn children<'a>(objects: &Objects<'a>, id: Id) -> Vec<(Step<'a>, Id)> {
    match objects.get(id) {
        Object::List(items) | Object::Tuple(items) => {
            items.iter().enumerate().map(|(index, item)| (Step::Index(index), *item)).collect()
        }
        _ => named(objects, id).into_iter().map(|(key, value)| (Step::Key(key), value)).collect(),
    }
}

/// Returns the object under the longest key that `path` starts with, and the rest of the path. Keys can contain dots
/// themselves.
fn child<'p>(objects: &Objects<'_>, id: Id, path: &'p str) -> Option<(Id, &'p str)> {
    let after = |key: &str| {
        let rest = path.strip_prefix(key)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.').filter(|rest| !rest.is_empty()) }
    };
    let reached = |(step, inner): (Step<'_>, Id)| match step {
        Step::Key(key) => after(key).map(|rest| (inner, rest)),
        Step::Index(index) => after(&index.to_string()).map(|rest| (inner, rest)),
    };
    children(objects, id).into_iter().filter_map(reached).min_by_key(|(_, rest)| rest.len())
}

fn path(places: &[Place<'_>], at: usize) -> String {
    let mut steps = Vec::new();
    let mut inside = places[at].inside;
    while let Some((outer, step)) = inside {
        steps.push(match step {
            Step::Key(key) => key.to_owned(),
            Step::Index(index) => index.to_string(),
        });
        inside = places[outer].inside;
    }
    steps.reverse();
    steps.join(".")
}

/// Explains why there is no state dict. The user may have meant a dict of objects that are not built, such as NumPy
/// arrays.
pub(super) fn none(objects: &Objects<'_>) -> Refusal {
    match objects.root() {
        Object::Foreign { class, entries } if entries.is_empty() => {
            return Refusal::new(format!("a pickle that references {}", class.shown()), STATE_DICT);
        }
        Object::Dict(_) | Object::Foreign { .. } => {}
        _ => return Refusal::new("a pickle of an object that is not a dict", STATE_DICT),
    }
    let is_foreign = |(_, value): &(&str, Id)| matches!(objects.get(*value), Object::Foreign { .. });
    let mostly_foreign = |id| {
        let entries = named(objects, id);
        (2 * entries.iter().filter(|entry| is_foreign(entry)).count() > entries.len()).then_some(entries)
    };
    let meant = search(objects, mostly_foreign).into_iter().next();
    let root = || Found { path: String::new(), entries: named(objects, objects.root_id()) };
    let Found { path, entries } = meant.unwrap_or_else(root);
    let described = |(key, value): &(&str, Id)| match objects.get(*value) {
        Object::Foreign { class, .. } => format!("{}, {}", shown(key), object_of(&class.shown())),
        _ => shown(key),
    };
    let keys: Vec<String> = entries.iter().map(described).take(LISTED).collect();
    let keys = if keys.is_empty() { "none".into() } else { keys.join(", ") };
    let under = if path.is_empty() { String::new() } else { format!(" under {}", shown(&path)) };
    let want = format!("{STATE_DICT}, or one under a key such as state_dict or model");
    Refusal::new(format!("a dict without tensors{under} (its first keys: {keys})"), want)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a pickle of protocol 2 from a body without PROTO and STOP.
    fn pickle(body: &[u8]) -> Vec<u8> {
        [b"\x80\x02", body, b"."].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&[b'X', text.len() as u8, 0, 0, 0], text.as_bytes()].concat()
    }

    /// Pickles a dict of values by key.
    fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [b"}(", &entries[..], b"u"].concat()
    }

    /// Pickles a tensor with arbitrary contents.
    fn tensor() -> Vec<u8> {
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR".to_vec()
    }

    fn paths(bytes: &[u8]) -> Vec<String> {
        let (objects, _) = Objects::read(bytes).unwrap();
        find(&objects).into_iter().map(|found| found.path).collect()
    }

    fn names(bytes: &[u8], key: &str) -> Option<Vec<String>> {
        let (objects, _) = Objects::read(bytes).unwrap();
        at(&objects, key).map(|found| found.entries.into_iter().map(|(name, _)| name.to_owned()).collect())
    }

    #[test]
    fn state_dicts_are_found_by_the_keys_that_lead_to_them() {
        let state = dict(&[("a.b", tensor()), ("c", tensor())]);
        assert_eq!(paths(&pickle(&state)), [""]);
        let nested = dict(&[("module", state.clone()), ("decay", b"K\x01".to_vec())]);
        let list = [b"](", &state[..], b"N", &state, b"e"].concat();
        let file = pickle(&dict(&[
            ("epoch", b"K\x03".to_vec()),
            ("model", state.clone()),
            ("ema", nested),
            ("nets", list),
            ("optimizer", dict(&[("exp_avg", state.clone())])),
        ]));
        assert_eq!(paths(&file), ["model", "ema.module", "nets.0", "nets.2"]);
        let whole = Some(vec!["a.b".to_owned(), "c".to_owned()]);
        for key in ["model", "ema.module", "nets.0", "nets.2", "optimizer.exp_avg"] {
            assert_eq!(names(&file, key), whole, "{key}");
        }
        assert_eq!(names(&file, "model.a"), Some(vec!["b".to_owned()]), "names that begin so");
        for key in ["", "epoch", "ema", "nets", "nets.1", "nets.7", "mod", "model.", "model.c", "ema.module.x"] {
            assert_eq!(names(&file, key), None, "{key}");
        }
    }

    #[test]
    fn a_key_may_have_dots_and_a_state_dict_may_be_of_a_class_of_its_own() {
        let state = dict(&[("a", tensor())]);
        let mine = [&b"cm\nMine\n)\x81("[..], &text("w"), &tensor(), b"u"].concat();
        let file = pickle(&dict(&[("ema.module", state), ("mine", mine)]));
        assert_eq!(paths(&file), ["ema.module", "mine"]);
        assert_eq!(names(&file, "ema.module"), Some(vec!["a".to_owned()]));
        assert_eq!(names(&file, "mine"), Some(vec!["w".to_owned()]));
    }

    #[test]
    fn lists_that_hold_each_other_take_no_more_time_than_their_length() {
        // Five lists, each containing the previous one a thousand times: 10^15 paths to the last.
        let mut body = [&b"]q\0"[..]].concat();
        for depth in 1..6u8 {
            body.extend([b'0', b']', b'(']);
            body.extend([b'h', depth - 1].repeat(1000));
            body.extend([b'e', b'q', depth]);
        }
        assert!(paths(&pickle(&body)).is_empty());
        // d = {}; d["model"] = d
        assert!(paths(b"\x80\x02}q\0X\x05\0\0\0modelh\0s.").is_empty());
    }

    #[test]
    fn a_file_without_a_state_dict_is_told_by_its_keys_and_what_they_are_of() {
        let file = pickle(&dict(&[("epoch", b"K\x01".to_vec()), ("model", b"cm\nNet\n)\x81".to_vec())]));
        let (objects, _) = Objects::read(&file).unwrap();
        assert_eq!(
            none(&objects).got,
            "a dict without tensors (its first keys: epoch, model, an object of m.Net, which is not loaded)"
        );
        let arrays = dict(&[("w", b"cnumpy\nndarray\n)\x81".to_vec())]);
        let file = pickle(&dict(&[("args", b"cm\nArgs\n)\x81".to_vec()), ("epoch", b"N".to_vec()), ("model", arrays)]));
        let (objects, _) = Objects::read(&file).unwrap();
        assert_eq!(
            none(&objects).got,
            "a dict without tensors under model (its first keys: w, an object of numpy.ndarray, which is not loaded)"
        );
    }
}
