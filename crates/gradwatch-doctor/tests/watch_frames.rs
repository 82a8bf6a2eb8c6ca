//! Frames of `watch` from fixed event files.

mod demo;

use std::{fs, path::Path, process::Command, sync::Arc};

use demo::{ASCII, EventWriter, Kind, SIZES, STEPS, ascii, model, rendered};
use gradwatch_doctor::watch::{self, Colors, HeatKind, Model, Page, RunModel, ViewState, text};
use ratatui::{Terminal, backend::TestBackend};

fn frame(model: &Model, state: &ViewState, size: [u16; 2]) -> String {
    text(&rendered(model, state, size, Colors::None))
}

fn page(page: Page) -> ViewState {
    ViewState { page, ..ViewState::default() }
}

fn demo_frame(kind: Kind, state: &ViewState, size: [u16; 2]) -> String {
    let folder = tempfile::tempdir().unwrap();
    frame(&model(kind, folder.path()), state, size)
}

/// Checks that a frame has all of these texts.
fn has(frame: &str, wanted: &[&str]) {
    for want in wanted {
        assert!(frame.contains(want), "{want}\n{frame}");
    }
}

/// Checks that a frame of the documentation is this one.
fn is_current(name: &str, now: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/watch");
    let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
    let run = "cargo run -p gradwatch-doctor --example watch_frames -- docs/watch";
    assert!(committed == now, "docs/watch/{name} is not current; run {run}\n{now}");
}

#[test]
fn frames_of_the_documentation_are_current() {
    let runs = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let model = model(kind, runs.path());
        for size in SIZES {
            let name = format!("{}-{}x{}.txt", kind.name(), size[0], size[1]);
            is_current(&name, &frame(&model, &ViewState::default(), size));
        }
    }
    let (kind, size, name) = ASCII;
    let model = model(kind, tempfile::tempdir().unwrap().path());
    is_current(name, &text(&ascii(&model, &ViewState::default(), size)));
}

#[test]
fn frames_of_a_terminal_without_unicode_are_ascii_on_every_page() {
    let folder = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let model = model(kind, folder.path());
        for size in [[80, 24], [200, 60]] {
            for page in Page::ALL {
                for has_help in [false, true] {
                    let frame = text(&ascii(&model, &ViewState { page, has_help, ..ViewState::default() }, size));
                    let odd: String = frame.chars().filter(|character| !character.is_ascii()).collect();
                    assert_eq!(
                        (odd.as_str(), frame.contains('?') && !has_help && !frame.contains("? help")),
                        ("", false)
                    );
                    has(&frame, &["+-"]);
                }
            }
        }
    }
}

