use std::{fs, path::Path};

use gradwatch_events::SummaryWriter;

use super::*;

const CONFIG: &str = "run.max_steps = 100\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";

/// A run of 100 steps with this loss, and a config if it is one of gradwatch.
fn run(folder: &Path, config: Option<&str>, loss: impl Fn(u64) -> f64) -> ComparedRun {
    let writer = SummaryWriter::create(folder).unwrap();
    for step in 0..100 {
        writer.scalar("loss/step", step, loss(step)).unwrap();
        writer.scalar("grad_norm/total", step, 1.0).unwrap();
        if let Some(accuracy) =
            [(49, 0.75), (99, 0.5)].iter().find(|(at, _)| *at == step).map(|(_, accuracy)| *accuracy)
        {
            writer.scalar("accuracy/validation", step, accuracy).unwrap();
            writer.scalar("loss/validation", step, 1.5).unwrap();
        }
    }
    writer.close().unwrap();
    if let Some(more) = config {
        fs::write(folder.join("config.toml"), format!("{CONFIG}{more}")).unwrap();
    }
    ComparedRun::read(folder).unwrap()
}

fn falling(step: u64) -> f64 {
    2.0 / (1.0 + step as f64 / 10.0)
}

#[test]
fn runs_are_compared_in_metrics_configs_and_findings() {
    let logs = tempfile::tempdir().unwrap();
    let plain = run(&logs.path().join("plain"), Some(""), falling);
    let deep = run(&logs.path().join("deep"), Some("model.depth = 7\noptimizer.learning_rate = 0.5\n"), |step| {
        2.0 + 0.001 * (step * step) as f64
    });
    let comparison = Comparison::new(vec![plain, deep]);
    let text = comparison.terminal();
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    for want in [
        &["final metrics", "plain", "deep"][..],
        &["steps", "100", "100"],
        // 2 / (1 + 9.9), and 2 + 9.801.
        &["step loss", "0.1835", "11.8"],
        &["validation accuracy", "0.5", "0.5"],
        &["best validation accuracy", "0.75", "0.75"],
        &["optimizer.learning_rate", "0.1", "0.5"],
    ] {
        assert!(lines.contains(&want.to_vec()), "{want:?}\n{text}");
    }
    let depth = lines.iter().find(|line| line[..].first() == Some(&"model.depth")).unwrap();
    assert_eq!(depth[2], "7");
    let diverging = lines.iter().find(|line| line[..].first() == Some(&"loss_diverging")).unwrap();
    assert!(diverging[1] == "–" && diverging[2].contains(", step "), "{text}");
    assert!(!text.contains("model.name"), "{text}");
    let page = comparison.html();
    for want in [
        "<h1>plain, deep</h1>",
        "<tr class=\"differs\"><th scope=\"row\">optimizer.learning_rate</th><td>0.1</td><td>0.5</td></tr>",
        "<h3>Validation accuracy</h3>",
        "<h3>Total gradient norm</h3>",
    ] {
        assert!(page.contains(want), "{want}\n{page}");
    }
    // No run has a learning rate.
    assert!(!page.contains("<h3>Learning rate</h3>") && !page.contains("<script"));
}

#[test]
fn a_foreign_run_has_no_config_and_is_compared_all_the_same() {
    let logs = tempfile::tempdir().unwrap();
    let own = run(&logs.path().join("own"), Some("model.depth = 7\n"), falling);
    let foreign = run(&logs.path().join("foreign\u{1b}<b>"), None, falling);
    let other = run(&logs.path().join("other"), Some(""), falling);
    let alone = Comparison::new(vec![own.clone(), foreign.clone()]);
    assert!(alone.config_differences().is_empty());
    assert!(alone.terminal().contains("Only one run has a config.toml of gradwatch."));
    let comparison = Comparison::new(vec![own, foreign, other]);
    let depth = &comparison.config_differences()[0];
    assert_eq!((&*depth.name, &*depth.values[0], &*depth.values[1]), ("model.depth", "7", "–"));
    let (text, page) = (comparison.terminal(), comparison.html());
    assert!(!text.contains('\u{1b}') && !page.contains('\u{1b}') && !page.contains("<b>"), "{text}");
}

