//! Depth profiles at the beginning, in the middle, and at the end of a run.

use serde::{Deserialize, Serialize};

use crate::statistics::DepthProfile;

/// A depth profile and its step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub step: u64,
    pub profile: DepthProfile,
}

/// At most 16 profiles spread evenly over the run, and the last one. When all are used, every second one is dropped.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Profiles {
    kept: Vec<Profile>,
    last: Option<Profile>,
    halvings: u32,
    seen: u64,
}

impl Profiles {
    const KEPT: usize = 16;

    pub(crate) fn add(&mut self, step: u64, profile: &DepthProfile) {
        let profile = Profile { step, profile: profile.clone() };
        if self.seen.is_multiple_of(1 << self.halvings.min(63)) {
            if self.kept.len() == Self::KEPT {
                self.kept = std::mem::take(&mut self.kept).into_iter().step_by(2).collect();
                self.halvings += 1;
            }
            self.kept.push(profile.clone());
        }
        self.seen += 1;
        self.last = Some(profile);
    }

    /// The first, middle, and last profile, or fewer if the run has fewer.
    pub(crate) fn three(&self) -> Vec<&Profile> {
        let (Some(first), Some(last)) = (self.kept.first(), &self.last) else { return Vec::new() };
        let half = first.step + (last.step - first.step) / 2;
        let between = self.kept.iter().filter(|profile| profile.step > first.step && profile.step < last.step);
        let middle = between.min_by_key(|profile| profile.step.abs_diff(half));
        let last = Some(last).filter(|last| last.step > first.step);
        [Some(first), middle, last].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::ProfileSource;

    fn steps_after(count: u64) -> Vec<u64> {
        let mut profiles = Profiles::default();
        let profile = DepthProfile { source: ProfileSource::PreActivations, layers: vec![("one".into(), f64::NAN)] };
        (0..count).for_each(|step| profiles.add(step, &profile));
        assert!(profiles.kept.len() <= Profiles::KEPT);
        profiles.three().iter().map(|profile| profile.step).collect()
    }

    #[test]
    fn the_first_the_one_half_way_and_the_last_are_known() {
        assert!(steps_after(0).is_empty());
        assert_eq!(steps_after(1), [0]);
        assert_eq!(steps_after(2), [0, 1]);
        assert_eq!(steps_after(3), [0, 1, 2]);
        let many = steps_after(100_001);
        assert_eq!((many[0], many[2]), (0, 100_000));
        // At most a sixteenth of the run away.
        assert!(many[1].abs_diff(50_000) <= 6250, "{many:?}");
    }
}
