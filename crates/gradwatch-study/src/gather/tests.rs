use std::{fs, path::PathBuf};

use gradwatch_doctor::{
    diagnosis::{Facts, Figure, Finding, FindingState, ParameterFacts, RuleName, Severity},
    telemetry::write_facts,
};
use gradwatch_events::{JsonLines, SummaryWriter};
use serde_json::json;

use super::*;
use crate::fixture::study;

/// A run folder made by hand.
pub(super) struct Run(pub PathBuf);

impl Run {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        fs::create_dir(folder.join(name)).unwrap();
        Self(folder.join(name))
    }

    fn scalars(&self, values: &[(&str, u64, f64)]) {
        self.scalars_at(None, values);
    }

    /// Writes a file, of a process that started at this second if given.
    pub(super) fn scalars_at(&self, second: Option<u64>, values: &[(&str, u64, f64)]) {
        let writer = SummaryWriter::create(&self.0).unwrap();
        values.iter().for_each(|(tag, step, value)| writer.scalar(*tag, *step, *value).unwrap());
        let path = writer.path().to_owned();
        writer.close().unwrap();
        if let Some(second) = second {
            fs::rename(path, self.0.join(format!("events.out.tfevents.{second}.host.1.0"))).unwrap();
        }
    }

    pub(super) fn lines(&self, file: &str, lines: impl IntoIterator<Item = serde_json::Value>) {
        let mut file = JsonLines::open(self.0.join(file)).unwrap();
        lines.into_iter().for_each(|line| file.write(&line).unwrap());
    }

    /// metrics.jsonl as a run writes it: the kind comes first.
    pub(super) fn metrics(&self, lines: &[String]) {
        fs::write(self.0.join("metrics.jsonl"), lines.join("\n") + "\n").unwrap();
    }
}

pub(super) fn step(step: u64) -> String {
    format!("{{\"kind\":\"step\",\"step\":{step},\"loss\":1.0}}")
}

pub(super) fn evaluation(step: u64, [train_loss, loss]: [&str; 2], [train, validation]: [&str; 2]) -> String {
    format!(
        "{{\"kind\":\"evaluation\",\"step\":{step},\"epoch\":0,\"elapsed_secs\":1.0,\"train\":{{\"loss\":{train_loss},\
         \"accuracy\":{train},\"f1\":0.5}},\"validation\":{{\"loss\":{loss},\"accuracy\":{validation},\"per_class\":[]}}}}"
    )
}

