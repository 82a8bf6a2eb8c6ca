//! The tensors among what a pickle stands for: a state dict, or one inside of a training checkpoint.

use std::collections::HashMap;

use super::{
    Refusal,
    pickle::{Id, Object, Objects, Storage, View},
    refusal::{STATE_DICT, shown},
    stored::{MOST_SIDES, StoredTensor},
};

/// The bytes of each storage.
pub type Storages<'a> = HashMap<&'a str, &'a [u8]>;

/// Where training scripts keep the state dict among epoch, optimizer and the like.
const NESTS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];
/// How deep it may lie there.
const MOST_NESTED: usize = 3;
/// Keys that a message lists.
const LISTED: usize = 6;

/// Every tensor with its name, in the order of the state dict.
pub fn tensors<'a>(objects: &Objects<'a>, storages: &Storages<'a>) -> Result<Vec<(String, StoredTensor<'a>)>, Refusal> {
    let mut object = objects.root();
    for _ in 0..MOST_NESTED {
        let Some(inner) = nested(objects, object) else { break };
        object = inner;
    }
    let Object::Dict(entries) = object else {
        return Err(Refusal::new("a pickle of something else than a dict", STATE_DICT));
    };
    let mut tensors = Vec::new();
    for (key, value) in entries {
        // Numbers and texts beside the tensors are no weights.
        if let (Object::Text(name), Object::Tensor(view)) = (objects.get(*key), objects.get(*value)) {
            let tensor = tensor(objects, storages, view)
                .map_err(|refusal| Refusal { got: format!("{} as {}", shown(name), refusal.got), ..refusal })?;
            tensors.push(((*name).to_owned(), tensor));
        }
    }
    if tensors.is_empty() { Err(no_tensors(objects, entries)) } else { Ok(tensors) }
}

/// The dict under one of [`NESTS`], where it has a tensor or goes on nesting.
fn nested<'o, 'a>(objects: &'o Objects<'a>, outer: &Object<'a>) -> Option<&'o Object<'a>> {
    let Object::Dict(entries) = outer else { return None };
    let is_nest = |key: &Id| matches!(objects.get(*key), Object::Text(key) if NESTS.contains(key));
    let leads_on = |(key, value): &(Id, Id)| is_nest(key) || matches!(objects.get(*value), Object::Tensor(_));
    let inner = |nest: &&str| {
        let found = entries.iter().find(|(key, _)| *objects.get(*key) == Object::Text(nest))?;
        Some(objects.get(found.1))
            .filter(|inner| matches!(inner, Object::Dict(entries) if entries.iter().any(leads_on)))
    };
    NESTS.iter().find_map(inner)
}

fn no_tensors(objects: &Objects<'_>, entries: &[(Id, Id)]) -> Refusal {
    let keys = entries.iter().filter_map(|(key, _)| match objects.get(*key) {
        Object::Text(key) => Some(shown(key)),
        _ => None,
    });
    let keys: Vec<String> = keys.take(LISTED).collect();
    let keys = if keys.is_empty() { "none".into() } else { keys.join(", ") };
    let want = format!("{STATE_DICT}, or one under {}", NESTS.join(", "));
    Refusal::new(format!("a dict without tensors (its first keys: {keys})"), want)
}

fn tensor<'a>(objects: &Objects<'a>, storages: &Storages<'a>, view: &View) -> Result<StoredTensor<'a>, Refusal> {
    let Object::Storage(storage) = objects.get(view.storage) else {
        return Err(Refusal::damaged("a tensor without numbers"));
    };
    let Storage { kind, key, numel, part: (first, count) } = *storage;
    let width = kind.elt_size_in_bytes();
    let Some(bytes) = storages.get(key) else {
        return Err(Refusal::damaged(format!("numbers {} that are not in the file", shown(key))));
    };
    if bytes.len() / width != numel {
        let got = format!("{numel} numbers of {width} bytes in storage {} of {} bytes", shown(key), bytes.len());
        return Err(Refusal::damaged(got));
    }
    // Both lie within `numel`.
    let part = &bytes[first * width..(first + count) * width];
    let sides = |id: Id| objects.integers(id, MOST_SIDES);
    match (sides(view.size), sides(view.stride)) {
        (Some(size), Some(stride)) => StoredTensor::new(part, kind, view.offset, size, stride),
        _ => Err(Refusal::damaged(format!("a tensor whose shape is not one of at most {MOST_SIDES} sides"))),
    }
}