#[test]
fn runs_with_the_same_name_are_told_apart_by_their_paths() {
    let logs = tempfile::tempdir().unwrap();
    let [one, two] = ["one/run", "two/run"].map(|path| run(&logs.path().join(path), None, falling));
    let names = Comparison::new(vec![one.clone(), two, one]).names;
    let ends = ["one/run", "two/run", "one/run (2)"];
    assert!(names.iter().zip(ends).all(|(name, end)| name.ends_with(end)), "{names:?}");
}

#[test]
fn a_curve_keeps_values_that_are_not_finite() {
    let logs = tempfile::tempdir().unwrap();
    let folder = logs.path().join("run");
    let writer = SummaryWriter::create(&folder).unwrap();
    for (step, norm) in [(0, 1.0), (1, f64::INFINITY), (2, f64::NAN)] {
        writer.scalar("Loss/train", step, norm).unwrap();
        writer.scalar("grad_norm", step, norm).unwrap();
    }
    writer.close().unwrap();
    let run = ComparedRun::read(&folder).unwrap();
    let values: Vec<f64> = run.curves.loss.values().copied().collect();
    assert_eq!(values[0], 1.0);
    assert!(values[1..].iter().all(|value| !value.is_finite()), "{values:?}");
    let page = Comparison::new(vec![run.clone(), run]).html();
    // Two runs in each of two charts.
    assert_eq!(page.matches(">×1</text>").count(), 4, "{page}");
}

/// A run with NaN as its last validation loss, of gradwatch or of another program.
fn diverged(folder: &Path, config: Option<&str>) -> ComparedRun {
    let writer = SummaryWriter::create(folder).unwrap();
    for (step, loss) in [(4, 1.5), (9, f64::NAN)] {
        writer.scalar(if config.is_some() { "loss/step" } else { "Loss/train" }, step, 2.0).unwrap();
        writer.scalar("loss/validation", step, loss).unwrap();
        writer.scalar("accuracy/validation", step, 0.5).unwrap();
    }
    writer.close().unwrap();
    if let Some(more) = config {
        fs::write(folder.join("config.toml"), format!("{CONFIG}{more}")).unwrap();
    }
    ComparedRun::read(folder).unwrap()
}

#[test]
fn a_metric_that_is_not_finite_is_shown_and_only_an_absent_one_is_a_dash() {
    let logs = tempfile::tempdir().unwrap();
    let nan = diverged(&logs.path().join("nan"), Some(""));
    let foreign = diverged(&logs.path().join("foreign"), None);
    let writer = SummaryWriter::create(logs.path().join("bare")).unwrap();
    (0..3).for_each(|step| writer.scalar("Loss/train", step, if step < 2 { 1.0 } else { f64::INFINITY }).unwrap());
    writer.close().unwrap();
    let bare = ComparedRun::read(&logs.path().join("bare")).unwrap();
    let comparison = Comparison::new(vec![nan, foreign, bare]);
    let text = comparison.terminal();
    let row = |name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line[name.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("validation loss"), ["NaN", "NaN", "–"]);
    assert_eq!(row("validation accuracy"), ["0.5", "0.5", "–"]);
    assert_eq!(row("best validation accuracy"), ["0.5", "0.5", "–"]);
    assert_eq!(row("step loss"), ["2", "2", "inf"]);
    let page = comparison.html();
    assert!(
        page.contains("<td class=\"broken\">NaN</td>") && page.contains("<td>∞</td>") && page.contains("<td>–</td>")
    );
}

#[test]
fn an_evaluation_without_a_value_of_another_program_is_no_nan() {
    let logs = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logs.path()).unwrap();
    // The accuracy is written at other steps than the loss.
    for (step, tag, value) in [(0, "loss", 1.0), (1, "val_loss", 1.5), (2, "val_acc", 0.5), (3, "loss", 1.0)] {
        writer.scalar(tag, step, value).unwrap();
    }
    writer.close().unwrap();
    let run = ComparedRun::read(logs.path()).unwrap();
    let steps = |steps: &[(u64, f64)]| steps.iter().copied().collect::<BTreeMap<_, _>>();
    assert_eq!(run.curves.validation_loss, steps(&[(1, 1.5)]));
    assert_eq!(run.curves.validation_accuracy, steps(&[(2, 0.5)]));
}