#[test]
fn verdict_cause_and_change_are_at_the_top_of_the_smallest_screen() {
    let rows = |kind: Kind| {
        let frame = demo_frame(kind, &ViewState::default(), [80, 24]);
        frame.lines().take(9).collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    has(&rows(Kind::Vanishing), &["CRITICAL", "the gradient vanishes on its way to the input", "cause", "try"]);
    has(
        &rows(Kind::Diverging),
        &["CRITICAL", "the learning rate is too high", "cause", "try optimizer.learning_rate = 0.2"],
    );
    has(&rows(Kind::Healthy), &["logs/healthy", "training · 33%", "OK", "Healthy: no problems found in 200 steps."]);
    has(&rows(Kind::Ranks), &["WARNING", "all ranks wait for a slower one", "rank 2"]);
    has(&rows(Kind::Foreign), &["OK", "No problems found in 200 steps", "(press 4 to list them)"]);
    // The whole cause, with the reason at its end.
    has(&rows(Kind::Vanishing), &["the derivative of a sigmoid is at most 1/4"]);
    has(&rows(Kind::Diverging), &["the learning rate is too high try"]);
}

#[test]
fn a_loss_that_is_no_longer_finite_is_told_first() {
    let frame = demo_frame(Kind::Diverging, &ViewState::default(), [80, 24]);
    has(&frame, &["NaN for 50 steps", "CRITICAL The loss is NaN since step 150.", "val 240.6 (step 100)", "! NaN !"]);
    assert!(!frame.contains(" left "), "{frame}");
    has(&demo_frame(Kind::Healthy, &ViewState::default(), [80, 24]), &[" left ", "val 0.6174  "]);
}

#[test]
fn text_without_room_ends_with_the_key_that_shows_it() {
    let large = demo_frame(Kind::Vanishing, &ViewState::default(), [200, 60]);
    has(&large, &["on its way to the… press 4", " … press 4 ─", "layers: layers.0.linear to layers.7.linear"]);
    has(&demo_frame(Kind::Diverging, &page(Page::Curves), [80, 24]), &["… press 4"]);
    has(&demo_frame(Kind::Vanishing, &page(Page::Findings), [80, 24]), &[" … PgDn "]);
}

#[test]
fn the_heat_map_tells_its_scale_and_has_the_same_one_on_every_screen() {
    for size in SIZES {
        let frame = demo_frame(Kind::Vanishing, &ViewState::default(), size);
        has(&frame, &[" low 1.88e-8 .:-=+*o#%@ high 0.02258, log  0 all zero, ! not finite "]);
    }
}

#[test]
fn every_chart_has_its_last_value() {
    let curves = demo_frame(Kind::Healthy, &page(Page::Curves), [120, 40]);
    // Loss of validation at step 200: 1.1 (0.35 + 1.95 exp(-200 / 90)) = 0.6174. Learning rate 0.05, 16 steps of 128
    // images per second.
    has(
        &curves,
        &["Loss", "o val 0.6174", "Accuracy", "o val 79.3%", "Gradient norm (log)", "Learning rate", "─ 0.05"],
    );
    has(&curves, &["Images/s", "─ 2048"]);
    assert!(!curves.contains("Waiting for data"), "{curves}");
    let smooth = ViewState { smoothing: 2, is_log: true, ..page(Page::Curves) };
    has(&demo_frame(Kind::Healthy, &smooth, [120, 40]), &["Loss (log) ~0.9", "Gradient norm (log) ~0.9"]);
}

#[test]
fn layers_have_a_heat_map_of_three_statistics_and_a_depth_profile() {
    let layers = |state: &ViewState| demo_frame(Kind::Vanishing, state, [100, 40]);
    let gradient = layers(&page(Page::Layers));
    has(&gradient, &["Layers over steps: gradient RMS", "layers.0.linear", "classifier", "Gradient over depth"]);
    // The first layer is the darkest, the last one the brightest.
    let row = |name: &str| gradient.lines().find(|line| line.starts_with(&format!("│{name}"))).unwrap().to_owned();
    assert!(row("layers.0.linear").contains("......") && row("classifier").contains("@@@"), "{gradient}");
    has(&gradient, &["x 0.18"]);
    let updates = ViewState { heat: HeatKind::UpdateRatio, ..page(Page::Layers) };
    has(&layers(&updates), &["Layers over steps: update ratio"]);
    let zeros = ViewState { heat: HeatKind::Activations, ..page(Page::Layers) };
    has(&layers(&zeros), &["Layers over steps: share of activations at 0", " 0% ", " 100% "]);
    let found = ViewState { search: "layers.3".into(), ..page(Page::Layers) };
    let found = layers(&found);
    has(&found, &["1 of 9 with \"layers.3\"", "layers.3.linear"]);
    assert!(!found.contains("layers.4"), "{found}");
    let none = ViewState { search: "conv".into(), ..page(Page::Layers) };
    has(&layers(&none), &["no layer has this name"]);
}

#[test]
fn a_finding_is_shown_with_its_figures_and_changes() {
    let frame = demo_frame(Kind::Vanishing, &page(Page::Findings), [120, 40]);
    has(
        &frame,
        &["> 1  CRITICAL", "vanishing: steps 0 to 200", "expected", "> model.initialization = \"centered_logistic\""],
    );
    let second = ViewState { remedy: 1, ..page(Page::Findings) };
    has(&demo_frame(Kind::Vanishing, &second, [120, 40]), &["> model.activation = \"relu\"", "  model.initialization"]);
    has(&demo_frame(Kind::Foreign, &page(Page::Findings), [120, 40]), &["Notes", "not checked:"]);
}

#[test]
fn ranks_have_a_row_each_and_the_slowest_is_marked() {
    let frame = demo_frame(Kind::Ranks, &page(Page::System), [120, 40]);
    has(&frame, &["4 ranks", "<- slowest node-1, cuda:0", "Waiting for data", "nvidia-smi does not answer"]);
    // Rank 2 loads for 35 of 85 ms, up to 10% more or less.
    let waiting = frame.lines().find(|line| line.contains("Waiting for data")).unwrap();
    assert!(waiting.contains("3") && waiting.contains('%'), "{waiting}");
    has(&demo_frame(Kind::Healthy, &page(Page::System), [120, 40]), &["only runs of several ranks record it"]);
}

#[test]
fn a_range_of_steps_shows_only_these() {
    let state = ViewState { range: Some([100, 150]), ..page(Page::Curves) };
    let frame = demo_frame(Kind::Healthy, &state, [120, 40]);
    let axis = frame.lines().rev().find(|line| line.contains("100")).unwrap();
    has(axis, &["100", "125", "150"]);
}

#[test]
fn small_screens_say_so_and_no_size_panics() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(Kind::Ranks, folder.path());
    has(&frame(&model, &ViewState::default(), [79, 24]), &["The screen has 79 x 24 characters,", "want 80 x 24."]);
    for size in [[1, 1], [80, 24], [81, 25], [120, 40], [119, 39], [300, 24], [80, 100]] {
        for page in Page::ALL {
            let state = ViewState { page, has_help: size[1] == 25, ..ViewState::default() };
            frame(&model, &state, size);
        }
    }
}

