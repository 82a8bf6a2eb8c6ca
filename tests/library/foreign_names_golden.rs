//! Files with the parameter names of torchvision, timm, and transformers, loaded into gradwatch's models:
//! `golden/foreign_names.py` generates and documents `golden/foreign_names.json`.

use std::{fs, path::Path};

use gradwatch::{
    config::{Architecture, ModelConfig, Normalization},
    data::ImageShape,
    model::{
        self, Network, Pass,
        weights::{Library, LoadReport, WeightsError, load_into, save},
    },
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::harness::{
    error, exclusive,
    golden_model::{TOLERANCE, build, floats, images, state, values, weights},
};

const SHAPE: [i64; 4] = [2, 3, 32, 32];

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/foreign_names.json")).unwrap()
}

fn config(case: &str) -> ModelConfig {
    let architecture = case.split(' ').nth(1).unwrap();
    let width = match architecture {
        "vgg11" => Some(2),
        "convnext_tiny" => Some(4),
        "mobilenet_v3_small" | "mobilenet_v3_large" => None,
        "vit_tiny" | "deit_tiny" => Some(128),
        _ => Some(8),
    };
    let patch_size = width.filter(|width| *width == 128).map(|_| 8);
    let config = ModelConfig { width, patch_size, ..ModelConfig::as_published(architecture.parse().unwrap()) };
    if architecture == "vgg11" { ModelConfig { normalization: Normalization::Batch, ..config } } else { config }
}

/// `fnv1a` of `foreign_names.py`, 32 bits.
fn fnv1a(name: &str) -> u64 {
    let byte = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(name.bytes().fold(0x811C_9DC5, byte))
}

/// The tensors that `tree` of `foreign_names.py` recorded, with generated values.
fn grow(tree: &Value, path: &str, tensors: &mut Vec<(String, Tensor)>) {
    let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut leaf = |name: String, sides: &str| {
        let shape: Vec<i64> = sides.split('x').map(|side| side.parse().unwrap()).collect();
        let tensor = weights(fnv1a(&name), &name, &shape);
        tensors.push((name, tensor));
    };
    match tree {
        Value::String(line) => match (line.strip_prefix("batch "), line.split_once(" + ")) {
            (Some(channels), _) => {
                for name in ["weight", "bias", "running_mean", "running_var"] {
                    leaf(under(name), channels);
                }
                tensors.push((under("num_batches_tracked"), Tensor::zeros([0i64; 0], (Kind::Int64, Device::Cpu))));
            }
            (_, Some((weight, bias))) => {
                leaf(under("weight"), weight);
                leaf(under("bias"), bias);
            }
            _ => leaf(path.to_owned(), line),
        },
        tree => {
            for (names, inside) in tree.as_object().unwrap() {
                names.split(',').for_each(|name| grow(inside, &under(name), tensors));
            }
        }
    }
}

fn file(case: &str) -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    grow(&golden()["cases"][case]["names"], "", &mut tensors);
    tensors
}

fn load(tensors: &[(String, Tensor)], network: &Network, is_strict: bool) -> Result<LoadReport, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.safetensors");
    Tensor::write_safetensors(tensors, &path).unwrap();
    load_into(network, &path, is_strict)
}

/// A gradwatch model in float64.
fn double(config: &ModelConfig) -> Network {
    let network = build(config, &SHAPE);
    for parameter in &network.parameters {
        let tensor = &parameter.tensor;
        if tensor.kind() == Kind::Float {
            tensor.shallow_clone().set_data(&tensor.detach().to_kind(Kind::Double));
        }
    }
    network
}

fn logits(network: &Network, images: &Tensor) -> Vec<f64> {
    values(&tch::no_grad(|| network.forward(images, &Pass::evaluation()).unwrap()))
}

