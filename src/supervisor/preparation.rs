//! Repairs a network before its first step, which costs no step.

use tracing::subscriber::{NoSubscriber, with_default};

use crate::{
    config::{Config, RepairMode},
    diagnosis::Finding,
    inspect::{Inspection, Trial as Try, inspect, try_remedies},
    repair::{Proposal, RepairRecord, Trial},
};

/// Batches to pass through the network.
const BATCHES: usize = 2;

/// Inspects the untrained network of a run that repairs itself. Returns the config with the best allowed change, and the
/// record of it; `None` if nothing is wrong, or no allowed change makes all findings go away. An error of the inspection
/// is left to the training.
pub fn repair_before_training(config: &Config) -> Option<(Config, RepairRecord)> {
    if config.repair.mode != RepairMode::Auto || !config.diagnosis.enabled || config.repair.max_repairs == 0 {
        return None;
    }
    // Training tells about the model.
    let inspection = with_default(NoSubscriber::new(), || inspect(config.clone(), BATCHES)).ok()?;
    let is_wrong = |finding: &&Finding| finding.severity >= config.repair.severity;
    let finding = inspection.findings.iter().find(is_wrong)?;
    let proposals: Vec<Proposal> =
        inspection.remedies.iter().filter_map(|remedy| Proposal::of(remedy, config)).collect();
    let remedies: Vec<_> = proposals.iter().map(|proposal| proposal.remedy.clone()).collect();
    let tried = try_remedies(config, &remedies, BATCHES);
    let is_healthy = |inspection: &Inspection| !inspection.findings.iter().any(|finding| is_wrong(&finding));
    let best: &Try = tried.iter().find(|tried| tried.inspection.as_ref().is_some_and(is_healthy))?;
    let proposal = proposals.iter().find(|proposal| proposal.remedy.change.to_string() == best.change)?;
    let changed = proposal.remedy.change.apply_to(config).ok()?;
    let record = RepairRecord::Prepared(Trial {
        trial: 0,
        rule: finding.rule,
        severity: finding.severity,
        first_step: 0,
        found_at: 0,
        cause: finding.cause.clone(),
        remedy: proposal.remedy.clone(),
        settings: proposal.settings.clone(),
        weights: proposal.weights,
        from_step: None,
        healthy_step: None,
        until_step: 0,
        discarded: 0,
        remedies,
    });
    Some((changed, record))
}
