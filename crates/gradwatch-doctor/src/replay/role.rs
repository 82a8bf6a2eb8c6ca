//! Patterns that map TensorBoard tags to roles.

use std::sync::Arc;

use gradwatch_events::Numbers;

use super::{
    ReplayError,
    files::{TRAIN, VALIDATION},
    tags::FOREIGN,
};
use crate::{
    config::matches,
    telemetry::{Role, own_tags},
};

impl Role {
    /// Role of a value whose tag has this role; `None` if the kind of value does not fit the role.
    pub(super) fn of_value(self, is_parameter: bool, numbers: &Numbers) -> Option<Self> {
        let is_histogram = matches!(self, Self::GradHistogram | Self::ParamHistogram);
        match numbers {
            Numbers::Histogram(_) => is_histogram.then_some(self),
            Numbers::Scalar(_) if !is_histogram => Some(self),
            // `gradients/fc.weight` is often a norm; `gradients/max` is not a parameter.
            Numbers::Scalar(_) => (self == Self::GradHistogram && is_parameter).then_some(Self::GradNorm),
        }
    }
}

/// Whether a name looks like a parameter name.
fn is_parameter(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    ["weight", "bias", "kernel", "."].iter().any(|part| small.contains(part))
}

/// The part of a tag that matches the `*` of a pattern. With several stars, or for a bare parameter name, the whole
/// tag.
fn name<'a>(role: Role, pattern: &str, tag: &'a str) -> Option<&'a str> {
    let Some((head, tail)) = pattern.split_once('*') else { return Some("") };
    if tail.contains('*') {
        return Some(if role.is_of_model() { "" } else { tag });
    }
    if role == Role::ParamHistogram && matches!(tail, ".weight" | ".bias") {
        // A prefix before the parameter name would mean another statistic.
        return Some(tag).filter(|tag| !tag.contains('/'));
    }
    // Lowercasing ASCII letters does not change their length.
    tag.get(head.len()..tag.len().checked_sub(tail.len())?)
}

/// Meaning of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub role: Role,
    /// Name of the parameter or layer; empty for the whole model.
    pub name: Arc<str>,
    /// Position of the matching pattern. Lower positions take precedence.
    pub rank: usize,
}

impl Meaning {
    /// Whether the name looks like a parameter name.
    pub(super) fn is_parameter(&self) -> bool {
        is_parameter(&self.name)
    }
}

/// Patterns that map tags to roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPatterns {
    patterns: Vec<(Role, String)>,
    /// Number of user-defined patterns, which come first.
    given: usize,
}

impl TagPatterns {
    /// Patterns for the tags that gradwatch writes.
    pub fn own() -> Self {
        Self::of(own_tags())
    }

    /// Patterns for the tags of other programs, and for the tags that a custom training loop writes with
    /// [`events`](crate::telemetry::write_gradients). Such a loop has no epoch means: its `loss/train` is the loss of a
    /// step.
    pub fn foreign() -> Self {
        let own = own_tags().filter(|(role, _)| ![Role::TrainLoss, Role::TrainAccuracy].contains(role));
        let mut all: Vec<(Role, String)> =
            own.chain(FOREIGN.iter().map(|&(role, tag)| (role, tag.to_owned()))).collect();
        // `grad_norm/global_norm` is not a parameter.
        all.sort_by_key(|(role, _)| !role.is_of_model());
        Self::of(all)
    }

    fn of(patterns: impl IntoIterator<Item = (Role, String)>) -> Self {
        Self { patterns: patterns.into_iter().collect(), given: 0 }
    }

    /// Adds user-defined patterns of the form `role=pattern` before all others, such as `grad_norm=my_norms/*`.
    ///
    /// # Errors
    /// If the role is unknown, or if a per-parameter or per-layer pattern has no `*` for the name.
    pub fn with(mut self, patterns: &[String]) -> Result<Self, ReplayError> {
        for text in patterns.iter().rev() {
            let parsed =
                text.split_once('=').and_then(|(role, pattern)| Some((role.trim().parse().ok()?, pattern.trim())));
            let (role, pattern): (Role, _) = parsed
                .filter(|(_, pattern)| !pattern.is_empty())
                .ok_or_else(|| ReplayError::Pattern { got: text.clone() })?;
            if !role.is_of_model() && !pattern.contains('*') {
                return Err(ReplayError::NoName { got: text.clone() });
            }
            self.patterns.insert(0, (role, pattern.to_ascii_lowercase()));
        }
        self.given += patterns.len();
        Ok(self)
    }