fn finding(rule: RuleName, severity: Severity, first_step: u64) -> Finding {
    Finding {
        rule,
        state: FindingState::Open,
        severity,
        layers: Vec::new(),
        ranks: Vec::new(),
        first_step,
        last_step: first_step,
        figures: vec![Figure { name: "ratio".into(), seen: f64::NAN, expected: "1".into() }],
        cause: "it is so".into(),
        remedies: Vec::new(),
        evidence: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn line(step: u64, finding: &Finding) -> serde_json::Value {
    let mut line = serde_json::to_value(finding).unwrap();
    line["step"] = json!(step);
    line
}

/// The results of a study of one axis, with a run that `make` makes for its first value.
struct Case {
    gathered: Gathered,
    _folders: [tempfile::TempDir; 2],
}

impl Case {
    fn new(text: &str, make: impl Fn(&Run)) -> Self {
        let (folder, study) = study(&format!("{text}\naxes.model.depth = [4, 8]"));
        let logs = tempfile::tempdir().unwrap();
        let plans = study.plans();
        make(&Run::new(logs.path(), &plans[0].name));
        let state = RunState { state: State::Failed, ending: "exit code 3".into(), seconds: 1.5 };
        let states = BTreeMap::from([(plans[0].name.clone(), state)]);
        let gathered = Results::gather(&study, &plans, logs.path(), &states);
        Self { gathered, _folders: [folder, logs] }
    }

    /// The cell of the first run.
    fn cell(&self, column: &str) -> Cell {
        let results = &self.gathered.results;
        results.rows[0].cells[results.column(column).unwrap()].clone()
    }

    fn number(&self, column: &str) -> f64 {
        self.cell(column).number().unwrap_or_else(|| panic!("{column} is missing"))
    }
}

pub(super) fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn a_row_has_the_axes_the_seed_and_the_end_of_its_run_and_nothing_of_a_run_that_was_not_started() {
    let case = Case::new("", |_| {});
    let results = &case.gathered.results;
    assert_eq!(case.gathered.notes, [""; 0]);
    assert_eq!((&*results.rows[0].run, results.rows[0].folder.ends_with("depth=4,seed=7")), ("depth=4,seed=7", true));
    let start = [Cell::Number(4.0), Cell::Number(7.0), text("failed"), text("exit code 3")];
    assert_eq!((&results.rows[0].cells[..4], case.number("seconds")), (&start[..], 1.5));
    assert_eq!(results.rows[1].cells[..2], [Cell::Number(8.0), Cell::Number(7.0)]);
    assert!(results.rows[1].cells[2..].iter().all(|cell| *cell == Cell::Missing));
}

#[test]
fn metrics_are_those_of_the_last_evaluation_and_the_best_of_all() {
    let case = Case::new("", |run| {
        let losses = [["2.0", "1.5"], ["1.5", "1.25"], ["1.0", "1.75"]];
        let accuracies = [["0.5", "0.5"], ["0.625", "0.75"], ["0.75", "0.75"]];
        let mut lines = vec!["{\"kind\":\"start\",\"classes\":10}".to_owned()];
        for (index, (loss, accuracy)) in losses.into_iter().zip(accuracies).enumerate() {
            lines.extend([step(10 * index as u64 + 5), evaluation(10 * index as u64 + 10, loss, accuracy)]);
        }
        run.metrics(&lines);
    });
    let columns = ["final_train_loss", "final_train_accuracy", "final_validation_loss", "final_validation_accuracy"];
    assert_eq!(columns.map(|column| case.number(column)), [1.0, 0.75, 1.75, 0.75]);
    // The first evaluation with the best accuracy is at step 20. The last step was step 25, but the run was evaluated
    // after 30 steps.
    let columns = ["best_validation_loss", "best_validation_accuracy", "best_step", "steps"];
    assert_eq!(columns.map(|column| case.number(column)), [1.25, 0.75, 20.0, 30.0]);
}

#[test]
fn a_run_that_diverged_has_nan_at_its_end_and_the_best_of_what_was_finite() {
    let case = Case::new("", |run| {
        let lines = [evaluation(1, ["2.0", "1.5"], ["0.5", "0.25"]), evaluation(2, ["null", "null"], ["0.1", "0.125"])];
        run.metrics(&[lines.to_vec(), vec![step(1), step(2), "{\"kind\":\"step\",\"st".into()]].concat());
    });
    assert!(case.number("final_train_loss").is_nan() && case.number("final_validation_loss").is_nan());
    let columns = ["best_validation_loss", "best_validation_accuracy", "best_step", "final_validation_accuracy"];
    assert_eq!(columns.map(|column| case.number(column)), [1.5, 0.25, 1.0, 0.125]);
    let never = Case::new("", |run| run.metrics(&[evaluation(1, ["null", "null"], ["0.1", "null"])]));
    assert!(never.number("best_validation_loss").is_nan() && never.number("best_validation_accuracy").is_nan());
    assert_eq!((never.cell("best_step"), never.number("steps")), (Cell::Missing, 1.0));
}

#[test]
fn multi_label_runs_have_no_accuracy_and_their_best_step_is_that_of_the_loss() {
    let case = Case::new("", |run| {
        let line = |step, loss: &str| evaluation(step, [loss, loss], ["0", "0"]).replace("\"accuracy\":0,", "");
        run.metrics(&[line(1, "2.0"), line(2, "1.0"), line(3, "1.5")]);
    });
    assert_eq!(
        (case.cell("best_validation_accuracy"), case.cell("final_train_accuracy")),
        (Cell::Missing, Cell::Missing)
    );
    assert_eq!((case.number("best_step"), case.number("best_validation_loss")), (2.0, 1.0));
}

#[test]
fn findings_are_listed_as_the_report_ranks_them() {
    let mut worse = finding(RuleName::Overfitting, Severity::Critical, 30);
    worse.state = FindingState::Worsening;
    let mut withdrawn = finding(RuleName::LossPlateau, Severity::Warning, 49);
    withdrawn.state = FindingState::Withdrawn { step: 60, reason: "the loss falls".into() };
    let lines = [
        line(30, &finding(RuleName::Overfitting, Severity::Warning, 30)),
        line(40, &finding(RuleName::LabelImbalance, Severity::Critical, 40)),
        json!({ "step": 45, "alarm": { "rule": "DeadRelu" } }),
        line(49, &finding(RuleName::LossPlateau, Severity::Warning, 49)),
        line(50, &worse),
        line(60, &withdrawn),
        line(70, &finding(RuleName::InitialLoss, Severity::Warning, 0)),
    ];
    let case = Case::new("", |run| {
        run.lines("findings.jsonl", lines.clone());
    });
    // Of the two critical ones, the imbalance is nearer to a cause.
    assert_eq!((case.cell("verdict"), case.cell("root_cause")), (text("critical"), text("label_imbalance")));
    assert_eq!(case.cell("findings"), text("label_imbalance@40 overfitting@30 initial_loss@0"));
    assert_eq!(case.cell("withdrawn"), text("loss_plateau@49"));
}

#[test]
fn a_finding_that_a_repair_has_ended_is_withdrawn_and_giving_up_is_no_success() {
    let trial = json!({
        "event": "trial", "trial": 1, "rule": "learning_rate", "severity": "critical", "first_step": 30, "found_at": 31,
        "cause": "too high", "remedy": { "change": "optimizer.learning_rate = 0.1", "why": "takes smaller steps" },
        "settings": [], "weights": "kept", "from_step": null, "healthy_step": null, "until_step": 81, "discarded": 31,
        "remedies": [],
    });
    let ends_with = |end: serde_json::Value, findings: &[serde_json::Value]| {
        Case::new("", |run| {
            run.lines("findings.jsonl", findings.to_vec());
            run.lines("repairs.jsonl", [trial.clone(), end.clone()]);
        })
    };
    let found = line(30, &finding(RuleName::LearningRate, Severity::Critical, 30));
    let kept = ends_with(json!({ "event": "kept", "trial": 1, "step": 999 }), &[found]);
    let cells = ["verdict", "root_cause", "findings", "withdrawn"].map(|column| kept.cell(column));
    assert_eq!(cells, [text("healthy"), text("none"), text("none"), text("learning_rate@30")]);
    let reason = "no change is left";
    let gave_up = json!({ "event": "gave_up", "trial": 1, "rule": "learning_rate", "step": 40, "from_step": 20, "reason": reason });
    assert_eq!(ends_with(gave_up, &[]).cell("verdict"), text("critical"));
}

#[test]
fn a_run_without_findings_is_healthy_and_one_without_the_file_was_not_diagnosed() {
    let healthy = Case::new("", |run| run.lines("findings.jsonl", []));
    let cells = ["verdict", "root_cause", "findings", "withdrawn"].map(|column| healthy.cell(column));
    assert_eq!(cells, [text("healthy"), text("none"), text("none"), text("none")]);
    assert_eq!(Case::new("", |_| {}).cell("verdict"), Cell::Missing);
}

#[test]
fn slopes_are_those_of_step_0_and_of_the_last_step() {
    let case = Case::new("", |run| {
        let tags = ["gradients/depth_slope", "gradients/depth_slope_error"];
        run.scalars(&[(tags[0], 0, -0.5), (tags[1], 0, 0.25), (tags[0], 10, 0.75), (tags[1], 10, 0.125)]);
    });
    let columns = ["initial_slope", "initial_slope_error", "final_slope"];
    assert_eq!(columns.map(|column| case.number(column)), [-0.5, 0.25, 0.75]);
    let later = Case::new("", |run| run.scalars(&[("gradients/depth_slope", 5, -0.5)]));
    assert_eq!((later.cell("initial_slope"), later.number("final_slope")), (Cell::Missing, -0.5));
}

#[test]
fn measures_reduce_their_series_within_their_steps_and_average_over_tags() {
    let measure =
        |name: &str, tag: &str, more: &str| format!("[[measures]]\nname = \"{name}\"\ntag = \"{tag}\"\n{more}\n");
    let measures = [
        measure("first", "a/x", "reduce = \"first\""),
        measure("last", "a/x", ""),
        measure("min", "a/x", "reduce = \"min\""),
        measure("max_in_range", "a/x", "reduce = \"max\"\nsteps = [1, 2]"),
        measure("mean", "a/x", "reduce = \"mean\""),
        measure("all", "a/*", "reduce = \"max\""),
        measure("nan", "b", "reduce = \"max\""),
        measure("nan_at_end", "b", ""),
        measure("none", "c", ""),
        measure("none_in_range", "b", "steps = [7, 9]"),
    ];
    let (folder, study) = study(&format!("axes.model.depth = [4]\n{}", measures.concat()));
    let plans = study.plans();
    Run::new(folder.path(), &plans[0].name).scalars(&[
        ("a/x", 0, 4.0),
        ("a/x", 1, 2.0),
        ("a/x", 2, 6.0),
        ("a/x", 3, 8.0),
        ("a/y", 3, 1.0),
        ("b", 0, 5.0),
        ("b", 1, f64::NAN),
        ("bc", 1, 9.0),
    ]);
    let Gathered { results, notes } = Results::gather(&study, &plans, folder.path(), &BTreeMap::new());
    assert_eq!(notes, ["measure none: no run has the tag c; the runs have 4 tags, such as a/x, a/y, b"]);
    let cell = |column: &str| results.rows[0].cells[results.column(column).unwrap()].clone();
    let number = |column: &str| cell(column).number().unwrap();
    assert_eq!(["first", "last", "min", "max_in_range", "mean"].map(number), [4.0, 8.0, 2.0, 6.0, 5.0]);
    // (8 + 1) / 2, and 5 without NaN.
    assert_eq!(["all", "nan"].map(number), [4.5, 5.0]);
    assert!(number("nan_at_end").is_nan());
    assert_eq!(["none", "none_in_range"].map(cell), [Cell::Missing, Cell::Missing]);
}

#[test]
fn a_later_file_replaces_steps_and_the_results_of_evaluate_are_no_steps() {
    let (folder, study) = study("");
    let run = Run::new(folder.path(), &study.plans()[0].name);
    run.scalars_at(Some(1_700_000_000), &[("a", 0, 1.0), ("a", 1, 2.0)]);
    let evaluation = SummaryWriter::create_evaluation(&gradwatch_events::disk::Folder::open(&run.0).unwrap()).unwrap();
    evaluation.scalar("a", 0u64, 9.0).unwrap();
    evaluation.close().unwrap();
    run.scalars_at(Some(1_700_000_010), &[("a", 1, 3.0)]);
    let read = read_series(&run.0, &["a"]);
    let series = Series::from([("a".into(), BTreeMap::from([(0, 1.0), (1, 3.0)]))]);
    assert_eq!(
        read,
        RunSeries { series, tags: ["a".to_owned()].into(), last_step: Some(1), files: 2, ..RunSeries::default() }
    );
}

#[test]
fn damage_is_told_and_the_rest_is_read() {
    let (folder, study) = study("");
    let run = Run::new(folder.path(), &study.plans()[0].name);
    run.scalars(&[("a", 0, 1.0), ("a", 1, 2.0)]);
    let path = fs::read_dir(&run.0).unwrap().next().unwrap().unwrap().path();
    let (bytes, name) = (fs::read(&path).unwrap(), path.file_name().unwrap().to_string_lossy().into_owned());
    // A run that was killed while it wrote is no damage.
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let a = |values: &[(u64, f64)]| Series::from([("a".to_owned(), values.iter().copied().collect())]);
    let read = read_series(&run.0, &["a"]);
    assert_eq!((read.series, read.cut, read.damaged), (a(&[(0, 1.0)]), vec![name.clone()], vec![]));
    // The value of the second event: its last byte is before the checksum.
    let mut damaged = bytes.clone();
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let read = read_series(&run.0, &["a"]);
    assert_eq!((read.series, read.damaged.len(), &read.damaged[0].0), (a(&[(0, 1.0)]), 1, &name));
    assert!(read.damaged[0].1.starts_with("has damaged data in the record at byte "), "{:?}", read.damaged);
    let read = read_series(&folder.path().join("nosuch"), &["a"]);
    assert!(read.series.is_empty() && read.damaged[0].1.starts_with("cannot be read: "), "{:?}", read.damaged);
}

#[test]
fn gradient_problems_are_those_of_step_0_and_of_the_last_measurement_of_each_kind() {
    let case = Case::new("gradient_problems = true", |run| {
        fs::write(run.0.join("config.toml"), crate::fixture::BASE).unwrap();
        let parameter = |name: &str| ParameterFacts { name: name.into(), shape: vec![1, 1], mean: 0.0, std: 1.0 };
        let parameters = ["fc1.weight", "fc2.weight", "fc3.weight"].map(parameter).to_vec();
        let facts = Facts { parameters, ..Facts::default() };
        write_facts(&mut JsonLines::open(run.0.join("metrics.jsonl")).unwrap(), &facts).unwrap();
        let mut values = Vec::new();
        let sizes = [(0, [1e-4, 1.0, 1.0]), (3, [1.0, 1.0, 1e3])];
        let tags = ["fc1", "fc2", "fc3"].map(|layer| {
            let groups = ["activation_mean", "activation_rms", "activation_nonpositive", "activation_saturated"];
            (
                groups.map(|group| format!("{group}/{layer}")),
                format!("layer_grad_rms/{layer}"),
                format!("grad_norm/{layer}.weight"),
            )
        });
        for (step, sizes) in sizes {
            for ((activations, size_tag, norm), size) in tags.iter().zip(sizes) {
                values.extend(activations.iter().map(|tag| (&**tag, step, 0.5)));
                let scale = if step == 0 { 1e-9 } else { 1.0 };
                values.extend([(&**size_tag, step, size), (&**norm, step, scale * size)]);
            }
        }
        values.extend([("grad_norm/total", 0, 1.0), ("grad_norm/total", 3, 1.0), ("grad_norm/total", 4, f64::NAN)]);
        run.scalars(&values);
    });
    assert_eq!(case.gathered.notes, [""; 0]);
    let of = |columns: &[&str]| columns.iter().map(|column| case.number(column)).collect::<Vec<_>>();
    let initial = ["initial_vanishing", "initial_exploding", "initial_first_vanishing", "initial_middle_vanishing"];
    assert_eq!(of(&initial), [1.0, 0.0, 1.0, 0.0]);
    let sagemaker = ["initial_first_sagemaker_vanishing", "final_first_sagemaker_vanishing"];
    assert_eq!(of(&sagemaker), [1.0, 0.0]);
    // The layers are those of step 3, and the norm is that of step 4, which is not finite.
    let last = ["final_vanishing", "final_exploding", "final_output_exploding", "final_first_vanishing"];
    assert_eq!(of(&last), [0.0, 1.0, 1.0, 0.0]);
    let without = Case::new("gradient_problems = true", |run| run.scalars(&[("loss/step", 0, 1.0)]));
    assert_eq!(without.cell("initial_vanishing"), Cell::Missing);
}

#[test]
fn results_of_the_same_files_are_the_same() {
    let make = |run: &Run| {
        run.metrics(&[step(0), evaluation(1, ["2.0", "1.5"], ["0.5", "0.25"])]);
        run.scalars(&[("gradients/depth_slope", 0, 0.25)]);
    };
    let csv = || Case::new("", make).gathered.results.to_csv();
    assert_eq!(csv(), csv());
}