#[test]
fn files_of_other_libraries_give_the_logits_of_their_models() {
    let _alone = exclusive();
    let golden = golden();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 18);
    for (case, want) in cases {
        let network = double(&config(case));
        let report = load(&file(case), &network, true).unwrap_or_else(|error| panic!("{case}: {error}"));
        let from = match case.split(' ').next().unwrap() {
            _ if case == "timm densenet121" => None,
            "torchvision" => Some(Library::Torchvision),
            "timm" => Some(Library::Timm),
            _ => Some(Library::Transformers),
        };
        assert_eq!(report.names, from, "{case}");
        let phrase = from.map_or_else(String::new, |library| format!("; names of {library} translated"));
        assert!(report.to_string().contains(&format!("loaded (safetensors{phrase}")), "{case}: {report}");
        assert_eq!(report.loaded, [network.parameters.len(); 2], "{case}");
        assert!(report.remarks().is_empty() && report.converted.is_empty(), "{case}: {:?}", report.remarks());
        let has_other_epsilon = case.contains("mobilenet_v3") || case.ends_with("b5");
        assert_eq!(report.rescaled > 0, has_other_epsilon, "{case}");
        let off = error(&logits(&network, &images(&SHAPE)), &floats(&want["logits"]));
        println!("{case}: {off:.1e}");
        assert!(off <= TOLERANCE, "{case} is off by {off:e}");
    }
}

#[test]
fn timms_resnets_and_densenets_have_our_names() {
    let _alone = exclusive();
    let golden = golden();
    let same = golden["same"].as_object().unwrap();
    assert_eq!(same.len(), 9);
    for (case, want) in same {
        let lines = state(&ModelConfig::as_published(case.parse().unwrap())).join("\n");
        let byte = |digest: u64, byte: u8| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        let got = lines.bytes().fold(0xCBF2_9CE4_8422_2325, byte);
        assert_eq!(format!("{got:016x}"), want.as_str().unwrap(), "{case}");
    }
}

#[test]
fn a_file_of_ours_is_not_translated() {
    let _alone = exclusive();
    let folder = tempfile::tempdir().unwrap();
    for case in ["timm mobilenet_v2", "timm convnext_tiny", "torchvision vit_tiny", "transformers resnet18"] {
        let path = folder.path().join("ours.safetensors");
        let (saved, loaded) = (build(&config(case), &SHAPE), build(&config(case), &SHAPE));
        save(&saved.parameters, &path).unwrap();
        let report = load_into(&loaded, &path, true).unwrap();
        assert_eq!((report.names, report.rescaled), (None, 0));
        for (saved, loaded) in saved.parameters.iter().zip(&loaded.parameters) {
            assert_eq!(saved.tensor, loaded.tensor, "{}", saved.name);
        }
        assert_eq!(report.digest, blake3::hash(&fs::read(&path).unwrap()).to_hex().as_str());
    }
}

#[test]
fn what_has_no_translation_is_named_as_it_is_in_the_file() {
    let _alone = exclusive();
    let case = "timm convnext_tiny";
    let mut tensors = file(case);
    tensors.retain(|(name, _)| name != "stem.1.bias");
    tensors.push(("stages.0.blocks.0.beta".into(), Tensor::zeros([4], (Kind::Double, Device::Cpu))));
    let network = build(&config(case), &SHAPE);
    let message = load(&tensors, &network, true).unwrap_err().to_string();
    let want = "the weights belong to another model (names of timm translated): missing features.0.1.bias; unexpected \
                stages.0.blocks.0.beta; different none; check";
    assert!(message.contains(want), "{message}");
    let report = load(&tensors, &network, false).unwrap();
    let want = [
        "not in the file, keeps its random initialization: features.0.1.bias",
        "not in the model, skipped: stages.0.blocks.0.beta",
    ];
    assert_eq!(report.remarks(), want);
    // Names are not translated for a net of another family.
    let other = build(&ModelConfig::as_published(Architecture::Resnet8), &SHAPE);
    let message = load(&tensors, &other, false).unwrap_err().to_string();
    let want = ["another model: missing conv1.weight, ", "unexpected head.fc.bias, "];
    assert!(want.iter().all(|want| message.contains(want)), "{message}");
}

