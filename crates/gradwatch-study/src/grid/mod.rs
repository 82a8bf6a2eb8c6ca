//! The runs of a study: every combination of its axes, with every seed.

mod name;

use gradwatch_doctor::config::{Config, ConfigError};
use toml::Value;

use crate::{
    definition::{AxisValue, Filter, SEED, Study, StudyError},
    results::Cell,
};

/// A run of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name of its folder, such as `depth=4,initialization=xavier,seed=1`.
    pub name: String,
    /// Each axis with its label, in the order of the axes.
    pub labels: Vec<(String, Cell)>,
    /// Seed.
    pub seed: u64,
    /// Overrides of the base as `table.key=value`, for `--set`.
    pub assignments: Vec<String>,
}

/// A run whose config is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRun {
    /// Name of the run.
    pub name: String,
    /// Problems of its config, on one line.
    pub problem: String,
}

/// The runs of a study whose configs are valid, and the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Runs with a valid config.
    pub plans: Vec<Plan>,
    /// Their configs.
    pub configs: Vec<Config>,
    /// Runs that cannot start.
    pub invalid: Vec<InvalidRun>,
}

impl Study {
    /// All runs, in a fixed order: the last axis changes before the others, and the seed before the axes.
    pub fn plans(&self) -> Vec<Plan> {
        let mut combinations: Vec<Vec<&AxisValue>> = vec![Vec::new()];
        for axis in &self.axes {
            let with = |before: &Vec<_>, value| before.iter().copied().chain([value]).collect();
            combinations = combinations
                .iter()
                .flat_map(|before| axis.values.iter().map(move |value| with(before, value)))
                .collect();
        }
        let runs = combinations.iter().flat_map(|values| self.seeds.iter().map(move |seed| (values, *seed)));
        let mut plans: Vec<Plan> = runs.filter_map(|(values, seed)| self.plan(values, seed)).collect();
        name::set_names(&mut plans);
        plans
    }

    /// The run with these values, still without a name; `None` if it is excluded.
    fn plan(&self, values: &[&AxisValue], seed: u64) -> Option<Plan> {
        let labels: Vec<(String, Cell)> =
            self.axes.iter().zip(values).map(|(axis, value)| (axis.name.clone(), value.label.clone())).collect();
        let is_excluded = |filters: &Vec<Filter>| {
            filters.iter().all(|filter| match labels.iter().find(|(axis, _)| *axis == filter.column) {
                Some((_, label)) => filter.admits(label),
                None => filter.column == SEED && filter.admits(&Cell::integer(seed)),
            })
        };
        if self.exclusions.iter().any(is_excluded) {
            return None;
        }
        let settings = self.set.iter().chain(values.iter().flat_map(|value| &value.assignments));
        let assignment = |(key, value): &(String, Value)| format!("{key}={value}");
        let seed_assignment = format!("run.{SEED}={seed}");
        let assignments = settings.map(assignment).chain([seed_assignment]).collect();
        Some(Plan { name: String::new(), labels, seed, assignments })
    }

    /// All runs, after a check of their configs.
    ///
    /// # Errors
    /// If the configs of all runs are invalid.
    pub fn grid(&self) -> Result<Grid, StudyError> {
        let mut grid = Grid { plans: Vec::new(), configs: Vec::new(), invalid: Vec::new() };
        let (mut first, plans) = (None, self.plans());
        for plan in plans {
            match Config::load(&self.base, &plan.assignments) {
                Ok(config) => {
                    grid.plans.push(plan);
                    grid.configs.push(config);
                }
                Err(cause) => {
                    let (name, problem) = (plan.name, one_line(&cause));
                    first.get_or_insert_with(|| (name.clone(), Box::new(cause)));
                    grid.invalid.push(InvalidRun { name, problem });
                }
            }
        }
        match first {
            Some((run, cause)) if grid.plans.is_empty() => {
                let name = self.path.display().to_string();
                Err(StudyError::NoValidRun { name, runs: grid.invalid.len(), run, cause })
            }
            _ => Ok(grid),
        }
    }
}

/// The problems of a config on one line, without the name of the file, which all runs share.
fn one_line(error: &ConfigError) -> String {
    match error {
        ConfigError::Invalid { problems, .. } => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
