//! Finds the valid name nearest to an invalid one.

/// Key names of other trainers, and the matching key here.
const SYNONYMS: &[(&str, &str)] = &[
    ("accumulate_grad_batches", "optimizer.accumulation_steps"),
    ("clip_grad", "clipping.max_norm"),
    ("clip_mode", "clipping.mode"),
    ("epochs", "run.max_epochs"),
    ("grad_accum_steps", "optimizer.accumulation_steps"),
    ("gradient_clip_algorithm", "clipping.mode"),
    ("gradient_clip_val", "clipping.max_norm"),
    ("init", "model.initialization"),
    ("log_dir", "run.logdir"),
    ("lr", "optimizer.learning_rate"),
    ("norm", "model.normalization"),
    ("num_workers", "data.workers"),
    ("opt", "optimizer.name"),
    ("patience_epochs", "early_stopping.patience"),
    ("sched", "schedule.name"),
    ("smoothing", "loss.label_smoothing"),
    ("warmup_lr", "schedule.warmup_learning_rate"),
    ("wd", "optimizer.weight_decay"),
];

/// Minimum Jaro-Winkler similarity (0 to 1) of a suggestion.
const LIKENESS: f64 = 0.84;

/// Longest name to compare, in bytes. Valid names are much shorter, and comparing takes time.
const LONGEST: usize = 100;

/// The name most similar to `wrong`; `None` if none is similar enough.
pub fn name<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    let wrong = wrong.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&wrong, name);
    let best = names.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS).then_some(best)
}

/// The known key (as `section.key`) most similar to `key`: first within `section`, then anywhere.
pub(super) fn key(section: &str, key: &str, known: &[String]) -> Option<String> {
    let (mut here, mut anywhere) = (Vec::new(), Vec::new());
    for path in known {
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        if parent == section { here.push(last) } else { anywhere.push((last, path)) }
    }
    if let Some(last) = name(key, &here) {
        return Some(if section.is_empty() { last.to_owned() } else { format!("{section}.{last}") });
    }
    // The file may be of another kind, without these keys.
    let is_known = |right: &str| known.iter().any(|path| path == right);
    if let Some((_, right)) = SYNONYMS.iter().find(|(wrong, right)| *wrong == key && is_known(right)) {
        return Some((*right).to_owned());
    }
    let lasts: Vec<&str> = anywhere.iter().map(|(last, _)| *last).collect();
    let last = name(key, &lasts)?;
    anywhere.iter().find(|(name, _)| *name == last).map(|(_, path)| (*path).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_found_in_its_section_then_among_synonyms_then_anywhere() {
        let known: Vec<String> =
            ["run.seed", "optimizer.learning_rate", "optimizer.momentum", "model.dropout"].map(String::from).into();
        let find = |section, wrong| key(section, wrong, &known);
        assert_eq!(find("optimizer", "learning_rat").as_deref(), Some("optimizer.learning_rate"));
        assert_eq!(find("optimizer", "lr").as_deref(), Some("optimizer.learning_rate"));
        assert_eq!(find("run", "momentum").as_deref(), Some("optimizer.momentum"));
        assert_eq!(find("run", "zzz"), None);
    }
}
