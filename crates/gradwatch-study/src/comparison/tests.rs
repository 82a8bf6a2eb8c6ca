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
