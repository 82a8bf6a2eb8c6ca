//! The report of a synthetic run in Chromium: layout, requests, and dark mode.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use gradwatch::{
    config::{RuleName, RuleSetName},
    diagnosis::{Alarm, Evaluation, Evidence, Figure, Finding, FindingState, Observation, RankFacts, Remedy, Severity},
    gradient::{
        DepthProfile, Distribution, GradientStatistics, LayerStatistics, LogHistogram, ParameterUpdate, ProfileSource,
        RankStatistics, RankStep, TensorStatistics,
    },
    picture::Explanation,
    report::{ClassRow, Course, Illustration, Repairs, Report, html},
};

use crate::harness::limit;

const STEPS: u64 = 4000;
const LAYERS: usize = 20;
/// The gradient explodes from this step on, and is not finite from a hundred steps later.
const EXPLOSION: u64 = 3200;

/// A pseudorandom number in [0, 1).
fn noise(seed: u64) -> f64 {
    let bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / f64::from(1 << 24)
}

fn tensor(name: String, norm: f64, zeros: u64) -> TensorStatistics {
    let histogram = LogHistogram::default();
    let (nans, infinities, negative_infinities) = (0, 0, 0);
    let distribution =
        Distribution { mean: 0.0, std: norm, zeros, denormals: 0, nans, infinities, negative_infinities, histogram };
    TensorStatistics { name: name.into(), elements: 4096, norm, max_abs: norm, distribution: Some(distribution) }
}

/// The gradient at a layer: it shrinks toward the input, and less so as the run progresses.
fn size(layer: usize, step: u64) -> f64 {
    let shrink = 0.45 + 0.3 * step as f64 / STEPS as f64;
    let explosion = if step < EXPLOSION { 1.0 } else { 1.12f64.powf((step - EXPLOSION) as f64) };
    let wobble = 0.7 + 0.6 * noise(step * 64 + layer as u64);
    match step.saturating_sub(EXPLOSION) {
        101.. => f64::NAN,
        _ => 0.05 * wobble * shrink.powi((LAYERS - layer) as i32) * explosion,
    }
}

fn parameters(of: impl Fn(usize, bool) -> f64) -> Vec<TensorStatistics> {
    let pair = |layer: usize| {
        let tensor = |kind: &str, is_bias| {
            tensor(format!("layers.{layer}.linear.{kind}"), of(layer, is_bias), 40 * layer as u64)
        };
        [tensor("weight", false), tensor("bias", true)]
    };
    (0..LAYERS).flat_map(pair).collect()
}

fn add_step(course: &mut Course, step: u64) {
    let gradients = parameters(|layer, is_bias| size(layer, step) * if is_bias { 0.2 } else { 1.0 });
    let total_norm = gradients.iter().map(|gradient| gradient.norm.powi(2)).sum::<f64>().sqrt();
    let gradients =
        GradientStatistics { parameters: gradients, total_norm, missing: Vec::new(), backward_order: Vec::new() };
    let is_due = step.is_multiple_of(20);
    let weights = if is_due { parameters(|layer, _| 4.0 + layer as f64) } else { Vec::new() };
    let update = |weight: &TensorStatistics| {
        let layer: usize = weight.name.split('.').nth(1).unwrap().parse().unwrap();
        ParameterUpdate { name: weight.name.clone(), norm: 1.0, update_ratio: 0.03 * size(layer, step) }
    };
    let updates: Vec<_> = weights.iter().map(update).collect();
    let layer = |layer: usize| LayerStatistics {
        layer: format!("layers.{layer}.linear").into(),
        mean: 0.5,
        rms: 0.6,
        nonpositive_fraction: 0.4 + 0.02 * layer as f64,
        saturated_fraction: 0.9 / (layer + 1) as f64,
        dormant_fraction: None,
        gradient_rms: Some(size(layer, step)),
    };
    let layers: Vec<_> = if is_due { (0..LAYERS).map(layer).collect() } else { Vec::new() };
    let sizes = layers.iter().map(|layer| (layer.layer.clone(), layer.gradient_rms.unwrap()));
    let profile = DepthProfile { source: ProfileSource::PreActivations, layers: sizes.collect() };
    let fall = 2.3 * (-(step as f64) / 1500.0).exp() + 0.2;
    let explosion = if step < EXPLOSION { 0.0 } else { 0.02 * (step - EXPLOSION) as f64 };
    course.add(&Observation {
        step,
        loss: if total_norm.is_nan() { f64::NAN } else { fall * (0.85 + 0.3 * noise(step)) + explosion },
        learning_rate: 0.1
            * (step as f64 / 400.0).min(0.5 + 0.5 * (step as f64 * std::f64::consts::PI / STEPS as f64).cos()),
        total_norm,
        gradients: Some(&gradients),
        weights: &weights,
        updates: &updates,
        layers: &layers,
        depth_profile: is_due.then_some(profile),
        ranks: Some(&ranks(step)),
        ..Observation::default()
    });
}

