//! Explains that no run has a tag of the study.

use std::collections::BTreeSet;

use gradwatch_doctor::{
    config::{matches, nearest_name},
    number::count,
};

/// Most tags to name.
const MOST_NAMES: usize = 3;

/// Says that no run has scalars of a tag, with the most similar of the runs' tags. In `tag`, `*` stands for any
/// characters.
pub(crate) fn absence(tag: &str, tags: &BTreeSet<String>) -> String {
    if let Some(other) = tags.iter().find(|known| matches(tag, known)) {
        return format!("no run has scalars of the tag {tag}: {other} has other data");
    }
    let mut names: Vec<&str> = tags.iter().map(String::as_str).collect();
    let mut near = Vec::new();
    while let Some(name) = nearest_name(tag, &names).filter(|_| near.len() < MOST_NAMES) {
        names.retain(|other| *other != name);
        near.push(name);
    }
    match &near[..] {
        [] if tags.is_empty() => format!("no run has the tag {tag}, or any other"),
        [] => {
            let some = names.iter().copied().take(MOST_NAMES).collect::<Vec<_>>().join(", ");
            format!("no run has the tag {tag}; the runs have {}, such as {some}", count(tags.len(), "tag"))
        }
        [one] => format!("no run has the tag {tag}; did you mean {one}?"),
        [several @ .., last] => {
            format!("no run has the tag {tag}; did you mean {} or {last}?", several.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(tag: &str, tags: &[&str]) -> String {
        absence(tag, &tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn the_most_similar_tags_are_named() {
        let tags = ["accuracy/train", "accuracy/validation", "gradients/depth_slope", "loss/train", "loss/validation"];
        assert_eq!(
            said("accuracy/validtion", &tags),
            "no run has the tag accuracy/validtion; did you mean accuracy/validation or accuracy/train?"
        );
        assert_eq!(
            said("loss/vall", &tags[3..]),
            "no run has the tag loss/vall; did you mean loss/validation or loss/train?"
        );
        assert_eq!(said("depth_slop", &["depth_slope"]), "no run has the tag depth_slop; did you mean depth_slope?");
        assert_eq!(
            said("zzz", &tags),
            "no run has the tag zzz; the runs have 5 tags, such as accuracy/train, accuracy/validation, gradients/depth_slope"
        );
        assert_eq!(said("zzz", &[]), "no run has the tag zzz, or any other");
    }

    #[test]
    fn a_tag_of_histograms_is_no_tag_of_scalars() {
        let text = said("grad_histogram/*", &["grad_histogram/fc.weight"]);
        assert_eq!(text, "no run has scalars of the tag grad_histogram/*: grad_histogram/fc.weight has other data");
    }
}
