use std::path::Path;

use super::*;
use crate::{
    fixture::{study, try_study},
    results::{Cell, ColumnKind},
};

/// The problems of a study with this text after its base.
pub(super) fn problems(text: &str) -> Vec<String> {
    problems_of(&format!("base = \"base.toml\"\n{text}"))
}

fn problems_of(text: &str) -> Vec<String> {
    match try_study(text).1 {
        Err(StudyError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

const WHOLE: &str = r#"
seeds = [1, 2, 3]
question = "How deep?"
gradient_problems = true

[set]
"run.max_steps" = 200
optimizer.momentum = 0.5

[axes]
"model.depth" = [4, 8]
initialization = [
    { label = "xavier", "model.initialization" = "xavier_uniform" },
    { label = "kaiming", "model.initialization.method" = "kaiming_normal", optimizer.learning_rate = 0.05 },
]
model.activation = ["relu"]

[[exclude]]
"model.depth" = 8
initialization = "xavier"

[[measures]]
name = "phase_2_accuracy"
tag = "accuracy/validation"
reduce = "max"
steps = [791, 1580]

[[charts]]
title = "Accuracy by depth"
kind = "lines"
x = "model.depth"
y = "best_validation_accuracy"
lines = "initialization"
panels = "model.activation"
where = { "model.depth" = [4, 8] }
x_scale = "log"
y_range = [0.0, 1.0]
x_label = "Layers"

[[charts]]
title = "Norms"
kind = "curves"
y = "grad_norm/total"
y_scale = "log"

[[tables]]
title = "Accuracy"
rows = "model.depth"
columns = "initialization"
value = "phase_2_accuracy"
"#;

#[test]
fn a_study_has_everything_that_its_file_says() {
    let (folder, study) = study(WHOLE);
    assert_eq!((&*study.name, &study.base), ("depths", &folder.path().join("base.toml")));
    assert_eq!(
        (&study.seeds[..], study.question.as_deref(), study.gradient_problems),
        (&[1, 2, 3][..], Some("How deep?"), true)
    );
    let set = [("optimizer.momentum", Value::Float(0.5)), ("run.max_steps", Value::Integer(200))];
    assert_eq!(study.set, set.map(|(key, value)| (key.to_owned(), value)));
    // In the order of the file, not of the alphabet.
    let axes: Vec<&str> = study.axes.iter().map(|axis| &*axis.name).collect();
    assert_eq!(axes, ["model.depth", "initialization", "model.activation"]);
    assert_eq!(study.axes[0].values[1].label, Cell::Number(8.0));
    let kaiming = &study.axes[1].values[1];
    assert_eq!(kaiming.label, Cell::Text("kaiming".into()));
    let text = |text: &str| Value::String(text.into());
    let settings =
        [("model.initialization.method", text("kaiming_normal")), ("optimizer.learning_rate", Value::Float(0.05))];
    assert_eq!(kaiming.assignments, settings.map(|(key, value)| (key.to_owned(), value)));
    let filter = |column: &str, value| Filter { column: column.into(), values: vec![value] };
    let excluded =
        vec![filter("initialization", Cell::Text("xavier".into())), filter("model.depth", Cell::Number(8.0))];
    assert_eq!(study.exclusions, [excluded]);
    let measure = Measure {
        name: "phase_2_accuracy".into(),
        tag: "accuracy/validation".into(),
        reduce: Reduction::Max,
        steps: Some([791, 1580]),
    };
    assert_eq!(study.measures, [measure]);
    let chart = ChartDefinition {
        title: "Accuracy by depth".into(),
        kind: ChartKind::Lines,
        x: Some("model.depth".into()),
        y: vec!["best_validation_accuracy".into()],
        rows: None,
        lines: Some("initialization".into()),
        panels: Some("model.activation".into()),
        filters: vec![Filter { column: "model.depth".into(), values: vec![Cell::Number(4.0), Cell::Number(8.0)] }],
        x_scale: Some(Scale::Log),
        y_scale: Scale::Linear,
        y_range: Some([0.0, 1.0]),
        x_label: Some("Layers".into()),
        y_label: None,
        labels: Vec::new(),
    };
    assert_eq!((&study.charts[0], &*chart.slug()), (&chart, "accuracy-by-depth"));
    assert_eq!(
        (study.charts[1].kind, study.charts[1].y_scale, &study.charts[1].x),
        (ChartKind::Curves, Scale::Log, &None)
    );
    let table = TableDefinition {
        title: "Accuracy".into(),
        rows: "model.depth".into(),
        columns: Some("initialization".into()),
        value: "phase_2_accuracy".into(),
        filters: Vec::new(),
    };
    assert_eq!(study.tables, [table]);
}

#[test]
fn columns_are_those_of_the_axes_then_of_the_seed_then_all_measured_ones() {
    let (_folder, study) = study(WHOLE);
    let columns = study.columns();
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    let start = ["model.depth", "initialization", "model.activation", "seed", "state", "ending", "steps"];
    assert_eq!(names[..7], start);
    assert_eq!(names[19..24], ["findings", "withdrawn", "unread_files", "initial_vanishing", "initial_exploding"]);
    assert_eq!(names[names.len() - 3..], ["final_any_sagemaker_exploding", "phase_2_accuracy", "seconds"]);
    let kinds: Vec<ColumnKind> = columns[2..5].iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [ColumnKind::Axis, ColumnKind::Seed, ColumnKind::Measure]);
    assert_eq!((columns[22].kind, columns[names.len() - 2].kind), (ColumnKind::Flag, ColumnKind::Measure));
}

#[test]
fn a_study_may_have_a_base_alone() {
    let (_folder, study) = study("");
    // That of the base.
    assert_eq!(study.seeds, [7]);
    assert!(study.axes.is_empty() && study.halving.is_none());
}

#[test]
fn a_value_without_a_label_is_called_after_its_settings() {
    let (_folder, study) = study(
        "[axes]\nrate = [{ optimizer.learning_rate = 0.5 }, { optimizer.learning_rate = 0.1, optimizer.momentum = 0.9 }, \
         { label = 3, optimizer.momentum = 0.0 }]",
    );
    let labels: Vec<Cell> = study.axes[0].values.iter().map(|value| value.label.clone()).collect();
    assert_eq!(labels, [Cell::Number(0.5), Cell::Text("learning_rate=0.1 momentum=0.9".into()), Cell::Number(3.0)]);
}

#[test]
fn halving_has_rungs_a_goal_and_a_factor() {
    let (_folder, study) =
        study("[halving]\nmetric = \"final_train_loss\"\ngoal = \"min\"\nsteps = [100, 200]\nfactor = 3");
    let halving = Halving { metric: "final_train_loss".into(), goal: Goal::Min, steps: vec![100, 200], factor: 3 };
    assert_eq!(study.halving, Some(halving));
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_toml_is_one_line() {
    let error = Study::load(Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(
        error.starts_with("study /no/such.toml: No such file") && error.ends_with("want the path of a TOML file"),
        "{error}"
    );
    let error = try_study("base = \nseeds = [1]").1.unwrap_err().to_string();
    assert!(error.contains("depths.toml is not valid TOML: line 1: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_base_is_required_and_must_be_readable() {
    assert_eq!(problems_of("seeds = [1]"), ["base: missing; want the config of all runs, relative to the study file"]);
    let [missing] = &problems_of("base = \"nosuch.toml\"")[..] else { panic!() };
    assert!(missing.starts_with("base: /") && missing.contains("nosuch.toml: No such file"), "{missing}");
    assert!(missing.ends_with("; want the path of a config, relative to the study file"), "{missing}");
    let (folder, _) = study("");
    std::fs::write(folder.path().join("base.toml"), "run = ").unwrap();
    let error = Study::load(&folder.path().join("depths.toml")).unwrap_err().to_string();
    assert!(error.contains("base.toml: not valid TOML: line 1: "), "{error}");
}

/// Every kind of problem of a single key, with its line.
#[test]
fn every_problem_has_a_line_that_names_its_key_and_what_is_wanted() {
    let chart =
        |keys: &str| format!("[[charts]]\ntitle = \"A\"\nkind = \"lines\"\nx = \"seed\"\ny = \"steps\"\n{keys}");
    let all = "configs/fashion-mnist-resnet8.toml lists all keys";
    let cases: Vec<(String, String)> = [
        ("seed = [1]", "seed: unknown key; did you mean seeds?"),
        ("zzz = 1", "zzz: unknown key; docs/studies.md lists all keys"),
        ("seeds = []", "seeds: got [], want a list of different seeds"),
        ("seeds = [1, 1]", "seeds: got [1, 1], want a list of different seeds"),
        ("seeds = [-1]", "seeds: got [-1], want a list of integers from 0"),
        ("question = \"\"", "question: got \"\", want text"),
        ("[axes]\nmodel.dept = [4]", "axes.model.dept: no config key matches \"model.dept\"; did you mean \"model.depth\"?"),
        ("[axes]\nmodel.depth = 4", "axes.model.depth: got 4, want a list of values"),
        ("[axes]\nmodel.depth = []", "axes.model.depth: the list is empty; want at least one value"),
        ("[axes]\nmodel.depth = [4, 8, 4]", "axes.model.depth: got \"4\" twice; remove one, or give it another label"),
        (
            "[axes]\nx = [{ label = \"a\", model.depth = 4 }, { label = \"b\", model.depth = 4 }]",
            "axes.x: \"a\" and \"b\" are the same settings; remove one",
        ),
        ("[axes]\nx = [{ label = \"a\" }]", "axes.x: the value \"a\" sets nothing; want config keys with values"),
        ("[axes]\nmodel.name = [\"\"]", "axes.model.name: a value is empty text; add a label"),
        (
            "[axes]\nmodel.depth = [4]\nx = [{ label = \"a\", model.depth = 8 }]",
            "axes.x: model.depth is also set by \"model.depth\"; want it in one axis",
        ),
        ("set.model.depth = 4\n[axes]\nmodel.depth = [8]", "axes.model.depth: model.depth is also in [set] or --set; remove it there"),
        ("[axes]\nrun.seed = [1]", "axes.run.seed: seeds lists the seeds; remove the key"),
        ("set.run.logdir = \"x\"", "set.run.logdir: the runs of a study share its folder; remove the key"),
        ("set.model.wdith = 4", "set.model.wdith: no config key matches \"model.wdith\"; did you mean \"model.width\"?"),
        (
            "[axes]\nsteps = [{ label = \"a\", model.depth = 8 }]",
            "axes.steps: the results have another column with this name; want another name",
        ),
        (
            "[axes]\nrun = [{ label = \"a\", model.depth = 8 }]",
            "axes.run: the results have another column with this name; want another name",
        ),
        (
            "[[measures]]\nname = \"steps\"\ntag = \"loss/train\"",
            "measures[0].name: the results have another column \"steps\"",
        ),
        ("[[measures]]\nname = \"a\"", "measures[0].tag: missing; want a TensorBoard tag, such as accuracy/validation"),
        (
            "[[measures]]\nname = \"a\"\ntag = \"b\"\nsteps = [9, 3]",
            "measures[0].steps: got [9, 3], want [first, last], in ascending order",
        ),
        (
            "[[measures]]\nname = \"a\"\ntag = \"b\"\nreduce = \"maximum\"",
            "measures[0].reduce: got \"maximum\", want one of first, last, min, max, mean; did you mean \"max\"?",
        ),
        ("[[exclude]]", "exclude[0]: got no keys; want axes with the values to leave out"),
        (
            "axes.model.depth = [4, 8]\n[[exclude]]\nmodel.dept = 4",
            "exclude[0].model.dept: no axis has this name; did you mean \"model.depth\"?",
        ),
        (
            "axes.model.depth = [4, 8]\n[[exclude]]\nmodel.depth = [4, 5]",
            "exclude[0].model.depth: got \"5\", which matches no run; want one of 4, 8",
        ),
        ("[[exclude]]\nseed = 7", "exclude: every combination is excluded; want at least one run"),
        ("seeds = [1, 2]\n[[exclude]]\nseed = 7", "exclude[0].seed: got \"7\", which matches no run; want one of 1, 2"),
        ("halving = { steps = [1, 2] }", "halving.metric: missing; want a column, such as best_validation_accuracy"),
        ("halving.metric = \"steps\"", "halving.steps: missing; want run.max_steps of each rung"),
        (
            "halving = { metric = \"steps\", steps = [2, 1] }",
            "halving.steps: got [2, 1], want a list of steps from 1, in ascending order",
        ),
        (
            "halving = { metric = \"steps\", steps = [0, 1] }",
            "halving.steps: got [0, 1], want a list of steps from 1, in ascending order",
        ),
        (
            "halving = { metric = \"steps\", steps = [1], factor = 1 }",
            "halving.factor: got 1, want an integer from 2 to 1000",
        ),
        (
            "halving = { metric = \"verdict\", steps = [1] }",
            "halving.metric: got \"verdict\", which has text; want a column of numbers",
        ),
        (
            "halving = { metric = \"steps\", steps = [1] }\nset.run.max_steps = 9",
            "set.run.max_steps: halving sets it; remove the key",
        ),
        (
            "halving = { metric = \"steps\", steps = [1] }\naxes.run.max_steps = [9]",
            "axes.run.max_steps: halving sets run.max_steps; remove it",
        ),
        ("[[charts]]\nkind = \"bars\"\nx = \"seed\"\ny = \"steps\"", "charts[0].title: missing; want a title"),
        (
            "[[charts]]\ntitle = \"?\"\nkind = \"bars\"\nx = \"seed\"\ny = \"steps\"",
            "charts[0].title: the title has no letters or digits; its files are named after it",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"line\"\nx = \"seed\"\ny = \"steps\"",
            "charts[0].kind: got \"line\", want one of lines, bars, heat_map, curves; did you mean \"lines\"?",
        ),
        ("[[charts]]\ntitle = \"A\"\nkind = \"bars\"\ny = \"steps\"", "charts[0].x: missing; want the column of the horizontal axis"),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"bars\"\nx = \"seed\"",
            "charts[0].y: missing; want a column, a list of columns, or, for curves, a tag",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"bars\"\nx = \"seed\"\ny = []",
            "charts[0].y: got [], want a name or a list with at least one",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"curves\"\nx = \"seed\"\ny = \"loss/train\"",
            "charts[0].x: the x axis of curves is the step; remove the key",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"heat_map\"\nx = \"seed\"\ny = \"steps\"",
            "charts[0].rows: missing; want the column of the vertical axis",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"heat_map\"\nx = \"seed\"\ny = \"steps\"\nrows = \"seed\"\nlines = \"seed\"",
            "charts[0].lines: a heat map has no lines; use rows, or panels",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"bars\"\nx = \"sede\"\ny = \"steps\"",
            "charts[0].x: got \"sede\", which is not a column; did you mean \"seed\"?",
        ),
        (
            "[[charts]]\ntitle = \"A\"\nkind = \"bars\"\nx = \"seed\"\ny = \"findings\"",
            "charts[0].y: got \"findings\", which has text; want a column of numbers",
        ),
        (
            "[[tables]]\ntitle = \"A\"\nrows = \"seed\"\nvalue = \"best_accuracy\"",
            "tables[0].value: got \"best_accuracy\", which is not a column; did you mean \"best_validation_accuracy\"?",
        ),
        ("[[tables]]\ntitle = \"A\"\nvalue = \"steps\"", "tables[0].rows: missing; want the column with one row per value"),
    ]
    .map(|(text, line)| (text.to_owned(), line.to_owned()))
    .into_iter()
    .chain([
        (chart("rows = \"seed\""), "charts[0].rows: only kind = \"heat_map\" has rows; remove the key".to_owned()),
        (chart("x_scal = 1"), "charts[0].x_scal: unknown key; did you mean charts[0].x_scale?".to_owned()),
        (
            chart("y_scale = \"category\""),
            "charts[0].y_scale: got \"category\", want \"linear\" or \"log\": y has numbers".to_owned(),
        ),
        (
            chart("y_scale = \"log\"\ny_range = [0.0, 1.0]"),
            "charts[0].y_range: got [0, 1], want [low, high], above 0 on a logarithmic scale".to_owned(),
        ),
        (
            chart("where = { sead = 1 }"),
            "charts[0].where: got \"sead\", which is not a column; did you mean \"seed\"?".to_owned(),
        ),
        (format!("{}\n{}", chart(""), chart("")), "charts: the files of two charts have the name \"a\"; change \"A\"".to_owned()),
        (
            chart("lines = \"seed\"").replace("\"steps\"", "[\"steps\", \"best_step\"]"),
            "charts[0].lines: got several columns in y, which are the lines; remove lines, or all but one column".to_owned(),
        ),
        ("[set]\n\"model.*\" = 1".to_owned(), format!("set.model.*: no config key matches \"model.*\"; {all}")),
    ])
    .collect();
    for (text, line) in cases {
        assert_eq!(problems(&text), [line], "{text}");
    }
}

#[test]
fn too_many_runs_are_refused_before_they_are_listed() {
    let values: Vec<String> = (1..=400).map(|value| value.to_string()).collect();
    let list = values.join(", ");
    let axes =
        format!("[axes]\nmodel.depth = [{list}]\nmodel.width = [{list}]\noptimizer.accumulation_steps = [{list}]");
    assert_eq!(problems(&axes), ["axes: the axes make more than 100000 runs; want fewer values"]);
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let told = problems(
        "seeds = []\nsedes = 1\n[axes]\nmodel.dept = [1]\n[[charts]]\ntitle = \"A\"\n[[tables]]\nrows = \"x\"",
    );
    let keys: Vec<&str> = told.iter().filter_map(|line| line.split_once(": ")).map(|(key, _)| key).collect();
    let want = [
        "axes.model.dept",
        "charts[0].kind",
        "charts[0].y",
        "sedes",
        "seeds",
        "tables[0].rows",
        "tables[0].title",
        "tables[0].value",
    ];
    assert_eq!(keys, want);
    let (_folder, study) = try_study("base = \"base.toml\"\nseeds = []\nsedes = 1");
    let message = study.unwrap_err().to_string();
    assert_eq!(message.lines().count(), 3, "{message}");
}
