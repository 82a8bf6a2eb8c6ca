//! Invalid input: one clear line for each problem, a specific exit code, no partial output.

use std::{fs, path::Path};

use crate::harness::{Outcome, SMALL, Workplace};

const CONFIG: i32 = 3;
const DATA: i32 = 4;
const MODEL: i32 = 5;
const RUN: i32 = 6;
const DEVICE: i32 = 7;

/// Checks that the program fails with this exit code and one message that contains all of `want`, and creates no run
/// folder. The message is one line, or a list of several problems.
fn refuses(workplace: &Workplace, arguments: &[&str], code: i32, want: &[&str]) -> Outcome {
    let outcome = workplace.call(arguments);
    assert_eq!(outcome.code, Some(code), "{arguments:?}: {outcome:#?}");
    let is_message = |line: &str| line.starts_with("gradwatch: ");
    assert_eq!(outcome.stderr.lines().filter(|line| is_message(line)).count(), 1, "{outcome:#?}");
    let mut lines = outcome.stderr.lines().skip_while(|line| !is_message(line));
    let first = lines.next().unwrap_or_default();
    let listed: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).collect();
    assert_eq!(first.ends_with(" problems:"), listed.len() > 1, "{outcome:#?}");
    let message = [&[first], &listed[..]].concat().join("\n");
    for want in want {
        assert!(message.contains(want), "{want:?} is not in {message:?}");
    }
    assert!(!workplace.path().join("logs").exists(), "something was written");
    outcome
}

fn with(settings: &[&str]) -> Vec<String> {
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
    ["train", "small.toml"].map(String::from).into_iter().chain(settings).collect()
}

fn refuses_settings(settings: &[&str], code: i32, want: &[&str]) {
    let arguments = with(settings);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    refuses(&Workplace::new(SMALL), &arguments, code, want);
}

#[test]
fn wrong_keys_types_and_ranges_are_all_told_at_once_with_the_nearest_right_name() {
    refuses_settings(
        &["optimizer.lr=0.1", "run.seeed=1", "data.batch_size=0", "model.dropout=\"much\"", "schedul.name=\"step\""],
        CONFIG,
        &[
            "config small.toml has 5 problems:\n  data.batch_size: got 0, ",
            "\n  optimizer.lr: unknown key; did you mean optimizer.learning_rate?\n",
            "run.seeed: unknown key; did you mean run.seed?",
            "data.batch_size: got 0, want an integer from 1",
            "model.dropout: got \"much\", want a number",
            "schedul: unknown key; did you mean schedule?",
        ],
    );
}

