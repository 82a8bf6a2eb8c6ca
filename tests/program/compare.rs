//! `compare` reads what is there, writes only what it is asked to, and says what it left out.

use std::fs;

use crate::harness::hostile::{call, refuses, without_run};

const RUN: i32 = 6;
const PARTIAL: i32 = 9;
const UNREADABLE: i32 = 12;

#[test]
fn two_runs_are_compared_on_the_terminal_and_on_a_page() {
    let workplace = without_run();
    workplace.train("slow", &[]);
    workplace.train("fast", &["optimizer.learning_rate=0.25"]);
    let list = || {
        let runs = ["slow", "fast"].map(|name| workplace.run_folder(name)).map(|folder| fs::read_dir(folder).unwrap());
        let mut names: Vec<_> = runs.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        names.sort_unstable();
        names
    };
    let before = list();
    let compared = call(&workplace, &["compare", "logs/slow", "logs/fast"]);
    assert_eq!(compared.code, Some(0), "{compared:#?}");
    let rate = compared.stdout.lines().find(|line| line.starts_with("optimizer.learning_rate")).unwrap();
    assert_eq!(rate.split_whitespace().skip(1).collect::<Vec<_>>(), ["0.1", "0.25"]);
    for want in ["final metrics", "best validation accuracy", "slow", "fast"] {
        assert!(compared.stdout.contains(want), "{want}\n{compared:#?}");
    }
    // Without --output, nothing is written.
    assert_eq!(list(), before);

    let written = call(&workplace, &["compare", "logs/slow", "logs/fast", "--output", "page.html"]);
    assert_eq!(written.code, Some(0), "{written:#?}");
    assert!(written.stdout.ends_with("page.html: comparison of the runs\n"), "{written:#?}");
    let page = fs::read_to_string(workplace.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<h3>Step loss</h3>"), "{page}");
    let again = call(&workplace, &["compare", "logs/slow", "logs/fast", "--output", "page.html"]);
    refuses(&again, RUN, &["page.html already exists"]);
    let stdout = call(&workplace, &["compare", "logs/slow", "logs/fast", "--output", "-"]);
    assert_eq!(stdout.code, Some(0), "{stdout:#?}");
    assert_eq!(stdout.stdout, page);
    assert_eq!(list(), before);
}

#[test]
fn a_run_that_cannot_be_read_is_named_and_the_others_are_compared() {
    let workplace = without_run();
    let one = workplace.train("one", &[]);
    workplace.train("two", &[]);
    let compared = call(&workplace, &["compare", "logs/one", "logs/gone", "logs/two"]);
    refuses(&compared, UNREADABLE, &["logs/gone"]);
    assert!(compared.stdout.contains("All configs are the same."), "{compared:#?}");
    let alone = call(&workplace, &["compare", "logs/one", "logs/gone"]);
    refuses(&alone, UNREADABLE, &["logs/gone"]);
    assert_eq!(alone.stdout, "");

    // A flipped bit in the data of the second record.
    let events = crate::harness::event_file(&one);
    let mut bytes = fs::read(&events).unwrap();
    bytes[60] ^= 1;
    fs::write(&events, bytes).unwrap();
    let damaged = call(&workplace, &["compare", "logs/one", "logs/two"]);
    assert_eq!(damaged.code, Some(PARTIAL), "{damaged:#?}");
    assert!(damaged.stdout.contains("note: one: "), "{damaged:#?}");
}
