//! The report of a run as JSON.

use serde::Serialize;

use super::{
    ClassRow, Report, Verdict,
    course::Course,
    layer_table::{Row, rows},
    profiles::Profile,
    ranks::{RankRow, rank_rows},
    series::Bucket,
};
use crate::{
    diagnosis::{Alarm, Finding},
    repair::RepairRecord,
};

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    run: &'a str,
    steps: u64,
    verdict: Verdict,
    findings: &'a [Finding],
    withdrawn: &'a [Finding],
    root_cause: Option<usize>,
    repairs: &'a [RepairRecord],
    alarms: &'a [Alarm],
    not_judged: &'a [String],
    notes: &'a [String],
    facts: &'a [(String, String)],
    curves: Curves<'a>,
    classes: &'a [ClassRow],
    depth_profiles: Vec<&'a Profile>,
    layers: Vec<Row<'a>>,
    ranks: Vec<RankRow<'a>>,
    config: Option<&'a str>,
}

#[derive(Serialize)]
struct Curves<'a> {
    loss: &'a [Bucket],
    learning_rate: &'a [Bucket],
    total_norm: &'a [Bucket],
    train_loss: &'a [Bucket],
    validation_loss: &'a [Bucket],
    train_accuracy: &'a [Bucket],
    validation_accuracy: &'a [Bucket],
}

/// Renders the report as one JSON object. Non-finite numbers are null.
pub fn json(report: &Report) -> String {
    let Report {
        title,
        run,
        config,
        facts,
        findings,
        withdrawn,
        root_cause,
        alarms,
        course,
        classes,
        notes,
        not_judged,
        steps,
        ..
    } = report;
    let document = Document {
        title,
        run,
        steps: *steps,
        verdict: report.verdict(),
        findings,
        withdrawn,
        root_cause: *root_cause,
        repairs: report.repairs.history.records(),
        alarms,
        not_judged,
        notes,
        facts,
        classes,
        curves: Curves::of(course),
        depth_profiles: course.profiles.three(),
        layers: rows(course),
        ranks: rank_rows(report),
        config: config.as_deref(),
    };
    // Serialization fails only for maps with non-string keys. There are none.
    serde_json::to_string(&document).unwrap_or_default()
}

impl<'a> Curves<'a> {
    fn of(course: &'a Course) -> Self {
        Self {
            loss: course.loss.buckets(),
            learning_rate: course.learning_rate.buckets(),
            total_norm: course.total_norm.buckets(),
            train_loss: course.train_loss.buckets(),
            validation_loss: course.validation_loss.buckets(),
            train_accuracy: course.train_accuracy.buckets(),
            validation_accuracy: course.validation_accuracy.buckets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        diagnosis::{Observation, RuleName, Severity},
        report::fixture::{finding, observe, report},
    };

    #[test]
    fn what_is_not_finite_is_null_and_all_else_is_there() {
        let mut wrong = report(20, vec![finding(RuleName::NonFinite, Severity::Fatal, 20)]);
        wrong.findings[0].figures[0].seen = f64::NAN;
        wrong.course.add(&Observation { total_norm: f64::INFINITY, ..observe(20, f64::NAN) });
        let value: Value = serde_json::from_str(&super::json(&wrong)).unwrap();
        assert_eq!(value["verdict"]["severity"], "fatal");
        assert_eq!(value["findings"][0]["figures"][0]["seen"], Value::Null);
        assert_eq!(value["findings"][0]["remedies"][0]["change"], "model.activation = \"relu\"");
        let last = &value["curves"]["total_norm"][20];
        assert_eq!((&last["mean"], &last["not_finite"]), (&Value::Null, &json!(1)));
        assert_eq!(value["layers"][0]["name"], "conv1.weight");
        assert_eq!(value["layers"][0]["weight_norm"], Value::Null);
        assert_eq!(value["depth_profiles"][0]["profile"]["layers"][1], json!(["fc", 0.01]));
    }
}