#[test]
fn a_missing_file_a_folder_and_no_toml_are_refused() {
    let workplace = Workplace::new("run = [");
    refuses(&workplace, &["train", "nothing.toml"], CONFIG, &["nothing.toml"]);
    refuses(&workplace, &["train", "."], CONFIG, &["config .:"]);
    refuses(&workplace, &["check", "small.toml"], CONFIG, &["small.toml is not valid TOML: line 1"]);
    fs::write(workplace.path().join("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    refuses(&workplace, &["train", "binary.toml"], CONFIG, &["binary.toml"]);
}

#[test]
fn a_command_line_that_means_nothing_is_clap_s_own_code_2() {
    let workplace = Workplace::new(SMALL);
    for arguments in [&["trian"][..], &["train"], &["train", "small.toml", "--max-steps", "-3"]] {
        assert_eq!(workplace.call(arguments).code, Some(2), "{arguments:?}");
    }
    let set = "want KEY=VALUE, e.g. optimizer.learning_rate=0.01";
    let nearest = "no config key matches \"optimizer.lr\"; did you mean \"optimizer.learning_rate\"?";
    for (arguments, want) in [
        (&["train", "small.toml", "--set", "seed"][..], set),
        (&["models", "mlp", "--set", "=1"], set),
        (&["predict", "logs/run", "--set", "data.path", "images"], set),
        (&["train", "small.toml", "--allow-change", "optimizer.lr"], nearest),
        (&["resume", "logs/run", "--allow-change", "nosuch"], "no config key matches \"nosuch\"; configs/"),
    ] {
        let outcome = workplace.call(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:#?}");
        assert!(outcome.stderr.contains(want), "{outcome:#?}");
    }
}

#[test]
fn sizes_a_model_cannot_take_are_refused() {
    refuses_settings(&["model={name=\"vgg11\"}"], MODEL, &["vgg11", "8x8", "at least"]);
    refuses_settings(&["model={name=\"resnet8\", depth=3}"], MODEL, &["model.depth", "resnet8"]);
    refuses_settings(
        &["data.image_size=16", "model={name=\"lenet5\", residual=true}"],
        MODEL,
        &["model.residual", "lenet5"],
    );
}

#[test]
fn a_last_batch_of_one_image_that_cannot_be_normalised_is_refused_before_training() {
    // 268 images in batches of 89 leave one image.
    let mlp = "model={name=\"mlp\", normalization=\"batch\"}";
    refuses_settings(&[mlp, "data.batch_size=89"], CONFIG, &["268 images in batches of 89", "data.drop_last = true"]);
    refuses_settings(&[mlp, "data.batch_size=1"], CONFIG, &["every batch has one image", "raise data.batch_size"]);
    let single = ["data.batch_size=1", "data.drop_last=true"];
    refuses_settings(&[&[mlp], &single[..]].concat(), CONFIG, &["every batch has one image"]);
    // 268 images in batches of 38 leave two images, whose halves have one image each.
    let halves = ["data.batch_size=38", "monitor.noise_scale_every_steps=1"];
    refuses_settings(&[&[mlp], &halves[..]].concat(), CONFIG, &["half of a batch has one image", "noise_scale"]);
    // Maps of 8 x 8 have a variance of their own, and layer normalization needs only one image.
    let workplace = Workplace::new(SMALL);
    let max_steps = ["run.max_steps=2", "checkpoint.every_epochs=0", "data.batch_size=1"];
    workplace.train("maps", &max_steps);
    workplace.train("layer", &[&["model={name=\"mlp\", normalization=\"layer\"}"], &max_steps[..]].concat());
}

#[test]
fn a_model_beyond_memory_is_one_line() {
    refuses_settings(&["model={name=\"mlp\", width=1048576}"], MODEL, &["model.width"]);
}

#[test]
fn numbers_that_f32_cannot_hold_and_a_schedule_without_a_length_are_refused() {
    refuses_settings(&["optimizer.learning_rate=1e300"], CONFIG, &["optimizer.learning_rate: got 1e300"]);
    let schedule = "schedule={name=\"cosine\"}";
    let workplace = Workplace::new(&SMALL.replace("max_epochs = 2", "max_minutes = 1"));
    let arguments = ["train", "small.toml", "--set", schedule];
    refuses(&workplace, &arguments, CONFIG, &["schedule.name: got cosine", "run.max_epochs or run.max_steps"]);
}

#[test]
fn class_weights_of_another_number_of_classes_are_refused() {
    refuses_settings(
        &["loss={class_balance=\"given\", class_weights=[1.0, 2.0]}"],
        CONFIG,
        &["loss.class_weights: got 2 weights, want 4"],
    );
}

#[test]
fn devices_that_are_not_there_are_refused() {
    refuses_settings(&["run.device=tpu"], DEVICE, &["\"tpu\"", "auto, cpu, cuda, or cuda:N"]);
    refuses_settings(&["run.device=\"cuda:63\""], DEVICE, &["cuda:63", "run.device = \"cpu\"", "make setup CUDA=1"]);
}

#[test]
fn a_used_an_unwritable_and_a_wandering_run_folder_are_refused() {
    let workplace = Workplace::new(SMALL);
    let run = workplace.train("run", &["run.max_steps=1"]);
    let before: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(RUN), "{outcome:#?}");
    assert!(outcome.stderr.contains("logs/run is already used; choose another --run-name"), "{outcome:#?}");
    assert_eq!(fs::read_dir(&run).unwrap().count(), before.len());

    // /proc rejects new folders, even from root.
    refuses_settings(&["run.logdir=/proc/logs"], RUN, &["/proc/logs/", "cannot be created", "run.logdir"]);
    let outcome = Workplace::new(SMALL).call(&["train", "small.toml", "--run-name", "../elsewhere"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("the name of one folder, without slashes"), "{outcome:#?}");
}

/// An IDX file: magic, sizes, then the data.
fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn write_mnist(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (split, count) in [("train", 20u32), ("t10k", 10)] {
        let pixels: Vec<u8> = (0..count * 64).map(|index| (index * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
        fs::write(folder.join(format!("{split}-images-idx3-ubyte")), idx(&[count, 8, 8], &pixels)).unwrap();
        fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), idx(&[count], &labels)).unwrap();
    }
}

#[test]
fn missing_truncated_wrong_and_mislabelled_data_files_are_named() {
    let toml = "run = { max_epochs = 1, threads = 1 }\ndata = { source = \"idx\", path = \"mnist\", batch_size = 4 }\n\
                model = { name = \"mlp\", width = 8, depth = 1 }";
    let workplace = Workplace::new(toml);
    let train = ["train", "small.toml"];
    refuses(&workplace, &train, DATA, &["mnist", "does not exist", "data.path"]);

    let folder = workplace.path().join("mnist");
    let damage = |file: &str, change: &dyn Fn(&mut Vec<u8>), want: &[&str]| {
        write_mnist(&folder);
        let path = folder.join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        refuses(&workplace, &train, DATA, &[&[file], want].concat());
    };
    damage("train-images-idx3-ubyte", &|bytes| bytes.truncate(500), &["truncated", "got 500 bytes", "want 1296"]);
    damage("t10k-labels-idx1-ubyte", &|bytes| bytes[3] = 9, &["magic"]);
    damage("train-labels-idx1-ubyte", &|bytes| bytes[8 + 7] = 200, &["label 7 of", "is 200", "want 0..=9"]);
    write_mnist(&folder);
    fs::remove_file(folder.join("t10k-images-idx3-ubyte")).unwrap();
    refuses(&workplace, &train, DATA, &["t10k-images-idx3-ubyte", "does not exist"]);

    write_mnist(&folder);
    assert_eq!(workplace.call(&train).code, Some(0));
}

#[test]
fn an_image_that_does_not_decode_stops_the_run_or_is_named_and_left_out() {
    let toml = "run = { max_epochs = 1, threads = 1 }\n\
                data = { source = \"folder\", path = \"images\", image_size = 8, channels = 1, batch_size = 4, \
                validation_fraction = 0.4 }\nmodel = { name = \"mlp\", width = 8, depth = 1 }";
    let workplace = Workplace::new(toml);
    for class in ["cat", "dog"] {
        let folder = workplace.path().join("images").join(class);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..10u8 {
            let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y) as u8 * 3 + index]));
            image.save(folder.join(format!("{index}.png"))).unwrap();
        }
    }
    fs::write(workplace.path().join("images/dog/3.png"), "no picture").unwrap();
    let stopped = workplace.call(&["train", "small.toml", "--run-name", "stop"]);
    assert_eq!(stopped.code, Some(DATA), "{stopped:#?}");
    assert!(stopped.stderr.contains("dog/3.png"), "{stopped:#?}");
    let skipped = workplace.call(&["train", "small.toml", "--run-name", "skip", "--set", "data.on_bad_image=skip"]);
    assert_eq!(skipped.code, Some(9), "{skipped:#?}");
    assert_eq!(skipped.stderr.matches("dog/3.png").count(), 1, "{skipped:#?}");
    for index in 0..10 {
        for class in ["cat", "dog"] {
            fs::write(workplace.path().join(format!("images/{class}/{index}.png")), "").unwrap();
        }
    }
    let settings = ["--set", "data.on_bad_image=skip", "--set", "data.normalize=none", "--set", "run={max_steps=5}"];
    let nothing = workplace.call(&[&["train", "small.toml", "--run-name", "nothing"], &settings[..]].concat());
    assert_eq!(nothing.code, Some(DATA), "{nothing:#?}");
    assert!(nothing.stderr.contains("no training image decodes"), "{nothing:#?}");
    assert!(skipped.stderr.contains("skipped 1 image that could not be decoded"), "{skipped:#?}");
}