    /// Meaning of a tag. Ignores case.
    pub(super) fn meaning(&self, tag: &str) -> Option<Meaning> {
        let small = tag.to_ascii_lowercase();
        let (rank, (role, pattern)) =
            self.patterns.iter().enumerate().find(|(_, (_, pattern))| matches(pattern, &small))?;
        let name = name(*role, pattern, tag)?;
        // `train/grad_norm` covers all parameters, `fc.weight/grad_norm` only one.
        let role = if *role == Role::TotalNorm && is_parameter(name) { Role::GradNorm } else { *role };
        let name = if role.is_of_model() { "" } else { name };
        Some(Meaning { role, name: name.into(), rank })
    }

    /// Meaning of a tag in a subfolder: `train`, a name for validation, or the curve of `add_scalars`.
    pub(super) fn meaning_in(&self, part: &str, tag: &str) -> Option<Meaning> {
        if part.is_empty() {
            return self.meaning(tag);
        }
        // `add_scalars("Loss", {"val": ...})` writes the tag `Loss` to the folder `Loss_val`.
        if part != TRAIN && !VALIDATION.contains(&part) {
            let curve = part.strip_prefix(&tag.replace('/', "_"))?.strip_prefix('_')?;
            return self.meaning(&format!("{tag}/{curve}"));
        }
        let with_part = self.meaning(&format!("{part}/{tag}"));
        if part != TRAIN {
            let is_validation = |role| matches!(role, Role::ValidationLoss | Role::ValidationAccuracy);
            // Any other folder name means validation.
            let meaning = with_part.or_else(|| self.meaning(&format!("validation/{tag}")));
            return meaning.filter(|meaning| is_validation(meaning.role) || meaning.rank < self.given);
        }
        // A parameter name does not include the folder name.
        [self.meaning(tag), with_part].into_iter().flatten().min_by_key(|meaning| meaning.rank)
    }

    /// The user-defined patterns.
    pub(super) fn given(&self) -> &[(Role, String)] {
        &self.patterns[..self.given]
    }
}

#[cfg(test)]
mod tests {
    use gradwatch_events::proto::HistogramProto;

    use super::*;

    fn role(patterns: &TagPatterns, tag: &str) -> Option<(Role, String)> {
        patterns.meaning(tag).map(|meaning| (meaning.role, meaning.name.to_string()))
    }

    #[test]
    fn tags_of_others_are_known_whatever_their_letters() {
        let foreign = TagPatterns::foreign();
        for (tag, want) in [
            ("Loss/train", Role::Loss),
            ("Loss/val", Role::ValidationLoss),
            ("train_loss_step", Role::Loss),
            ("train_loss_epoch", Role::TrainLoss),
            ("val_acc", Role::ValidationAccuracy),
            ("validation/epoch_loss", Role::ValidationLoss),
            ("train/epoch_sparse_categorical_accuracy", Role::TrainAccuracy),
            ("lr-SGD", Role::LearningRate),
            ("train/grad_norm", Role::TotalNorm),
            ("total_grad_norm", Role::TotalNorm),
            ("gradients/global_norm", Role::TotalNorm),
            ("grad_2.0_norm_total", Role::TotalNorm),
            ("loss/train", Role::Loss),
            ("accuracy/validation", Role::ValidationAccuracy),
            ("update_ratio/fc.weight", Role::UpdateRatio),
            ("gradients/previous_cosine", Role::PreviousCosine),
            ("grad_norm/global_norm", Role::TotalNorm),
        ] {
            assert_eq!(role(&foreign, tag).map(|(role, _)| role), Some(want), "{tag}");
        }
        assert_eq!(
            role(&foreign, "Gradients/layer1.0.Conv.weight"),
            Some((Role::GradHistogram, "layer1.0.Conv.weight".into()))
        );
        assert_eq!(role(&foreign, "fc.weight/grad"), Some((Role::GradHistogram, "fc.weight".into())));
        assert_eq!(role(&foreign, "gpu_temperature"), None);
    }