#[test]
fn another_head_grey_images_and_half_numbers_go_on_behind_a_translation() {
    let _alone = exclusive();
    let input = |channels| ImageShape { channels, height: 32, width: 32 };
    let net =
        |case: &str, channels, classes| model::build(&config(case), input(channels), classes, Device::Cpu).unwrap();
    for (case, head, filter) in [
        ("transformers vit_tiny", "head", "patch_embed.proj.weight"),
        ("timm mobilenet_v3_small", "classifier.3", "features.0.0.weight"),
        ("timm vgg11 with batch normalization", "classifier.6", "features.0.weight"),
    ] {
        let half = file(case).into_iter().map(|(name, tensor)| match tensor.kind() {
            Kind::Double => (name, tensor.to_kind(Kind::Half)),
            _ => (name, tensor),
        });
        let half: Vec<_> = half.collect();
        let (grey, coloured) = (net(case, 1, 7), net(case, 3, 10));
        let report = load(&half, &grey, true).unwrap();
        let want = [
            format!("{head} keeps its random initialization: it has 10 classes in the file and 7 in the model"),
            format!("{filter} is summed over its 3 channels for single-channel images"),
        ];
        assert_eq!(report.remarks(), want);
        assert_eq!(report.converted, [Kind::Half], "{case}");
        let report = load(&half, &coloured, true).unwrap();
        assert!(
            report.remarks().is_empty() && report.to_string().contains("; float16 converted to float32; names of ")
        );
        // float16 has 11 binary digits, and the logits come after a dozen layers.
        let want = floats(&golden()["cases"][case]["logits"]);
        let off = error(&logits(&coloured, &images(&SHAPE).to_kind(Kind::Float)), &want);
        println!("{case} in half: {off:.1e}");
        assert!(off < 0.01, "{case} is off by {off:e}");
        // After the head both nets are the same: give them one head, and show gray images to the color net.
        let one = Tensor::ones([2, 1, 32, 32], (Kind::Float, Device::Cpu));
        for name in ["weight", "bias"] {
            let of = |network: &Network| network.parameters.get(&format!("{head}.{name}")).unwrap().tensor.detach();
            of(&grey).copy_(&of(&coloured).narrow(0, 0, 7));
        }
        let seven = tch::no_grad(|| coloured.forward(&one.expand([2, 3, 32, 32], false), &Pass::evaluation()).unwrap());
        let off = error(&logits(&grey, &one), &values(&seven.narrow(1, 0, 7)));
        println!("{case} in grey: {off:.1e}");
        // float32, and the sum over three channels has another order.
        assert!(off < 1e-4, "{case} is off by {off:e} in grey");
    }
}

#[test]
fn positions_of_another_size_are_told_with_both_shapes() {
    let _alone = exclusive();
    let case = "torchvision vit_tiny";
    let network = build(&config(case), &[2, 3, 40, 40]);
    let message = load(&file(case), &network, true).unwrap_err().to_string();
    assert!(
        message.contains("different pos_embed (got Double [1, 17, 128], want Float [1, 26, 128]); check"),
        "{message}"
    );
}

#[test]
fn files_of_torch_are_translated_too() {
    let _alone = exclusive();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/foreign_names.pth");
    let network = build(&config("transformers vit_tiny"), &SHAPE);
    let report = load_into(&network, &path, false).unwrap();
    let want = "1 of 152 tensors loaded (PyTorch's zip format; float16 converted to float32; prefix module. removed \
                from the names; names of \
                transformers translated)";
    assert!(report.to_string().ends_with(want), "{report}");
    assert!(report.unexpected.is_empty());
    let stacked = &network.parameters.get("blocks.5.attn.qkv.bias").unwrap().tensor;
    assert_eq!(values(stacked), (0..384).map(f64::from).collect::<Vec<_>>());
}
