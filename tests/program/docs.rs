//! Checks that the links of the documentation resolve, and that the commands in it exist with their options.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::harness::{SMALL, Workplace};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All Markdown pages.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "logs", "models", "tests/simcuda", "crates/gradwatch-doctor", "crates/gradwatch-events"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(Path::new(ROOT).join(folder)).unwrap());
    let mut pages: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The link anchor of a heading, as on GitHub.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let found = fs::read_to_string(&target).unwrap();
                let anchors: BTreeSet<String> =
                    found.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
                assert!(anchors.contains(heading), "{}: {link}: no such heading among {anchors:?}", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} links");
}

/// The commands of a page: lines of code blocks, without prompts and comments.
fn commands(text: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            let command = line.trim().trim_start_matches("$ ").split(" #").next().unwrap_or_default().trim();
            found.push(command.trim_start_matches("target/release/").to_owned());
        }
    }
    found
}

#[test]
fn commands_exist_with_their_options() {
    let workplace = Workplace::new(SMALL);
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let mut checked = 0;
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let mut words = command.split_whitespace();
            let told = format!("{}: {command}", page.display());
            match (words.next(), words.next()) {
                (Some("make"), Some(target)) => {
                    assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "{told}");
                }
                // `diagnose` of both programs is the same code.
                (Some("gradwatch" | "gradwatch-doctor"), Some(subcommand)) if !subcommand.starts_with('-') => {
                    let help = workplace.call(&[subcommand, "--help"]);
                    assert_eq!(help.code, Some(0), "{told}: {}", help.stderr);
                    for option in words.filter_map(|word| word.strip_prefix("--")) {
                        let option = option.split('=').next().unwrap_or_default();
                        assert!(help.stdout.contains(&format!("--{option}")), "{told}: no option --{option}");
                    }
                    for config in command.split_whitespace().filter(|word| word.starts_with("configs/")) {
                        assert!(Path::new(ROOT).join(config).exists(), "{told}: no file {config}");
                    }
                }
                (Some("cargo"), Some("bench" | "run")) => {
                    let named = command.split_once("--bench ").or_else(|| command.split_once("--example "));
                    let name = named.map_or("", |(_, name)| name.split_whitespace().next().unwrap_or_default());
                    let is_there = manifest.contains(&format!("name = \"{name}\""))
                        || Path::new(ROOT).join(format!("examples/{name}.rs")).exists();
                    assert!(is_there, "{told}");
                }
                _ => continue,
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} commands");
}
