//! Grad-CAM against hooks in PyTorch: `golden/grad_cam.py` generates `golden/grad_cam.json`.

use gradwatch::{
    config::{Architecture, ModelConfig},
    inference::{Probabilities, grad_cam},
    model::Pass,
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::harness::{
    error, exclusive,
    golden_model::{build, fill, floats, tensor_of, uniform},
};

/// Relative to the largest heat, in float64; see `golden/grad_cam.py`.
const TOLERANCE: f64 = 1e-9;

#[test]
fn heat_is_that_of_hooks_in_pytorch() {
    let _alone = exclusive();
    let golden: Value = serde_json::from_str(include_str!("../golden/grad_cam.json")).unwrap();
    let narrow = |name, width| ModelConfig { width: Some(width), ..ModelConfig::as_published(name) };
    let cases = [
        ("mobilenet_v2", ModelConfig::as_published(Architecture::MobilenetV2)),
        ("efficientnet_b0", ModelConfig::as_published(Architecture::EfficientnetB0)),
        ("convnext_tiny_narrow", narrow(Architecture::ConvnextTiny, 16)),
        ("vit_tiny_narrow", ModelConfig { patch_size: Some(8), ..narrow(Architecture::VitTiny, 128) }),
    ];
    for (case, config) in cases {
        let golden = &golden[case];
        let shape: Vec<i64> = floats(&golden["images"]).into_iter().map(|side| side as i64).collect();
        let network = build(&config, &shape);
        fill(&network);
        let images = tensor_of(&shape, |element| 2.0 * uniform(1 << 20, element));
        let class = golden["class"].as_u64().unwrap() as usize;
        let seen = grad_cam(&network, &images, Some(class), Probabilities::Softmax).unwrap().unwrap();
        let heat: Vec<f64> = seen.iter().flat_map(|one| one.heat.iter().map(|&value| f64::from(value))).collect();
        // The heat is stored in float32.
        assert!(error(&heat, &floats(&golden["heat"])) < 1e-6, "{case}");
        let shares: Vec<f64> = seen.iter().map(|one| one.guess.probability).collect();
        assert!(error(&shares, &floats(&golden["shares"])) < TOLERANCE, "{case}");
        let guesses = grad_cam(&network, &images, None, Probabilities::Softmax).unwrap().unwrap();
        let guesses: Vec<f64> = guesses.iter().map(|one| one.guess.class as f64).collect();
        assert_eq!(guesses, floats(&golden["guesses"]), "{case}");
        assert_eq!(seen[0].grid.map(|side| side as f64).to_vec(), floats(&golden["grid"]), "{case}");
        for parameter in network.parameters.trainable() {
            assert!(!parameter.tensor.grad().defined(), "{case}: {} got a gradient", parameter.name);
        }
    }
    let mlp = build(&narrow(Architecture::Mlp, 8), &[1, 3, 8, 8]);
    let images = Tensor::zeros([1, 3, 8, 8], (Kind::Float, Device::Cpu));
    assert_eq!(grad_cam(&mlp, &images, None, Probabilities::Softmax).unwrap(), None);
    let logits = mlp.forward(&images, &Pass::evaluation()).unwrap();
    assert_eq!(logits.size(), [1, 10]);
}
