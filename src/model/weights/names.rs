//! Names of tensors, without what wrappers put before them.

use std::collections::HashSet;

use super::{Refusal, refusal::shown};

/// Of DataParallel and DistributedDataParallel, torch.compile, and a model inside of a Lightning module.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
/// torch.compile of one part puts it in the middle.
const COMPILED: &str = "._orig_mod.";

/// Takes away every prefix that all names have and the model has not. Returns what it was, empty where there was none.
///
/// # Errors
/// Where two tensors have one name.
pub fn unwrap<T>(tensors: &mut [(String, T)], is_own: impl Fn(&str) -> bool) -> Result<String, Refusal> {
    let mut taken = String::new();
    let is_around_all = |tensors: &[(String, T)], prefix: &str| {
        !tensors.is_empty() && !is_own(prefix) && tensors.iter().all(|(name, _)| name.starts_with(prefix))
    };
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| is_around_all(tensors, prefix)) {
        tensors.iter_mut().for_each(|(name, _)| _ = name.drain(..prefix.len()));
        taken.push_str(prefix);
    }
    for (name, _) in tensors.iter_mut().filter(|(name, _)| name.contains(COMPILED)) {
        *name = name.replace(COMPILED, ".");
    }
    let mut seen = HashSet::new();
    match tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        None => Ok(taken),
        Some((name, _)) => Err(Refusal::damaged(format!("two tensors named {}", shown(name)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(names: &[&str], own: &str) -> Result<(String, Vec<String>), Refusal> {
        let mut tensors: Vec<(String, ())> = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        let taken = unwrap(&mut tensors, |prefix| own.starts_with(prefix))?;
        Ok((taken, tensors.into_iter().map(|(name, ())| name).collect()))
    }

    #[test]
    fn prefixes_of_wrappers_go_where_all_names_have_them() {
        let (taken, names) = unwrapped(&["module._orig_mod.a.b", "module._orig_mod.c"], "a.b").unwrap();
        assert_eq!((&*taken, &*names), ("module._orig_mod.", &["a.b".to_owned(), "c".to_owned()][..]));
        assert_eq!(unwrapped(&["layer1._orig_mod.a"], "layer1.a").unwrap().1, ["layer1.a"]);
        assert_eq!(unwrapped(&["module.a", "b"], "a").unwrap(), (String::new(), vec!["module.a".into(), "b".into()]));
        assert_eq!(unwrapped(&["model.a"], "model.a").unwrap().0, "", "the model's own name");
        assert_eq!(unwrapped(&[], "a").unwrap().0, "");
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        assert!(unwrapped(&["a", "b", "a"], "a").unwrap_err().got.contains("named a"));
        assert!(unwrapped(&["l._orig_mod.a", "l.a"], "l.a").is_err());
    }
}
