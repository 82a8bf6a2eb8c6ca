//! Repairs a network before its first step, which costs no step.

use tracing::subscriber::{NoSubscriber, with_default};

use crate::{
    config::{Config, RepairMode, RuleName, Severity},
    diagnosis::Finding,
    inspect::{Inspection, inspect, try_remedies},
    repair::{Found, Proposal, RepairRecord, Trial},
};

/// Batches to pass through the network.
const BATCHES: usize = 2;

/// Inspects the untrained network of a run that repairs itself. Returns the config with allowed changes that make all
/// findings of `repair.severity` go away, and a record of each; `None` if nothing is wrong, or no such changes are known.
/// An error of the inspection is left to the training.
pub fn repair_before_training(config: &Config) -> Option<(Config, Vec<RepairRecord>)> {
    if config.repair.mode != RepairMode::Auto || !config.diagnosis.enabled {
        return None;
    }
    // Training tells about the model.
    let inspection = with_default(NoSubscriber::new(), || inspect(config.clone(), BATCHES)).ok()?;
    let (mut config, mut inspection) = (config.clone(), inspection);
    let (mut records, mut repaired) = (Vec::new(), Vec::new());
    while let Some(finding) = wrong(&inspection, &config).first().map(|finding| (*finding).clone()) {
        let is_stuck = records.len() >= config.repair.max_repairs || repaired.contains(&finding.rule);
        let change = if is_stuck { None } else { best_change(&inspection, &config, finding.rule) };
        let Some((proposal, better)) = change else { break };
        repaired.push(finding.rule);
        records.push(record(&finding, &proposal));
        config = proposal.remedy.change.apply_to(&config).ok()?;
        inspection = better;
    }
    let is_repaired = inspection.findings.iter().all(|finding| finding.severity < config.repair.severity);
    (is_repaired && !records.is_empty()).then_some((config, records))
}

/// The findings to repair, the root cause first. They may be less severe than `repair.severity` by one, because a change
/// before the first step costs no step.
fn wrong<'a>(inspection: &'a Inspection, config: &Config) -> Vec<&'a Finding> {
    let severity = match config.repair.severity {
        Severity::Fatal => Severity::Critical,
        _ => Severity::Warning,
    };
    inspection.findings.iter().filter(|finding| finding.severity >= severity).collect()
}

/// The allowed change that leaves no finding of the rule and the fewest findings to repair, and the inspection with it;
/// `None` if there is none. Of changes that leave as many, the first recommended one. One fault may have hidden another.
fn best_change(inspection: &Inspection, config: &Config, rule: RuleName) -> Option<(Proposal, Inspection)> {
    let proposals: Vec<Proposal> =
        inspection.remedies.iter().filter_map(|remedy| Proposal::of(remedy, config)).collect();
    let remedies: Vec<_> = proposals.iter().map(|proposal| proposal.remedy.clone()).collect();
    let mut tried = try_remedies(config, &remedies, BATCHES);
    let better = proposals.into_iter().filter_map(|proposal| {
        let place = tried.iter().position(|tried| tried.change == proposal.remedy.change.to_string())?;
        let inspection = tried.swap_remove(place).inspection?;
        Some((proposal, inspection))
    });
    let is_repaired = |inspection: &Inspection| wrong(inspection, config).iter().all(|finding| finding.rule != rule);
    better
        .filter(|(_, inspection)| is_repaired(inspection))
        .min_by_key(|(_, inspection)| wrong(inspection, config).len())
}

fn record(finding: &Finding, proposal: &Proposal) -> RepairRecord {
    RepairRecord::Prepared(Trial {
        trial: 0,
        found: Found {
            rule: finding.rule,
            severity: finding.severity,
            first_step: 0,
            found_at: 0,
            cause: finding.cause.clone(),
            remedies: finding.remedies.clone(),
        },
        remedy: proposal.remedy.clone(),
        with: Vec::new(),
        settings: proposal.settings.clone(),
        weights: proposal.weights,
        from_step: None,
        healthy_step: None,
        until_step: 0,
        discarded: 0,
    })
}
