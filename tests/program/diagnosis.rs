//! Rules on real training: nets with a known outcome, from their first step.

use std::{fs, path::Path};

use gradwatch::{
    config::{Config, RuleName},
    diagnosis::{Finding, Severity},
    events::RunFolder,
    train::{StopSignal, prepare, train},
};

use crate::harness::{Workplace, exclusive, limit, write_images};

/// An MLP of width 64 on Fashion-MNIST, trained by SGD with momentum, as in the measurements behind the rules.
fn findings(model: &str, steps: u64) -> Vec<Finding> {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    write_images(&images, 640);
    let toml = format!(
        "run = {{ max_steps = {steps}, threads = 1 }}\n\
         data = {{ source = \"idx\", path = \"{}\", batch_size = 64 }}\n\
         model = {{ name = \"mlp\", width = 64, {model} }}\n\
         optimizer = {{ learning_rate = 0.1, momentum = 0.9 }}\n\
         checkpoint.every_epochs = 0\n",
        images.display()
    );
    let _alone = exclusive();
    let prepared = prepare(Config::parse(&toml, "test").unwrap()).unwrap();
    let mut state = prepared.start(RunFolder::create(folder.path(), "run").unwrap(), None).unwrap();
    train(&mut state, &StopSignal::default()).unwrap();
    state.diagnosis().unwrap().findings().to_vec()
}

const XAVIER: &str = "activation = \"sigmoid\", initialization = \"xavier_normal\"";

/// Severity and first step of the vanishing-gradient finding for a net.
fn vanishing(model: &str) -> Option<(Severity, u64)> {
    let found = findings(model, 2);
    found
        .iter()
        .find(|finding| finding.rule == RuleName::Vanishing)
        .map(|finding| (finding.severity, finding.first_step))
}

#[test]
fn logistic_nets_that_stall_or_never_learn_are_told_at_step_0_and_those_that_train_are_not() {
    for (depth, want) in [
        (3, None),
        (4, None),
        (5, Some((Severity::Warning, 0))),
        (6, Some((Severity::Critical, 0))),
        (7, Some((Severity::Critical, 0))),
    ] {
        assert_eq!(vanishing(&format!("{XAVIER}, depth = {depth}")), want, "depth {depth}");
    }
}

#[test]
fn relu_with_he_and_tanh_with_xavier_are_silent_at_any_depth_and_relu_with_xavier_is_not() {
    for depth in [3, 10, 20] {
        assert_eq!(
            findings(&format!("initialization = \"kaiming_normal\", depth = {depth}"), 2),
            [],
            "ReLU, depth {depth}"
        );
        let tanh = format!("activation = \"tanh\", initialization = \"xavier_normal\", depth = {depth}");
        assert_eq!(findings(&tanh, 2), [], "tanh, depth {depth}");
    }
    // Without the gain that compensates for the half that a ReLU cuts off: 1e-3 at 20 layers, which trains poorly.
    assert!(vanishing("initialization = { method = \"xavier_normal\", gain = 1.0 }, depth = 20").is_some());
}

/// Ten sigmoid layers, whose gradient vanishes immediately.
const DEEP: &str = "run = { max_steps = 5, threads = 1 }\n\
    data = { source = \"synthetic\", samples = 200, image_size = 8 }\n\
    model = { name = \"mlp\", width = 32, depth = 10, activation = \"sigmoid\" }\n";