#[test]
fn the_place_of_a_run_is_no_difference() {
    let logs = tempfile::tempdir().unwrap();
    let at = |name: &str| run(&logs.path().join(name), Some(&format!("run.logdir = \"logs/{name}\"\n")), falling);
    let comparison = Comparison::new(vec![at("one"), at("two")]);
    assert!(comparison.config_differences().is_empty());
    assert!(comparison.terminal().contains("All configs are the same."));
}

#[test]
fn unknown_tags_are_mapped_as_the_error_advises() {
    let logs = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logs.path()).unwrap();
    (0..3).for_each(|step| writer.scalar("objective", step, 1.0).unwrap());
    writer.close().unwrap();
    let error = ComparedRun::read(logs.path()).unwrap_err().to_string();
    assert!(error.contains("map them with --tag"), "{error}");
    let run = ComparedRun::read_with(logs.path(), &["loss=objective".to_owned()]).unwrap();
    assert_eq!(run.curves.loss.len(), 3);
}

#[test]
fn the_folder_of_a_study_stands_for_its_runs_and_any_other_folder_of_runs_is_refused_with_one_of_them() {
    let logs = tempfile::tempdir().unwrap();
    for name in ["depth=4,seed=1", "depth=2,seed=1"] {
        run(&logs.path().join(name), Some(""), falling);
    }
    assert_eq!(run_folders(logs.path()), [logs.path()]);
    let error = ComparedRun::read(logs.path()).unwrap_err().to_string();
    assert!(error.contains("2 runs in its subfolders; want one of them, such as "), "{error}");
    let identity = crate::Identity { base: "base.toml".into(), axes: vec!["model.depth".into()] };
    let study = tempfile::tempdir().unwrap();
    drop(crate::StudyFolder::open(study.path(), "grid", &identity).unwrap());
    let grid = study.path().join("grid");
    // A study without runs has nothing to compare.
    assert_eq!(run_folders(&grid), std::slice::from_ref(&grid));
    run(&grid.join("depth=4,seed=1"), Some(""), falling);
    run(&grid.join("depth=2,seed=1"), Some(""), falling);
    assert_eq!(run_folders(&grid), ["depth=2,seed=1", "depth=4,seed=1"].map(|name| grid.join(name)));
}

#[test]
fn a_run_is_healthy_only_if_all_rules_were_checked() {
    let logs = tempfile::tempdir().unwrap();
    // No norms of single parameters, so that most rules lack their data.
    let bare = run(&logs.path().join("bare"), None, falling);
    assert_eq!(bare.verdict(), "no findings");
    let judged = ComparedRun { is_judged: true, ..bare.clone() };
    assert_eq!(judged.verdict(), "healthy");
    let diverging = run(&logs.path().join("diverging"), Some(""), |step| 2.0 + 0.001 * (step * step) as f64);
    assert_eq!(diverging.verdict(), "critical");
    let page = Comparison::new(vec![bare.clone(), ComparedRun { curves: run::Curves::default(), ..bare }]).html();
    assert!(!page.contains("No run recorded losses"));
}

#[test]
fn twenty_runs_fit_into_100_columns() {
    let logs = tempfile::tempdir().unwrap();
    let of = |number: u32| {
        let name = format!("depth={number},initialization=kaiming_normal,activation=tanh,seed=1");
        run(&logs.path().join(name), Some(&format!("optimizer.learning_rate = 0.5{number:02}1\n")), falling)
    };
    let comparison = Comparison::new((0..20).map(of).collect());
    let text = comparison.terminal();
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{text}");
    for number in 0..20 {
        let row = text.lines().filter(|line| line.starts_with(&format!("depth={number},"))).collect::<Vec<_>>();
        assert!(row.iter().any(|line| line.ends_with(&format!("  0.5{number:02}1"))), "{row:?}\n{text}");
    }
    assert!(comparison.html().contains(", and 16 more</h1>"));
}
