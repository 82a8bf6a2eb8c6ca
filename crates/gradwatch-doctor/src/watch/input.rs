//! Effects of keys.

use std::path::{Path, PathBuf};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Model, Page, RunModel, TableModel, ViewState, view::table::shown};
use crate::printable;

/// What the screen or the source must do after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Suspend,
    Redraw,
    /// Follow a run of the table.
    Open(PathBuf),
    /// Follow the table again.
    Back,
    /// Put a text on the clipboard.
    Copy(String),
    /// Show a page in a browser.
    Browse(PathBuf),
}

/// Rows by which a page key moves.
const PAGE: isize = 10;

/// Applies a key to the state of the view.
pub(super) fn press(state: &mut ViewState, model: Option<&Model>, key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    state.message = None;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    if state.is_searching {
        search(state, key.code);
        return None;
    }
    if std::mem::take(&mut state.has_help) {
        return None;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::F(10) => return Some(Action::Quit),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => state.has_help = true,
        KeyCode::Char('/') => (state.is_searching, state.search) = (true, String::new()),
        KeyCode::Char('l') => state.is_log = !state.is_log,
        KeyCode::Char('s') => state.smoothing = (state.smoothing + 1) % ViewState::SMOOTHING.len(),
        code => {
            return match model {
                Some(Model::Run(run)) => in_run(state, run, code),
                Some(Model::Table(table)) => in_table(state, table, code),
                None => None,
            };
        }
    }
    None
}

fn search(state: &mut ViewState, code: KeyCode) {
    match code {
        KeyCode::Enter => state.is_searching = false,
        KeyCode::Esc => (state.is_searching, state.search) = (false, String::new()),
        KeyCode::Backspace => _ = state.search.pop(),
        KeyCode::Char(character) => {
            state.search.push(character);
            state.selected = 0;
        }
        _ => {}
    }
}