/// Five ranks, of which one is slow.
fn ranks(step: u64) -> RankStatistics {
    let rank = |rank: u64| RankStep {
        images: 32,
        norm: 0.5 + noise(5 * step + rank),
        loss: 2.3,
        busy_secs: 0.1 + 0.02 * noise(7 * step + rank) + if rank == 3 { 0.05 } else { 0.0 },
        loading_secs: 0.01,
        wait_secs: if rank == 3 { 0.0 } else { 0.05 },
    };
    RankStatistics { ranks: (0..5).map(rank).collect(), ..RankStatistics::default() }
}

fn rank_facts(rank: usize) -> RankFacts {
    RankFacts { host: format!("a-host-with-a-name-that-is-very-long-{rank}.example.org"), device: "cuda:0".into() }
}

fn finding(rule: RuleName, severity: Severity, first_step: u64, cause: &str, figure: (&str, f64, &str)) -> Finding {
    let (name, seen, expected) = figure;
    Finding {
        state: FindingState::Open,
        rule,
        severity,
        layers: Vec::new(),
        ranks: Vec::new(),
        first_step,
        last_step: first_step,
        figures: vec![Figure { name: name.into(), seen, expected: expected.into() }],
        cause: cause.into(),
        remedies: Vec::new(),
        evidence: Vec::new(),
        symptoms: Vec::new(),
    }
}

fn remedy(change: &str, why: &str) -> Remedy {
    Remedy { change: change.into(), why: why.into() }
}

fn findings() -> Vec<Finding> {
    let cause = "each layer passes on 0.45 of the gradient that reaches it: sigmoid has a slope of 1/4 at most, so that of \
                 the 20 layers those next to the input hardly learn";
    let figure = ("first layer's gradient over the last layer's", 2.6e-7, "0.01 or more");
    let mut vanishing = finding(RuleName::Vanishing, Severity::Critical, 0, cause, figure);
    vanishing.last_step = 3300;
    vanishing.layers = (0..12).map(|layer| format!("layers.{layer}.linear").into()).collect();
    let more = ("gradient from layer to layer", 0.45, "about 1");
    vanishing.figures.push(Figure { name: more.0.into(), seen: more.1, expected: more.2.into() });
    vanishing.remedies = vec![
        remedy("model.activation = \"relu\"", "its slope is 1 wherever it is on"),
        remedy("model.normalization = \"batch\"", "it keeps the size of what goes through the layers"),
        remedy(
            "model = { name = \"resnet\", depth = 20, activation = \"relu\", normalization = \"batch\", width = 64 }",
            "shortcuts carry the gradient past the layers",
        ),
    ];
    let steps = (0..8).chain(3293..3301);
    vanishing.evidence =
        steps.map(|step| Evidence { step, value: 1e-7 * (1.0 + step as f64 / 9.0) * (0.6 + noise(step)) }).collect();
    vanishing.symptoms = vec![(RuleName::LossPlateau, 199), (RuleName::SlowConvergence, 1200)];
    let cause = "the norm of the gradient rises a hundredfold in 50 steps while the loss rises too";
    let figure = ("total norm over its median", 8.1e4, "10 or less");
    let mut exploding = finding(RuleName::Exploding, Severity::Fatal, 3240, cause, figure);
    exploding.last_step = 3999;
    exploding.remedies = vec![remedy("clipping = { mode = \"norm\", max_norm = 1.0 }", "no step is longer than that")];
    exploding.evidence =
        (3240..3256).map(|step| Evidence { step, value: 1.12f64.powf((step - 3200) as f64) }).collect();
    exploding.symptoms = vec![(RuleName::NonFinite, 3301)];
    let cause = "the most frequent class has 12 times as many images as the rarest";
    let figure = ("most frequent over rarest", 12.0, "10 or less");
    let imbalance = finding(RuleName::LabelImbalance, Severity::Info, 0, cause, figure);
    let cause = "rank 3 takes 45% longer than the others";
    let figure = ("time of rank 3 over the median of the others", 1.45, "below 1.15");
    let mut straggler = finding(RuleName::Straggler, Severity::Warning, 99, cause, figure);
    straggler.ranks = vec![3];
    vec![vanishing, imbalance, exploding, straggler]
}

