//! Names of the runs of a study, which are names of folders.

use std::collections::HashMap;

use super::Plan;
use crate::definition::{SEED, last_part};

/// Longest name of a run, in bytes. Most file systems allow 255, and files next to a run add to its name.
pub(super) const MOST_BYTES: usize = 200;
/// Hexadecimal digits of the hash at the end of a name.
const HASH_DIGITS: usize = 12;

/// Names each run after its axes and its seed. Names are unique, even without regard to case.
pub(super) fn set_names(plans: &mut [Plan]) {
    let short = short_axes(plans);
    let names: Vec<String> = plans.iter().map(|plan| safe_name(plan, &short)).collect();
    let mut uses: HashMap<String, usize> = HashMap::new();
    names.iter().for_each(|name| *uses.entry(name.to_lowercase()).or_default() += 1);
    for (plan, name) in plans.iter_mut().zip(names) {
        let is_unique = uses.get(&name.to_lowercase()) == Some(&1);
        plan.name = if is_unique && name.len() <= MOST_BYTES { name } else { with_hash(&name, plan) };
    }
}

/// The last part of each axis' key; the whole key if another axis, or the seed, has the same last part.
fn short_axes(plans: &[Plan]) -> Vec<String> {
    let labels = plans.first().map_or(&[][..], |plan| &plan.labels);
    let last: Vec<&str> = labels.iter().map(|(axis, _)| last_part(axis)).collect();
    let is_unique = |part: &str| part != SEED && last.iter().filter(|other| **other == part).count() == 1;
    labels.iter().zip(&last).map(|((axis, _), part)| if is_unique(part) { *part } else { axis }.to_owned()).collect()
}

/// Axes and seed, without characters that are special in paths, shells, or terminals. It does not start like an option
/// or a hidden file.
fn safe_name(plan: &Plan, short: &[String]) -> String {
    let axes = short.iter().zip(&plan.labels);
    let parts = axes.map(|(axis, (_, label))| format!("{}={}", safe(axis), safe(&label.to_string())));
    let name = parts.chain([format!("{SEED}={}", plan.seed)]).collect::<Vec<_>>().join(",");
    if name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

/// The text with an underscore between the parts that have only letters, digits, and `-_.+`. A text without such parts
/// becomes its code points, such as `u3c` for `<`.
fn safe(text: &str) -> String {
    let is_special = |character: char| !(character.is_alphanumeric() || "-_.+".contains(character));
    let parts: Vec<&str> = text.split(is_special).filter(|part| !part.is_empty()).collect();
    if !parts.is_empty() {
        return parts.join("_");
    }
    text.chars().map(|character| format!("u{:x}", u32::from(character))).collect::<Vec<_>>().join("_")
}

/// The start of the name, and a hash of the labels and the seed.
fn with_hash(name: &str, plan: &Plan) -> String {
    const MOST: usize = MOST_BYTES - HASH_DIGITS - 1;
    // In quotes, no label can look like two.
    let labels: Vec<String> =
        plan.labels.iter().map(|(axis, label)| format!("{axis:?}={:?}", label.to_string())).collect();
    let hash = blake3::hash(format!("{} {}", labels.join(" "), plan.seed).as_bytes()).to_hex();
    let ends = name.char_indices().map(|(start, character)| start + character.len_utf8());
    let end = ends.take_while(|end| *end <= MOST).last().unwrap_or(0);
    format!("{}-{}", &name[..end], &hash[..HASH_DIGITS])
}
