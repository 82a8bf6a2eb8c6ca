//! Config keys that the command line sets for all runs.

use gradwatch_doctor::{
    config::{Notes, override_value, split_override},
    printable,
};

use super::{ALL_KEYS, Study, StudyError};

impl Study {
    /// Sets config keys for all runs, `["model.depth=4"]`, in place of those in `[set]`. The copy of the study file in
    /// the results lists them.
    ///
    /// # Errors
    /// If a key does not exist, or is an axis.
    pub fn set(mut self, assignments: &[String]) -> Result<Self, StudyError> {
        for assignment in assignments {
            let Some((key, value)) = split_override(assignment) else { continue };
            self.set.retain(|(set, _)| set != key);
            self.set.push((key.to_owned(), override_value(value)));
            self.text = format!("# --set {}\n{}", printable::line(assignment), self.text);
        }
        let notes = Notes::referring_to(ALL_KEYS);
        self.check(&notes);
        let (problems, name) = (notes.into_problems(), self.path.display().to_string());
        if problems.is_empty() { Ok(self) } else { Err(StudyError::Invalid { name, problems }) }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::fixture;

    fn study() -> (TempDir, Study) {
        fixture::study("[set]\n\"run.max_steps\" = 5\n[axes]\n\"model.depth\" = [1, 2]\n")
    }

    #[test]
    fn a_setting_holds_for_all_runs_and_is_in_the_copy_of_the_file() {
        let (_folder, study) = study();
        let study = study.set(&["run.max_steps=7".into(), "data.path=data/other".into()]).unwrap();
        let assignments: Vec<_> = study.plans().into_iter().map(|plan| plan.assignments).collect();
        assert_eq!(assignments.len(), 2);
        for assignments in assignments {
            assert!(assignments.contains(&"run.max_steps=7".into()), "{assignments:?}");
            assert!(assignments.contains(&"data.path=\"data/other\"".into()), "{assignments:?}");
            assert!(!assignments.contains(&"run.max_steps=5".into()), "{assignments:?}");
        }
        assert!(study.text.starts_with("# --set data.path=data/other\n# --set run.max_steps=7\n"), "{}", study.text);
    }

    #[test]
    fn a_setting_that_is_an_axis_or_no_key_is_refused() {
        for (assignment, want) in [
            ("model.depth=4", "model.depth is also in [set] or --set; remove it there"),
            ("model.dpeth=4", "did you mean \"model.depth\"?"),
            ("run.seed=4", "seeds lists the seeds"),
        ] {
            let (_folder, study) = study();
            let error = study.set(&[assignment.into()]).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
