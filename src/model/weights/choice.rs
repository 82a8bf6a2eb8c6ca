//! Chooses one of several state dicts in a file, if the user does not.

use std::{cmp::Reverse, collections::HashSet};

use super::{checkpoint::Found, names};

/// Keys under which training scripts store the trained weights, most specific first.
const KNOWN: [&str; 6] = ["state_dict", "model_state_dict", "model", "module", "net", "network"];
/// Words for averages of the weights, and for networks that follow another one.
const AVERAGES: [&str; 10] =
    ["ema", "averaged", "average", "avg", "swa", "teacher", "momentum", "target", "shadow", "polyak"];
/// Words for other data per weight.
const NO_WEIGHTS: [&str; 12] = [
    "optimizer",
    "optimizers",
    "optim",
    "opt",
    "scheduler",
    "schedulers",
    "scaler",
    "grad",
    "grads",
    "gradients",
    "exp_avg",
    "fisher",
];

/// Whether a key or prefix contains one of these words.
fn has_word(path: &str, words: &[&str]) -> bool {
    path.split('.').any(|segment| words.contains(&segment))
        || path
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .any(|word| words.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// Whether the name indicates an average of the weights.
pub(super) fn is_average(path: &str) -> bool {
    has_word(path, &AVERAGES)
}

/// Whether the name indicates that the tensors are not weights.
pub(super) fn is_no_weights(path: &str) -> bool {
    has_word(path, &NO_WEIGHTS)
}

/// Returns the index of the state dict whose names match the model's. Among several, trained weights win over averages,
/// and known keys over others. If no names match, known keys win, then the largest state dict.
pub(super) fn choose(found: &[Found<'_>], own: &HashSet<&str>) -> Option<usize> {
    let rank = |index: &usize| {
        let Found { path, entries } = &found[*index];
        let matched = names::matched(entries.iter().map(|(name, _)| *name), own);
        let (is_fit, is_average) = (2 * matched >= own.len() && matched > 0, is_average(path));
        let outer = path.split('.').next().unwrap_or_default();
        let known = KNOWN.iter().position(|known| *known == outer).unwrap_or(KNOWN.len());
        let sizes = (Reverse(matched), Reverse(entries.len()));
        (!is_fit, is_fit && is_average, known, sizes, is_average)
    };
    (0..found.len()).min_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::{super::pickle::Objects, *};

    /// Two names of the model, and one that is not.
    const OWN: [&str; 2] = ["conv.weight", "fc.weight"];
    const OTHER: [&str; 1] = ["layer.weight"];

    fn chosen(files: &[(&str, &[&str])]) -> String {
        let (objects, _) = Objects::read(b"\x80\x02N.").unwrap();
        let id = objects.root_id();
        let found: Vec<Found<'_>> = files
            .iter()
            .map(|(path, names)| Found {
                path: (*path).to_owned(),
                entries: names.iter().map(|name| (*name, id)).collect(),
            })
            .collect();
        let own = HashSet::from(OWN);
        found[choose(&found, &own).unwrap()].path.clone()
    }

    #[test]
    fn the_weights_themselves_come_before_averages_and_the_known_key_before_others() {
        assert_eq!(chosen(&[("state_dict_ema", &OWN), ("state_dict", &OWN)]), "state_dict");
        assert_eq!(chosen(&[("model_ema", &OWN), ("model", &OWN)]), "model");
        assert_eq!(chosen(&[("teacher", &OWN), ("student", &OWN)]), "student");
        assert_eq!(chosen(&[("weights", &OWN), ("model", &OWN), ("state_dict", &OWN)]), "state_dict");
        assert_eq!(chosen(&[("state_dict_ema", &OWN)]), "state_dict_ema");
        assert_eq!(chosen(&[("ema.module", &OWN), ("params", &OWN)]), "params");
    }

    #[test]
    fn names_of_the_model_count_more_than_a_key() {
        assert_eq!(chosen(&[("model", &OTHER), ("generator", &OWN)]), "generator");
        assert_eq!(chosen(&[("", &OTHER), ("state_dict_ema", &OWN)]), "state_dict_ema", "a counter beside it");
        assert_eq!(chosen(&[("model", &["module.conv.weight", "module.fc.weight"]), ("x", &OTHER)]), "model");
    }

    #[test]
    fn if_no_names_are_the_models_the_known_key_counts_and_then_the_size() {
        assert_eq!(chosen(&[("", &OTHER), ("model", &OTHER)]), "model");
        assert_eq!(chosen(&[("", &OTHER), ("params", &["a", "b", "c"])]), "params");
        assert_eq!(chosen(&[("params_ema", &OTHER), ("params", &OTHER)]), "params");
    }

    #[test]
    fn words_are_whole() {
        assert!(
            is_average("model_ema") && is_average("modelEma.ema.") && !is_average("schema") && !is_average("cinema.w")
        );
        assert!(is_no_weights("optimizer_states.0") && !is_no_weights("optical"));
    }
}