/// Distance that a key moves the cursor of a list.
fn distance(code: KeyCode) -> Option<isize> {
    match code {
        KeyCode::Up | KeyCode::Char('k') => Some(-1),
        KeyCode::Down | KeyCode::Char('j') => Some(1),
        KeyCode::PageUp => Some(-PAGE),
        KeyCode::PageDown => Some(PAGE),
        KeyCode::Home | KeyCode::Char('g') => Some(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Some(isize::MAX),
        _ => None,
    }
}

fn moved(index: usize, by: isize, count: usize) -> usize {
    let most = count.saturating_sub(1);
    index.min(most).saturating_add_signed(by).min(most)
}

fn in_table(state: &mut ViewState, table: &TableModel, code: KeyCode) -> Option<Action> {
    let rows = shown(table, state);
    if let Some(by) = distance(code) {
        state.selected = moved(state.selected, by, rows.len());
        return None;
    }
    let selected = rows.get(state.selected.min(rows.len().saturating_sub(1)));
    let selected = selected.map(|index| table.runs[*index].path.clone());
    match (code, selected) {
        (KeyCode::Enter, Some(path)) => {
            // The search for a run is none for a layer.
            *state = ViewState {
                page: Page::Overview,
                range: None,
                finding: 0,
                scroll: 0,
                has_table: true,
                ..state.clone()
            };
            state.search.clear();
            return Some(Action::Open(path));
        }
        (KeyCode::Char(' '), Some(path)) => {
            if !state.marks.remove(&path) {
                state.marks.insert(path);
            }
            state.selected = moved(state.selected, 1, rows.len());
        }
        (KeyCode::Char('U'), _) => state.marks.clear(),
        (KeyCode::Esc, _) => state.search.clear(),
        _ => {}
    }
    None
}

fn in_run(state: &mut ViewState, run: &RunModel, code: KeyCode) -> Option<Action> {
    let steps = run.report.course.steps().map_or([0, 0], |(first, last)| [first, last]);
    match code {
        KeyCode::Esc if !state.search.is_empty() => state.search.clear(),
        KeyCode::Esc | KeyCode::Backspace if state.has_table => {
            (state.search, state.range, state.has_table) = (String::new(), None, false);
            return Some(Action::Back);
        }
        KeyCode::Tab => turn(state, state.page.next(1)),
        KeyCode::BackTab => turn(state, state.page.next(-1)),
        KeyCode::Char(number @ '1'..='5') => turn(state, Page::ALL[number as usize - '1' as usize]),
        KeyCode::Char('+' | '=') => state.zoom(steps, 0.5),
        KeyCode::Char('-') => state.zoom(steps, 2.0),
        KeyCode::Left | KeyCode::Char('<') => state.pan(steps, -0.25),
        KeyCode::Right | KeyCode::Char('>') => state.pan(steps, 0.25),
        KeyCode::Char('0') => state.range = None,
        KeyCode::Char('m') => state.heat = state.heat.next(),
        KeyCode::Char('r') => state.remedy += 1,
        KeyCode::Char('y') => return copy(state, run),
        KeyCode::Char('o') => return browse(state, run),
        code => {
            let by = distance(code)?;
            let findings = run.report.findings.len();
            let is_page = matches!(code, KeyCode::PageDown | KeyCode::PageUp);
            if state.page == Page::Findings && findings > 1 && !is_page {
                (state.finding, state.remedy, state.scroll) = (moved(state.finding, by, findings), 0, 0);
            } else {
                state.scroll = moved(state.scroll, by, 1000);
            }
        }
    }
    None
}

fn turn(state: &mut ViewState, page: Page) {
    (state.page, state.scroll) = (page, 0);
}

/// Copies the selected change of the selected finding.
fn copy(state: &mut ViewState, run: &RunModel) -> Option<Action> {
    let ranked = run.report.ranked();
    let finding = ranked.get(state.finding.min(ranked.len().saturating_sub(1)));
    let remedy = finding.and_then(|finding| finding.remedies.get(state.remedy % finding.remedies.len().max(1)));
    let Some(remedy) = remedy else {
        state.message = Some("nothing to copy: no finding recommends a change".into());
        return None;
    };
    let change = printable::line(&remedy.change.to_string()).into_owned();
    state.message = Some(format!("copied (if the terminal supports OSC 52): {change}"));
    Some(Action::Copy(change))
}

/// Shows the report, or tells how to write it.
fn browse(state: &mut ViewState, run: &RunModel) -> Option<Action> {
    let quoted = |path: &Path| printable::path(path);
    match &run.page {
        Some(page) => {
            state.message = Some(format!("report: {}", quoted(page)));
            Some(Action::Browse(page.clone()))
        }
        None => {
            state.message = Some(format!(
                "no report yet; write one: gradwatch-doctor diagnose {} --format html --output report.html",
                quoted(&run.path)
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::{finding, report},
        watch::{HeatKind, RunSummary},
    };

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn run() -> Model {
        let findings = vec![
            finding(RuleName::Vanishing, Severity::Critical, 5),
            finding(RuleName::DeadRelu, Severity::Warning, 9),
        ];
        Model::Run(Arc::new(RunModel { path: "logs/a".into(), report: report(101, findings), ..RunModel::default() }))
    }

    fn table(names: &[&str]) -> Model {
        let row = |name: &&str| RunSummary {
            path: format!("logs/{name}").into(),
            name: (*name).into(),
            ..RunSummary::default()
        };
        Model::Table(Arc::new(TableModel { runs: names.iter().map(row).collect(), ..TableModel::default() }))
    }

    fn press_all(state: &mut ViewState, model: &Model, codes: &[KeyCode]) -> Vec<Action> {
        codes.iter().filter_map(|code| press(state, Some(model), key(*code))).collect()
    }

    #[test]
    fn control_keys_work_everywhere_even_while_searching() {
        let mut state = ViewState { is_searching: true, has_help: true, ..ViewState::default() };
        for (letter, want) in [('c', Action::Quit), ('z', Action::Suspend), ('l', Action::Redraw)] {
            let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            assert_eq!(press(&mut state, None, key), Some(want));
        }
        assert_eq!(press(&mut state, None, key(KeyCode::Char('q'))), None);
        assert_eq!(state.search, "q");
    }

    #[test]
    fn any_key_closes_the_help_and_does_nothing_else() {
        let mut state = ViewState::default();
        press(&mut state, None, key(KeyCode::Char('?')));
        assert!(state.has_help);
        assert_eq!(press(&mut state, None, key(KeyCode::Char('q'))), None);
        assert!(!state.has_help);
        assert_eq!(press(&mut state, None, key(KeyCode::Char('q'))), Some(Action::Quit));
    }

    #[test]
    fn runs_are_searched_marked_and_opened() {
        let (mut state, model) = (ViewState::default(), table(&["cnn-1", "mlp", "cnn-2"]));
        let typed = ['/', 'c', 'n', 'x'].map(KeyCode::Char);
        press_all(&mut state, &model, &[&typed[..], &[KeyCode::Backspace, KeyCode::Enter]].concat());
        assert_eq!((&*state.search, state.is_searching), ("cn", false));
        let actions = press_all(&mut state, &model, &[KeyCode::Char(' '), KeyCode::Enter]);
        assert_eq!(state.marks.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(), ["logs/cnn-1"]);
        assert_eq!((actions, state.has_table, &*state.search), (vec![Action::Open("logs/cnn-2".into())], true, ""));
        assert_eq!(press_all(&mut state, &run(), &[KeyCode::Esc]), [Action::Back]);
        press_all(&mut state, &model, &[KeyCode::Home, KeyCode::Up, KeyCode::PageDown, KeyCode::Char('U')]);
        assert_eq!((state.selected, state.marks.len()), (2, 0));
    }

    #[test]
    fn keys_of_a_run_change_what_it_shows() {
        let (mut state, model) = (ViewState::default(), run());
        let keys = ['3', 'm', 'l', 's', 's', '+', '<', 'r'].map(KeyCode::Char);
        assert_eq!(press_all(&mut state, &model, &keys), []);
        assert_eq!((state.page, state.heat, state.is_log), (Page::Layers, HeatKind::UpdateRatio, true));
        // Half of steps 0 to 100, moved by a quarter of the half, 12.5 steps.
        assert_eq!((state.smoothing, state.range, state.remedy), (2, Some([37, 87]), 1));
        press_all(&mut state, &model, &[KeyCode::Char('0'), KeyCode::BackTab]);
        assert_eq!((state.range, state.page), (None, Page::Curves));
        // Without a table, Esc does not leave the run.
        assert_eq!(press_all(&mut state, &model, &[KeyCode::Esc]), []);
    }

    #[test]
    fn the_change_of_the_selected_finding_is_copied_and_shown() {
        let (mut state, model) = (ViewState::default(), run());
        let copied = press_all(&mut state, &model, &['4', 'r', 'y'].map(KeyCode::Char));
        assert_eq!(copied, [Action::Copy("model.normalization = \"batch\"".into())]);
        assert!(state.message.as_ref().unwrap().ends_with("model.normalization = \"batch\""), "{state:?}");
        press_all(&mut state, &model, &[KeyCode::Down]);
        assert_eq!((state.finding, state.remedy, state.message.clone()), (1, 0, None));
        let healthy = Model::Run(Arc::new(RunModel::default()));
        assert_eq!(press_all(&mut state, &healthy, &[KeyCode::Char('y')]), []);
        assert!(state.message.unwrap().starts_with("nothing to copy"));
    }

    #[test]
    fn the_report_is_shown_or_the_command_for_it() {
        let mut state = ViewState::default();
        assert_eq!(press_all(&mut state, &run(), &[KeyCode::Char('o')]), []);
        assert!(state.message.as_ref().unwrap().contains("diagnose logs/a --format html --output report.html"));
        let page = PathBuf::from("logs/a/report.html");
        let model = Model::Run(Arc::new(RunModel { page: Some(page.clone()), ..RunModel::default() }));
        assert_eq!(press_all(&mut state, &model, &[KeyCode::Char('o')]), [Action::Browse(page)]);
    }
}
