//! Datasets as users have them: files that do not decode, paths that are not files, and files in unexpected places.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Command,
};

use crate::harness::{Workplace, hostile::make_pipe, limit};

const FOLDER: &str = "run = { max_epochs = 1, threads = 1 }\n\
                      data = { source = \"folder\", path = \"images\", image_size = 8, channels = 1, batch_size = 4, \
                      validation_fraction = 0.25, split_by = \"position\" }\nmodel = { name = \"mlp\", width = 8, depth = 1 }";

/// Eight images of each class, under `part`.
fn write_classes(workplace: &Workplace, part: &str) {
    for (number, class) in [30, 200].into_iter().zip(["cat", "dog"]) {
        let folder = workplace.path().join(part).join(class);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..8u8 {
            let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([number + (x * y) as u8 % 7 * 3 + index]));
            image.save(folder.join(format!("{index}.png"))).unwrap();
        }
    }
}

const SKIP: [&str; 2] = ["--set", "data.on_bad_image=skip"];

#[test]
fn a_class_that_does_not_decode_is_a_critical_finding_also_after_a_resume_and_in_diagnose() {
    let workplace = Workplace::new(FOLDER);
    write_classes(&workplace, "images");
    for index in 0..8 {
        fs::write(workplace.path().join(format!("images/cat/{index}.png")), "no picture").unwrap();
    }
    let trained = workplace.call(&[&["train", "small.toml", "--run-name", "run"], &SKIP[..]].concat());
    assert_eq!(trained.code, Some(9), "{trained:#?}");
    assert!(trained.stdout.contains("cannot succeed with these settings: images do not decode"), "{trained:#?}");
    let lost = "class cat has lost all of its 6 training images, class cat has lost all of its 2 validation images";
    assert!(trained.stderr.contains(&format!("lost_images (critical) since step 3: {lost}")), "{trained:#?}");
    // Each file once, in one line that does not suggest a setting already in effect.
    assert_eq!(trained.stderr.matches("cannot be decoded and is skipped").count(), 8, "{trained:#?}");
    assert!(!trained.stderr.contains("data.on_bad_image = \"skip\""), "{trained:#?}");

    // The rest of the run reads the images again, and neither counts nor names them twice.
    let resumed = workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=2"]);
    assert_eq!(resumed.code, Some(9), "{resumed:#?}");
    assert!(
        resumed.stdout.contains(lost) && resumed.stderr.contains("skipped 8 images that could not be decoded"),
        "{resumed:#?}"
    );
    let diagnosed = workplace.call(&["diagnose", "logs/run"]);
    assert!(diagnosed.stdout.contains(lost), "{diagnosed:#?}");
    assert!(
        fs::read_to_string(workplace.run_folder("run").join("report.html")).unwrap().contains(&lost[1..]),
        "of a sentence with a capital"
    );

    let evaluated = workplace.call(&["evaluate", "logs/run"]);
    assert_eq!(evaluated.code, Some(9), "{evaluated:#?}");
    assert!(
        evaluated.stdout.contains("2 images from images (2 more cannot be decoded and are skipped)"),
        "{evaluated:#?}"
    );
    assert!(evaluated.stderr.contains("class cat has lost all of its 2 evaluated images"), "{evaluated:#?}");
}

#[test]
fn a_class_that_shrinks_is_a_warning_and_a_split_that_is_gone_an_error() {
    let workplace = Workplace::new(FOLDER);
    for part in ["images/train", "images/val"] {
        write_classes(&workplace, part);
    }
    for index in 0..5 {
        fs::write(workplace.path().join(format!("images/train/cat/{index}.png")), "no picture").unwrap();
    }
    let trained = workplace.call(&[&["train", "small.toml", "--run-name", "run"], &SKIP[..]].concat());
    assert_eq!(trained.code, Some(9), "{trained:#?}");
    assert!(trained.stderr.contains("lost_images (warning)"), "{trained:#?}");
    assert!(trained.stderr.contains("class cat has lost 5 of its 8 training images"), "{trained:#?}");
    for class in ["cat", "dog"] {
        for index in 0..8 {
            fs::write(workplace.path().join(format!("images/val/{class}/{index}.png")), "no picture").unwrap();
        }
    }
    let gone = workplace.call(&[&["train", "small.toml", "--run-name", "gone"], &SKIP[..]].concat());
    assert_eq!(gone.code, Some(4), "{gone:#?}");
    assert!(gone.stderr.contains("gradwatch: no validation image decodes"), "{gone:#?}");
    assert!(!workplace.run_folder("gone").exists());
}

