//! Names of files, classes, and tags with terminal control characters or invalid text.
#![cfg(unix)]

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use image::GrayImage;
use serde_json::Value;

use crate::harness::hostile::{call, workplace};

const USAGE: i32 = 2;
const PARTIAL: i32 = 9;

/// Whether a text contains no terminal control characters.
fn is_plain(text: &str) -> bool {
    let is_hostile = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !text.contains(is_hostile)
}

const HOSTILE: &str = "x\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\nforged";

#[test]
fn names_do_not_reach_the_terminal_as_commands_or_lines() {
    let (workplace, run) = workplace();
    let images = workplace.path().join("images");
    for class in [HOSTILE, "y"] {
        fs::create_dir_all(images.join(class)).unwrap();
        for number in 0..8u8 {
            GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y) as u8 + number]))
                .save(images.join(class).join(format!("{number}.png")))
                .unwrap();
        }
    }
    fs::write(images.join(HOSTILE).join("bad.png"), "no image").unwrap();
    let data = [
        "data={source=\"folder\", path=\"images\", image_size=8, channels=1, batch_size=4, validation_fraction=0.25, on_bad_image=\"skip\"}",
    ];
    let train = ["train", "small.toml", "--run-name", HOSTILE, "--set", data[0]];
    let trained = call(&workplace, &train);
    assert_eq!(trained.code, Some(PARTIAL), "{trained:#?}");
    let hostile = format!("logs/{HOSTILE}");
    let tell = |text: &str| assert!(is_plain(text) && !text.contains("\nforged"), "{text:?}");
    let all = [
        call(&workplace, &["predict", &hostile, "images"]),
        call(&workplace, &["predict", &hostile, "images", "--format", "json"]),
        call(&workplace, &["evaluate", &hostile]),
        call(&workplace, &["evaluate", &hostile, "--format", "json"]),
        call(&workplace, &["diagnose", &hostile]),
        call(&workplace, &["diagnose", &hostile, "--format", "json"]),
        call(&workplace, &["diagnose", &hostile, "--format", "markdown"]),
        call(&workplace, &["diagnose", &hostile, "--format", "html"]),
        call(&workplace, &["checkpoints", &hostile]),
        call(&workplace, &["checkpoints", &hostile, "--export", HOSTILE]),
        call(&workplace, &["checkpoints", &hostile, "--export", HOSTILE]),
        call(&workplace, &["checkpoints", HOSTILE]),
        call(&workplace, &["check", "small.toml", "--set", data[0]]),
        call(&workplace, &["check", HOSTILE]),
        call(&workplace, &["check", "small.toml", "--set", HOSTILE]),
        call(&workplace, &["models", HOSTILE]),
        call(&workplace, &["explain", &hostile, "images", "--class", HOSTILE]),
        call(&workplace, &[HOSTILE]),
        call(&workplace, &["diagnose", &hostile, "--format", HOSTILE]),
    ];
    for outcome in [&trained].into_iter().chain(&all) {
        tell(&outcome.stderr);
        // HTML may break its lines anywhere.
        let is_page = outcome.stdout.starts_with("<!DOCTYPE html>");
        assert!(is_plain(&outcome.stdout));
        tell(if is_page { "" } else { &outcome.stdout });
    }
    assert_eq!(all[17].code, Some(USAGE), "{:#?}", all[17]);
    assert!(
        all[0].stdout.contains("images/x\\u001b]0;title\\u0007\\u009b2J\\u202e\\u000aforged/0.png"),
        "{:#?}",
        all[0]
    );
    let guesses: Vec<Value> = serde_json::from_str(&all[1].stdout).unwrap();
    assert_eq!(guesses[0]["image"].as_str(), Some(&*format!("images/{HOSTILE}/0.png")));
    let log = fs::read_to_string(workplace.run_folder(HOSTILE).join("train.log")).unwrap();
    tell(&log);
    assert!(log.contains("bad.png"), "{log}");
    // Event files of other programs.
    let writer = gradwatch::events::SummaryWriter::create(workplace.path().join("foreign")).unwrap();
    for step in 0..40u64 {
        writer.scalar("loss/train", step, 2.0).unwrap();
        writer.scalar(format!("loss/{HOSTILE}"), step, 1.0).unwrap();
        writer.scalar(format!("grad_2.0_norm/{HOSTILE}"), step, f64::NAN).unwrap();
    }
    writer.close().unwrap();
    for format in ["text", "json", "markdown", "html"] {
        let outcome = call(&workplace, &["diagnose", "foreign", "--format", format]);
        assert!(outcome.code == Some(0) && outcome.stdout.contains("forged"), "{outcome:#?}");
        assert!(is_plain(&outcome.stdout) && is_plain(&outcome.stderr), "{outcome:#?}");
    }
    drop(run);
}

#[test]
fn a_name_that_is_not_utf_8_is_told_in_every_format() {
    let (workplace, _) = workplace();
    let odd = workplace.path().join(OsStr::from_bytes(b"a\xff b.png"));
    GrayImage::new(8, 8).save(workplace.path().join("plain.png")).unwrap();
    fs::rename(workplace.path().join("plain.png"), &odd).unwrap();
    let odd = OsStr::from_bytes(b"a\xff b.png");
    let arguments = |more: &[&'static str]| {
        let mut all = vec![OsStr::new("predict"), OsStr::new("logs/run"), odd];
        all.extend(more.iter().map(|word: &&'static str| OsStr::new(*word)));
        all
    };
    let json = call(&workplace, &arguments(&["--format", "json"]));
    assert_eq!(json.code, Some(0), "{json:#?}");
    let guess = serde_json::from_str::<Value>(&json.stdout).unwrap()[0].clone();
    assert_eq!((&guess["image"], &guess["image_percent_encoded"]), (&"a\u{fffd} b.png".into(), &"a%FF%20b.png".into()));
    let text = call(&workplace, &arguments(&[]));
    assert!(text.code == Some(0) && text.stdout.starts_with("a\u{fffd} b.png  "), "{text:#?}");
    let [export, run] = ["checkpoints", "logs/run"].map(OsStr::new);
    let exported = call(&workplace, &[export, run, OsStr::new("--export"), OsStr::from_bytes(b"\xfe.safetensors")]);
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    assert!(workplace.path().join(OsStr::from_bytes(b"\xfe.safetensors")).is_file());
}