fn sample() -> Report {
    let mut course = Course::default();
    for step in 0..STEPS {
        add_step(&mut course, step);
        if step % 200 == 199 {
            let train_loss = 2.3 * (-(step as f64) / 1500.0).exp() + 0.25;
            let accuracy = 0.9 - 0.35 * train_loss;
            let (validation_loss, validation_accuracy) = (1.1 * train_loss, accuracy - 0.02 * noise(step));
            let seen = Evaluation {
                step,
                train_loss,
                train_accuracy: accuracy,
                validation_loss,
                validation_accuracy,
                ..Evaluation::default()
            };
            course.add_evaluation(&seen);
        }
    }
    let config = "[run]\nmax_steps = 4000\nseed = 17\n\n[data]\nsource = \"idx\"\npath = \"data/fashion-mnist\"\n\n[model]\n\
                  name = \"mlp\"\nactivation = \"sigmoid\"\ndepth = 20\nwidth = 64\n\n[optimizer]\nlearning_rate = 0.1\n";
    Report {
        withdrawn: Vec::new(),
        title: "MLP of 20 layers on Fashion-MNIST".into(),
        run: "2025-01-31_12-00-00-mlp".into(),
        config: Some(config.into()),
        facts: vec![("time".into(), "3 min 12 s".into()), ("device".into(), "cpu".into())],
        findings: findings(),
        root_cause: Some(2),
        repairs: Repairs::default(),
        alarms: vec![Alarm {
            set: RuleSetName::Sagemaker,
            rule: "VanishingGradient".into(),
            step: 500,
            place: Some("layers.0.linear.weight".into()),
            seen: 3.1e-9,
            bound: 1e-7,
            meaning: "mean |g|".into(),
        }],
        course,
        notes: vec!["699 steps were skipped because a gradient was not finite.".into()],
        not_judged: vec!["Starvation: a run of another program does not say how long it waits for images.".into()],
        ranks: (0..5).map(rank_facts).collect(),
        classes: classes(),
        illustrations: illustrations(),
        steps: STEPS,
    }
}

fn classes() -> Vec<ClassRow> {
    let row = |class: &str, precision, recall| ClassRow {
        class: class.into(),
        images: 1000,
        precision,
        recall,
        f1: 2.0 * precision * recall / (precision + recall),
        average_precision: None,
    };
    vec![
        row("T-shirt/top", 0.81, 0.86),
        row("Trouser", 0.99, 0.97),
        row("a-class-with-a-name-that-is-very-long", 0.78, 0.64),
    ]
}

fn illustrations() -> Vec<Illustration> {
    let pixels: Vec<u8> = (0..28 * 28).map(|pixel| (pixel % 28 * 9) as u8).collect();
    let captions = ["Trouser: predicted Trouser (97 %)".to_owned()];
    let heat = [0.1, 1.0, 0.4, 0.0];
    let picture = Explanation { captions: &captions, pixels: &pixels, shape: [1, 28, 28], heat: &heat, grid: [2, 2] };
    let png = picture.draw().unwrap().png;
    (0..3).map(|number| Illustration { name: format!("0{number}-Trouser"), png: png.clone() }).collect()
}