#[test]
fn pipes_and_devices_are_told_and_never_waited_for() {
    let workplace = Workplace::new(FOLDER);
    write_classes(&workplace, "images");
    make_pipe(&workplace.path().join("images/cat/pipe.png"));
    std::os::unix::fs::symlink("/dev/zero", workplace.path().join("images/cat/zero.png")).unwrap();
    let trained = limit::output(&mut workplace.command(&["train", "small.toml", "--run-name", "run"]));
    let stderr = String::from_utf8(trained.stderr).unwrap();
    assert_eq!(trained.status.code(), Some(0), "{stderr}");
    let told = "images: skipped 2 entries: 2 pipes, devices, and sockets (first images/cat/pipe.png)";
    assert!(stderr.contains(told), "{stderr}");

    let pictures = ["images/cat/pipe.png", "images/cat/zero.png", "images/dog/1.png"];
    for command in ["predict", "explain"] {
        let output = limit::output(&mut workplace.command(&[&[command, "logs/run"], &pictures[..]].concat()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        match command {
            "predict" => assert_eq!(output.status.code(), Some(9), "{stderr}"),
            // An MLP has no feature maps to explain.
            _ => assert_eq!(output.status.code(), Some(5), "{stderr}"),
        }
        if command == "predict" {
            assert!(stderr.contains("pipe.png cannot be decoded and is skipped: it is a pipe"), "{stderr}");
            assert!(stderr.contains("skipped 2 of 3 images that cannot be decoded"), "{stderr}");
        }
    }

    let rows =
        "path,label\n/dev/zero,a\nimages/dog/1.png,a\nimages/dog/2.png,a\nimages/cat/1.png,b\nimages/cat/2.png,b\n";
    fs::write(workplace.path().join("list.csv"), rows).unwrap();
    let manifest = ["--set", "data.source=csv", "--set", "data.path=list.csv"];
    let listed = limit::output(&mut workplace.command(&[&["check", "small.toml"], &manifest[..]].concat()));
    let stderr = String::from_utf8(listed.stderr).unwrap();
    assert_eq!(listed.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("list.csv: 1 of 5 images cannot be read, first /dev/zero"), "{stderr}");
    let listed = limit::output(&mut workplace.command(&[&["check", "small.toml"], &manifest[..], &SKIP].concat()));
    let stderr = String::from_utf8(listed.stderr).unwrap();
    assert_eq!(listed.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("1 of 5 images cannot be read and are skipped"), "{stderr}");
    let piped = workplace.path().join("pipe.csv");
    make_pipe(&piped);
    let manifest = ["--set", "data.source=csv", "--set", "data.path=pipe.csv"];
    let listed = limit::output(&mut workplace.command(&[&["check", "small.toml"], &manifest[..]].concat()));
    let stderr = String::from_utf8(listed.stderr).unwrap();
    assert!(listed.status.code() == Some(4) && stderr.contains("it is a pipe, not a regular file"), "{stderr}");
}

#[test]
fn a_run_of_the_first_edition_keeps_its_images() {
    let workplace = Workplace::new(FOLDER);
    write_classes(&workplace, "images");
    for class in ["cat", "dog"] {
        let folder = workplace.path().join("images").join(class);
        fs::create_dir(folder.join("more")).unwrap();
        fs::rename(folder.join("0.png"), folder.join("more/0.png")).unwrap();
    }
    let run = workplace.train("old", &["data.edition=1"]);
    let resumed = workplace.call(&["resume", "logs/old", "--set", "run.max_epochs=2"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert!(resumed.stderr.contains("2 images in subfolders of class folders"), "{resumed:#?}");
    // The requeued config does not state the edition of the run.
    let queued = ["train", "small.toml", "--run-name", "old", "--resume", "auto", "--set", "run.max_epochs=3"];
    let queued = workplace.call(&queued);
    assert_eq!(queued.code, Some(0), "{queued:#?}");
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().contains("edition = 1"));
    let fresh = workplace.call(&["train", "small.toml", "--run-name", "new"]);
    assert!(fresh.stderr.contains("12 training and 4 validation images"), "{fresh:#?}");
    assert!(fresh.stderr.contains("2 images in subfolders of class folders"), "{fresh:#?}");
}

#[test]
fn tests_that_choose_the_weights_are_told() {
    let workplace = Workplace::new(FOLDER);
    for part in ["images/Train", "images/Test"] {
        write_classes(&workplace, part);
    }
    let trained = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(trained.code, Some(0), "{trained:#?}");
    assert_eq!(
        trained.stderr.matches("using Test/ for validation, because there are no validation images").count(),
        1,
        "{trained:#?}"
    );
    assert!(trained.stderr.contains("16 training and 16 validation images of 2 classes"), "{trained:#?}");
}

#[test]
fn a_signal_while_images_are_made_or_read_ends_the_process_at_once() {
    let workplace = Workplace::new(FOLDER);
    // Drawing some 20 MB takes a second; these are 500 MB.
    let large = ["data.source=synthetic", "data.samples=2000000", "data.image_size=16"];
    let settings: Vec<&str> = large.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut child = workplace.start(&[&["train", "small.toml"], &settings[..]].concat());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("generating 2000000 synthetic images of 1x16x16: 0.6 GB of memory")));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!workplace.path().join("logs").exists());
}
