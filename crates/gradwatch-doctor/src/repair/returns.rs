//! The files to which a run returns.

use super::{RepairHistory, RepairRecord};

/// A checkpoint in the folder of an abandoned part, kept because the run has started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Number of the part.
    pub part: usize,
    /// Step of the checkpoint.
    pub step: u64,
}

/// A return that was decided and is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// To a checkpoint.
    Checkpoint {
        /// Its step.
        step: u64,
        /// The part that has it and the logs before it; `None` if the run has them itself.
        stored: Option<usize>,
    },
    /// To the beginning.
    Beginning {
        /// Step of the checkpoint to keep with the logs.
        keeps: Option<u64>,
    },
}

/// State of the files after some records.
#[derive(Default)]
struct Files {
    /// Number of complete returns.
    returns: usize,
    stored: Option<Stored>,
    pending: Option<Return>,
    /// Step of the checkpoint of the last complete return.
    returned_to: Option<u64>,
}

impl Files {
    fn after(records: &[RepairRecord]) -> Self {
        let mut files = Self::default();
        for record in records {
            match record {
                RepairRecord::Trial(trial) => files.begin(trial.from_step, trial.healthy_step),
                RepairRecord::GaveUp { from_step: Some(step), .. } => files.begin(Some(*step), None),
                RepairRecord::Returned { .. } => {
                    files.returns += 1;
                    files.returned_to = match files.pending.take() {
                        Some(Return::Checkpoint { step, .. }) => Some(step),
                        _ => None,
                    };
                }
                RepairRecord::Kept { .. } => files.stored = None,
                _ => {}
            }
        }
        files
    }

    fn begin(&mut self, from_step: Option<u64>, healthy_step: Option<u64>) {
        self.pending = Some(match from_step {
            Some(step) => Return::Checkpoint { step, stored: self.stored.take().map(|stored| stored.part) },
            None => {
                let keeps = healthy_step.filter(|_| self.stored.is_none());
                self.stored = keeps.map(|step| Stored { part: self.returns + 1, step }).or(self.stored);
                Return::Beginning { keeps }
            }
        });
    }
}

impl RepairHistory {
    /// The return that must be completed before the run trains on.
    pub fn pending_return(&self) -> Option<Return> {
        Files::after(self.records()).pending
    }

    /// Step of the checkpoint to which the run has returned last.
    pub fn returned_to(&self) -> Option<u64> {
        Files::after(self.records()).returned_to
    }

    /// Number of the part that the next return abandons, from 1.
    pub fn next_part(&self) -> usize {
        Files::after(self.records()).returns + 1
    }

    /// The checkpoint to which the run can return although it has started again.
    pub fn stored(&self) -> Option<Stored> {
        Files::after(self.records()).stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, RuleName},
        repair::{Trial, history::tests::trial},
    };

    /// A history of these records.
    fn history(records: &[RepairRecord]) -> RepairHistory {
        records.iter().fold(RepairHistory::default(), |history, record| history.with(record.clone()))
    }

    fn tried(number: u32, from_step: Option<u64>, healthy_step: Option<u64>) -> RepairRecord {
        let toml = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"";
        let config = Config::parse(toml, "test").unwrap();
        RepairRecord::Trial(Trial {
            healthy_step,
            ..trial(number, "optimizer.learning_rate = 0.01", &config, from_step)
        })
    }

    #[test]
    fn a_start_keeps_the_healthy_checkpoint_until_another_change_returns_to_it_or_stays() {
        let returned = |trial| RepairRecord::Returned { trial };
        let mut records = vec![tried(1, Some(40), Some(40))];
        let of_run = Return::Checkpoint { step: 40, stored: None };
        assert_eq!(history(&records).pending_return(), Some(of_run));
        records.push(returned(1));
        assert_eq!(history(&records).returned_to(), Some(40));
        records.push(tried(2, None, Some(40)));
        assert_eq!(history(&records).pending_return(), Some(Return::Beginning { keeps: Some(40) }));
        assert_eq!(history(&records).next_part(), 2);
        records.extend([returned(2), tried(3, None, Some(40))]);
        // It is stored already.
        assert_eq!(history(&records).pending_return(), Some(Return::Beginning { keeps: None }));
        assert_eq!(history(&records).stored(), Some(Stored { part: 2, step: 40 }));
        let mut kept = records.clone();
        kept.extend([returned(3), RepairRecord::Kept { trial: 3, step: 90 }]);
        assert_eq!((history(&kept).stored(), history(&kept).pending_return()), (None, None));
        let rule = RuleName::LearningRate;
        let gave_up = |from_step| RepairRecord::GaveUp { trial: 3, rule, step: 90, from_step, reason: "no".into() };
        records.extend([returned(3), gave_up(Some(40))]);
        let of_part = Return::Checkpoint { step: 40, stored: Some(2) };
        assert_eq!((history(&records).pending_return(), history(&records).stored()), (Some(of_part), None));
        records.push(returned(3));
        assert_eq!((history(&records).pending_return(), history(&records).next_part()), (None, 5));
        // Without a checkpoint, the run ends as it is.
        assert_eq!(history(&[tried(1, None, None), returned(1), gave_up(None)]).pending_return(), None);
    }
}