#[test]
fn a_terminal_shows_the_same_frame() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(Kind::Foreign, folder.path());
    let want = rendered(&model, &ViewState::default(), [100, 30], Colors::Indexed);
    let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
    terminal.draw(|frame| *frame.buffer_mut() = want.clone()).unwrap();
    terminal.backend().assert_buffer(&want);
}

#[test]
fn damage_and_hostile_names_are_shown_and_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut writer = EventWriter::create(&run, "1.host").unwrap();
    let tag = "grad_norm/odd\u{1b}[2J\u{202e}.weight";
    (0..30).for_each(|step| writer.add(step as f64, step, &[("loss".into(), 1.0), (tag.into(), 0.5)]).unwrap());
    let mut bytes = fs::read(&writer.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&writer.path, bytes).unwrap();
    let model = watch::read(&run, &[]);
    let notes = frame(&model, &page(Page::Findings), [120, 40]);
    has(&notes, &["damaged"]);
    let layers = frame(&model, &page(Page::Layers), [120, 40]);
    has(&layers, &["odd\\u001b[2J\\u202e"]);
    assert!(!layers.contains('\u{1b}') && !layers.contains('\u{202e}'));
}

#[test]
fn a_folder_of_runs_is_a_table_and_marked_runs_share_a_chart() {
    let folder = tempfile::tempdir().unwrap();
    [Kind::Vanishing, Kind::Foreign]
        .into_iter()
        .for_each(|kind| demo::write(kind, &folder.path().join(kind.name()), STEPS));
    let table = watch::read(folder.path(), &[]);
    let plain = frame(&table, &ViewState::default(), [120, 30]);
    has(&plain, &["2 of 2 runs", "vanishing", "CRITICAL the gradient vanishes", "foreign", "No problems found"]);
    let mut state = ViewState::default();
    state.marks.extend([folder.path().join("vanishing"), folder.path().join("foreign")]);
    has(&frame(&table, &state, [120, 30]), &["Loss of the marked runs", "o foreign", "x vanishing", ">*"]);
    let found = ViewState { search: "van".into(), ..ViewState::default() };
    has(&frame(&table, &found, [120, 30]), &["1 of 2 runs"]);
}

#[test]
fn without_data_the_screen_says_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    has(&frame(&watch::read(folder.path(), &[]), &ViewState::default(), [100, 24]), &["contain no event files"]);
    let mut problem = RunModel::default();
    problem.problem = Some("none of its 2 tags is known; map them with --tag".into());
    let unknown = frame(&Model::Run(Arc::new(problem)), &ViewState::default(), [100, 24]);
    has(&unknown, &["NO DATA", "map them with --tag"]);
}

#[test]
fn a_pipe_gets_one_frame_of_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    demo::write(Kind::Vanishing, folder.path(), 50);
    let watch = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gradwatch-doctor")).arg("watch").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let path = folder.path().to_str().unwrap();
    let (code, stdout, stderr) = watch(&[path, "--once", "--width", "80", "--height", "24"]);
    assert_eq!((code, &*stderr, stdout.lines().count()), (Some(0), "", 24));
    assert!(stdout.contains("CRITICAL") && !stdout.contains('\u{1b}'), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let (code, whole, _) = watch(&[path]);
    assert_eq!((code, whole.lines().count()), (Some(0), 40));
    let (code, stdout, stderr) = watch(&["/nonexistent/run"]);
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(12), "", 1));
    assert!(stderr.contains("want a run folder"), "{stderr}");
}

#[test]
fn the_table_tells_verdict_cause_and_change_of_the_selected_run_on_the_smallest_screen() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [Kind::Diverging, Kind::Healthy, Kind::Vanishing] {
        demo::write(kind, &folder.path().join(kind.name()), STEPS);
    }
    let mut odd = EventWriter::create(&folder.path().join("odd"), "1767366245.host.1.0").unwrap();
    odd.add(demo::START, 0, &[("objective/main".to_owned(), 1.0)]).unwrap();
    let model = watch::read(folder.path(), &[]);
    let selected = |name: &str| frame(&model, &ViewState { search: name.into(), ..ViewState::default() }, [80, 24]);
    has(&selected("vanishing"), &["CRITICAL", "cause", "the gradient shrinks", "try", "model.initialization"]);
    has(&selected("diverging"), &["NaN", "CRITICAL the learning rate"]);
    has(&selected("healthy"), &["OK no problems found", "OK       Healthy: no problems found in 200 steps."]);
    // The path is not repeated in the row, and the advice is not cut.
    has(&selected("odd"), &["NO DATA its only tag", "--tag loss=my_loss"]);
}