fn lines(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("findings.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_finding_is_in_the_log_the_summary_tensorboard_and_findings_jsonl_with_what_to_change() {
    let workplace = Workplace::new(DEEP);
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let said = "vanishing (critical) since step 0 in layers.0.linear to layers.9.linear: ";
    assert!(outcome.stderr.contains(said), "{outcome:#?}");
    let verdict = "the gradient vanishes on its way to the input in layers.0.linear to layers.9.linear, since step 0";
    assert!(outcome.stdout.contains(verdict), "{outcome:#?}");
    assert!(outcome.stdout.contains("\ntry         model.initialization = \"centered_logistic\": "), "{outcome:#?}");
    let run = workplace.run_folder("run");
    let lines = lines(&run);
    assert_eq!(
        (&lines[0]["step"], &lines[0]["rule"], &lines[0]["severity"]),
        (&0.into(), &"vanishing".into(), &"critical".into())
    );
    assert_eq!(lines[0]["remedies"][0]["change"], "model.initialization = \"centered_logistic\"");
    // The suggested remedy helps: its change is a line of the config.
    let change = lines[0]["remedies"][0]["change"].as_str().unwrap().replace(" = ", "=");
    let cured = workplace.train("cured", &[&change]);
    assert_eq!(fs::read_to_string(cured.join("findings.jsonl")).unwrap(), "");
    let silent = workplace.train("silent", &["diagnosis.ignore=[\"vanishing\",\"learning_rate\"]"]);
    assert_eq!(fs::read_to_string(silent.join("findings.jsonl")).unwrap(), "");
    let outcome = workplace.call(&["check", "small.toml", "--set", "diagnosis.ignore=[\"vanish\"]"]);
    assert!(
        outcome.stderr.contains("diagnosis.ignore: got [\"vanish\"], want names of rules from: vanishing, "),
        "{outcome:#?}"
    );
}

#[test]
fn a_finding_ends_the_run_where_that_is_asked_for_and_the_run_can_go_on() {
    let workplace = Workplace::new(&format!("{DEEP}diagnosis = {{ stop_at = \"critical\", confirm_steps = 0 }}\n"));
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(11), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("ended       a finding of vanishing (diagnosis.stop_at or an action)"),
        "{outcome:#?}"
    );
    assert!(outcome.stdout.contains("1 steps, "), "{outcome:#?}");
    // A resumed session knows the finding.
    let outcome = workplace.call(&["resume", "logs/run"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("5 steps, ") && outcome.stdout.contains("the gradient vanishes"), "{outcome:#?}");
    assert_eq!(lines(&workplace.run_folder("run")).len(), 1);
}

#[test]
fn a_finding_before_the_first_step_ends_the_run_once_training_has_not_refuted_it() {
    let workplace = Workplace::new(&format!("{DEEP}diagnosis = {{ stop_at = \"critical\", confirm_steps = 3 }}\n"));
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(11), "{outcome:#?}");
    assert!(outcome.stdout.contains("4 steps, "), "{outcome:#?}");
    // The default is longer than this run.
    let outcome =
        workplace.call(&["train", "small.toml", "--run-name", "other", "--set", "diagnosis.confirm_steps=50"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

#[test]
fn findings_are_acted_upon_and_other_tools_are_heard() {
    let actions = "[[diagnosis.actions]]\nrules = [\"vanishing\"]\ncheckpoint = true\ndump = true\ncommand = \"cat > told.json\"\n";
    let workplace =
        Workplace::new(&format!("{DEEP}diagnosis.rule_sets = [\"deepchecker\"]\ncheckpoint.keep_last = 9\n{actions}"));
    let run = workplace.train("run", &[]);
    let told: serde_json::Value = serde_json::from_str(&fs::read_to_string(run.join("told.json")).unwrap()).unwrap();
    assert_eq!((&told["step"], &told["finding"]["rule"]), (&0.into(), &"vanishing".into()));
    assert!(run.join("recent_steps.jsonl").exists());
    assert!(run.join("checkpoints/epoch-0000-step-00000001").exists());
    let alarms: Vec<_> = lines(&run).into_iter().filter(|line| line["alarm"]["set"] == "deepchecker").collect();
    assert!(!alarms.is_empty() && alarms.iter().all(|line| line["alarm"]["rule"].is_string()), "{alarms:?}");
}

#[test]
fn the_files_of_a_run_tell_what_the_run_told() {
    let workplace = Workplace::new(&format!("{DEEP}monitor = {{ first_steps = 5 }}\n"));
    let run = workplace.train("run", &[]);
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("model.activation = &quot;relu&quot;"));
    let outcome = workplace.call(&["diagnose", "logs", "--format", "json", "--fail-at", "critical"]);
    assert_eq!(outcome.code, Some(11), "{outcome:#?}");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let told = lines(&run);
    assert_eq!(report["findings"][0]["rule"], told[0]["rule"]);
    assert_eq!(report["findings"][0]["first_step"], told[0]["first_step"]);
    assert_eq!(report["findings"].as_array().unwrap().len(), told.len());
    let outcome = workplace.call(&["diagnose", "nowhere"]);
    assert_eq!(outcome.code, Some(12), "{outcome:#?}");
    assert!(outcome.stderr.contains("nowhere: ") && outcome.stderr.contains("want a run folder"), "{outcome:#?}");
}

#[test]
fn a_run_that_was_killed_and_resumed_has_the_findings_of_the_evaluations_before_and_after() {
    let workplace = Workplace::new("");
    write_images(&workplace.path().join("images"), 64);
    let toml = "run = { max_epochs = 30, threads = 1 }\n\
        data = { source = \"idx\", path = \"images\", batch_size = 32 }\n\
        model = { name = \"mlp\", width = 64, depth = 3, initialization = \"kaiming_normal\" }\n\
        optimizer = { learning_rate = 0.05, momentum = 0.9, weight_decay = 0.0 }\n\
        checkpoint = { every_steps = 1, every_epochs = 0 }\n";
    fs::write(workplace.path().join("small.toml"), toml).unwrap();
    let whole = workplace.train("whole", &[]);
    let told = |run: &Path| fs::read_to_string(run.join("findings.jsonl")).unwrap();
    let of_evaluations = |line: &serde_json::Value| line["rule"] == "overfitting";
    let first = lines(&whole).iter().find(|line| of_evaluations(line)).unwrap()["step"].as_u64().unwrap();
    // Before the finding; at the step before the evaluation; and after it.
    for kill in [first - 3, first, first + 1, first + 5] {
        let name = format!("killed-{kill}");
        let mut session = workplace.command(&["train", "small.toml", "--run-name", &name]);
        let status = limit::output(session.env("GRADWATCH_FAULT", format!("kill step {kill}"))).status;
        assert_eq!(status.code(), None, "killed at step {kill}");
        let run = workplace.run_folder(&name);
        assert_eq!(workplace.call(&["resume", &format!("logs/{name}")]).code, Some(0));
        assert_eq!(told(&run), told(&whole), "killed at step {kill}");
    }
}

#[test]
fn the_rules_of_other_tools_judge_the_files_where_they_are_asked() {
    let workplace = Workplace::new(DEEP);
    workplace.train("run", &["monitor.first_steps=5"]);
    let outcome = workplace.call(&["diagnose", "logs/run", "--rule-set", "deepchecker", "--rule-set", "sagemaker"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stdout.contains("\nrule sets   deepchecker/"), "{outcome:#?}");
    assert!(outcome.stdout.contains(" of sagemaker: gradwatch does not measure their inputs"), "{outcome:#?}");
    let outcome = workplace.call(&["diagnose", "logs/run", "--rule-set", "deepchecker", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["alarms"][0]["set"], "deepchecker");
    let outcome = workplace.call(&["diagnose", "logs/run", "--rule-set", "deepcheck"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("possible values: sagemaker, autotrainer, deepdiagnosis, deepchecker"));
}