/// Reports the page's width, overflowing elements, brightness, and requests to the test page around it.
const PROBE: &str = "<script>addEventListener('load', () => setTimeout(() => {\
    document.querySelectorAll('details').forEach(details => { details.open = true; });\
    const inside = element => element.closest('.scroll, pre');\
    const wide = [...document.querySelectorAll('body *')].filter(element => !inside(element)\
        && element.getBoundingClientRect().right > innerWidth + 1);\
    parent.postMessage(JSON.stringify({ width: document.documentElement.scrollWidth, inner: innerWidth,\
        height: document.documentElement.scrollHeight, wide: wide.map(element => element.className || element.tagName),\
        fetched: performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length,\
        plain: [...document.querySelectorAll('.legend li[class]')].filter(line => {\
            const swatch = getComputedStyle(line, '::before');\
            return [swatch.borderTopWidth == '0px' ? swatch.backgroundColor : swatch.borderTopColor].includes('rgba(0, 0, 0, 0)');\
        }).map(line => line.textContent),\
        page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,\
        titled: [...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label')) }), '*'); }, 50));</script>";

struct Browser {
    folder: PathBuf,
}

impl Browser {
    fn run(&self, page: &Path, scheme: u8, window: (u64, u64), more: &str) -> String {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new(env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into()));
        let browser = browser
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--virtual-time-budget=5000"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--window-size={},{}", window.0, window.1))
            .arg(more)
            .arg(page);
        let output = limit::output(browser);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Shows the report in a frame of `width` pixels, because a window is at least 500 wide; returns the measurements
    /// of the page.
    fn look(&self, report: &str, width: u64, scheme: u8, name: &str) -> serde_json::Value {
        let probed = report.replace("</body>", &format!("{PROBE}</body>"));
        fs::write(self.folder.join("probed.html"), probed).unwrap();
        let frame = |height: u64, source: &str| {
            format!(
                "<!DOCTYPE html><style>body{{margin:0}}iframe{{border:0;display:block}}</style><pre id=said></pre>\
                 <script>addEventListener('message', event => {{ said.textContent = '@@' + event.data + '@@'; }})</script>\
                 <iframe src=\"{source}\" width={width} height={height}></iframe>"
            )
        };
        let page = self.folder.join("frame.html");
        fs::write(&page, frame(900, "probed.html")).unwrap();
        let dom = self.run(&page, scheme, (1400, 1000), "--dump-dom");
        let said = dom.split("@@").nth(1).filter(|said| said.starts_with('{')).unwrap_or_else(|| panic!("{dom}"));
        let said: serde_json::Value = serde_json::from_str(&said.replace("&amp;", "&")).unwrap();
        let height = said["height"].as_u64().unwrap();
        fs::write(&page, frame(height, "report.html").replace("<pre id=said></pre>", "")).unwrap();
        let picture = self.folder.join(format!("{name}.png"));
        self.run(&page, scheme, (width.max(500), height), &format!("--screenshot={}", picture.display()));
        said
    }
}

/// Brightness of a color, from 0 to 255.
fn lightness(color: &serde_json::Value) -> u32 {
    let channels = color.as_str().unwrap().split(|character: char| !character.is_ascii_digit());
    let channels: Vec<u32> = channels.filter_map(|channel| channel.parse().ok()).collect();
    (299 * channels[0] + 587 * channels[1] + 114 * channels[2]) / 1000
}

#[test]
#[ignore = "needs chromium: make test-browser"]
fn a_page_fits_any_width_fetches_nothing_and_is_dark_where_that_is_preferred() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    let page = html(&sample());
    assert!(page.len() < 500_000, "{} bytes", page.len());
    assert!(!page.contains("http://") && !page.contains("https://"));
    fs::write(folder.join("report.html"), &page).unwrap();
    let browser = Browser { folder };
    for (width, window) in [(360, "phone"), (1280, "desktop")] {
        for (scheme, is_dark) in [(0, true), (1, false)] {
            let name = format!("{window}-{}", if is_dark { "dark" } else { "light" });
            let said = browser.look(&page, width, scheme, &name);
            assert_eq!((&said["inner"], &said["width"]), (&width.into(), &width.into()), "{name}: {said}");
            assert_eq!(said["wide"], serde_json::json!([]), "{name}: {said}");
            assert_eq!(said["plain"], serde_json::json!([]), "{name}: lines of a legend without their color");
            assert_eq!((&said["fetched"], &said["titled"]), (&0.into(), &true.into()), "{name}: {said}");
            let (paper, ink) = (lightness(&said["page"]), lightness(&said["ink"]));
            assert!(if is_dark { paper < 40 && ink > 200 } else { paper > 240 && ink < 60 }, "{name}: {said}");
        }
    }
    println!("pictures of the page: {}", browser.folder.display());
}