    #[test]
    fn parameters_are_known_by_their_whole_names() {
        let foreign = TagPatterns::foreign();
        for (tag, want, name) in [
            ("layer1.weight.grad", Role::GradHistogram, "layer1.weight"),
            ("layer1.Weight_grad", Role::GradHistogram, "layer1.Weight"),
            ("layer1.weight/grad_norm", Role::GradNorm, "layer1.weight"),
            ("layer1.weight", Role::ParamHistogram, "layer1.weight"),
            ("dense/kernel/histogram", Role::ParamHistogram, "dense/kernel"),
        ] {
            assert_eq!(role(&foreign, tag), Some((want, name.into())));
        }
        assert_eq!(role(&foreign, "sparsity/layer1.weight"), None);
        let several = TagPatterns::foreign().with(&["grad_norm=*/of/*".into()]).unwrap();
        assert_eq!(role(&several, "norms/of/fc"), Some((Role::GradNorm, "norms/of/fc".into())));
    }

    #[test]
    fn a_gradient_s_number_is_its_norm_where_its_name_is_a_parameter_s() {
        let of = |tag: &str, numbers: Numbers| {
            let meaning = TagPatterns::foreign().meaning(tag).unwrap();
            meaning.role.of_value(meaning.is_parameter(), &numbers)
        };
        let (scalar, histogram) = (|| Numbers::Scalar(1.0), || Numbers::Histogram(HistogramProto::default()));
        assert_eq!(of("gradients/fc.weight", histogram()), Some(Role::GradHistogram));
        assert_eq!(of("gradients/fc.weight", scalar()), Some(Role::GradNorm));
        assert_eq!(of("gradients/max", scalar()), None);
        assert_eq!((of("fc.weight", scalar()), of("loss", histogram())), (None, None));
    }

    #[test]
    fn parts_of_a_run_have_folders_of_their_own() {
        let patterns = TagPatterns::foreign().with(&["validation_accuracy=test/hits".into()]).unwrap();
        let of = |part, tag| patterns.meaning_in(part, tag).map(|meaning| (meaning.role, meaning.name.to_string()));
        assert_eq!(of("train", "epoch_loss"), Some((Role::TrainLoss, String::new())));
        assert_eq!(of("train", "gradients/dense/kernel"), Some((Role::GradHistogram, "dense/kernel".into())));
        assert_eq!(of("test", "loss"), Some((Role::ValidationLoss, String::new())));
        assert_eq!(of("eval", "epoch_loss"), Some((Role::ValidationLoss, String::new())));
        assert_eq!(of("test", "hits"), Some((Role::ValidationAccuracy, String::new())));
        assert_eq!((of("test", "lr"), of("validation", "gradients/dense/kernel")), (None, None));
    }

    #[test]
    fn patterns_of_the_user_come_first() {
        let patterns = TagPatterns::foreign().with(&["grad_norm=mine/*/n".into(), "loss = objective".into()]).unwrap();
        assert_eq!(role(&patterns, "mine/a.b/n"), Some((Role::GradNorm, "a.b".into())));
        assert_eq!(role(&patterns, "objective"), Some((Role::Loss, String::new())));
        for wrong in ["loss", "speed=x", "loss=", "grad_norm=norms"] {
            assert!(TagPatterns::own().with(&[wrong.into()]).unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn the_total_is_no_parameter() {
        assert_eq!(role(&TagPatterns::own(), "grad_norm/total"), Some((Role::TotalNorm, String::new())));
        assert_eq!(role(&TagPatterns::own(), "grad_norm/fc.weight"), Some((Role::GradNorm, "fc.weight".into())));
    }
}
