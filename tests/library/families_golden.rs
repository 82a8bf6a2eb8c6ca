//! More families against torchvision and timm: `golden/families.py` generates and documents `golden/families.json`.

use gradwatch::config::{Architecture, ModelConfig, Normalization};
use serde_json::Value;

use crate::harness::{
    exclusive,
    golden_model::{assert_equals_golden, state},
};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/families.json")).unwrap()
}

fn assert_equals_theirs(case: &str, config: &ModelConfig) {
    assert_equals_golden(&golden(), case, config);
}

fn narrow(name: Architecture, width: usize) -> ModelConfig {
    ModelConfig { width: Some(width), ..ModelConfig::as_published(name) }
}

#[test]
fn mobilenets_are_torchvisions() {
    assert_equals_theirs("mobilenet_v2", &ModelConfig::as_published(Architecture::MobilenetV2));
    let grouped = ModelConfig { normalization: Normalization::Group, ..narrow(Architecture::MobilenetV2, 8) };
    assert_equals_theirs("mobilenet_v2_narrow_group", &grouped);
    assert_equals_theirs("mobilenet_v3_small", &ModelConfig::as_published(Architecture::MobilenetV3Small));
    assert_equals_theirs("mobilenet_v3_large_narrow", &narrow(Architecture::MobilenetV3Large, 8));
}

#[test]
fn an_efficientnet_is_torchvisions() {
    assert_equals_theirs("efficientnet_b0", &ModelConfig::as_published(Architecture::EfficientnetB0));
}

#[test]
fn a_densenet_is_torchvisions() {
    assert_equals_theirs("densenet121_narrow", &narrow(Architecture::Densenet121, 8));
}

#[test]
fn a_convnext_is_torchvisions() {
    assert_equals_theirs("convnext_tiny_narrow", &narrow(Architecture::ConvnextTiny, 16));
}

#[test]
fn transformers_are_timms() {
    let small = |name| ModelConfig { patch_size: Some(8), ..narrow(name, 128) };
    assert_equals_theirs("vit_tiny_narrow", &small(Architecture::VitTiny));
    assert_equals_theirs("deit_tiny_narrow", &small(Architecture::DeitTiny));
}

#[test]
fn nfnets_are_timms() {
    assert_equals_theirs("nfnet_f0_narrow", &narrow(Architecture::NfnetF0, 32));
    assert_equals_theirs("dm_nfnet_f0_narrow", &narrow(Architecture::DmNfnetF0, 32));
}

#[test]
fn nasnets_are_timms_and_made_of_timms_cells() {
    assert_equals_theirs("nasnet_large_narrow", &narrow(Architecture::NasnetLarge, 8));
    assert_equals_theirs("nasnet_mobile_narrow", &narrow(Architecture::NasnetMobile, 8));
    assert_equals_theirs("nasnet_cifar_narrow", &narrow(Architecture::NasnetCifar, 4));
}

#[test]
fn binary_nets_and_attention_in_batch_normalization_are_as_written_out() {
    assert_equals_theirs("binary_resnet20", &ModelConfig::as_published(Architecture::BinaryResnet20));
    let normalization = Normalization::AttentionBatch;
    let config = ModelConfig { normalization, ..ModelConfig::as_published(Architecture::Resnet8) };
    assert_equals_theirs("resnet8_attention_batch", &config);
}

#[test]
fn names_shapes_and_order_are_theirs() {
    let _alone = exclusive();
    let golden = golden();
    let cases = golden["state_dicts"].as_object().unwrap();
    assert_eq!(cases.len(), 15);
    for (case, want) in cases {
        let got = state(&ModelConfig::as_published(case.parse().unwrap()));
        let some: Vec<&str> = want["some"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let ours: Vec<&str> = got.iter().step_by(29).map(String::as_str).collect();
        assert_eq!(ours, some, "{case}");
        let digest = got
            .join("\n")
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
        let (tensors, fnv1a) = (want["tensors"].as_u64().unwrap(), want["fnv1a"].as_str().unwrap());
        assert_eq!((got.len() as u64, &*format!("{digest:016x}")), (tensors, fnv1a), "{case}");
    }
}
