//! Real weights on real photos: torchvision's MobileNetV2 and twenty ImageNet photos, whose classes are the last
//! numbers of their file names.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use gradwatch::{
    config::{Architecture, ModelConfig},
    data::{Framing, Preprocessing, image_files},
    disk::TensorFile,
    inference::{Probabilities, TrainedModel},
    libtorch::host_copy,
    model::{self, Pass, weights},
};
use serde_json::Value;
use tch::{Device, Tensor};

use crate::harness::{exclusive, limit};

/// Relative to the largest logit: sums in float32 depend on their order.
const TOLERANCE: f64 = 1e-5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn weights_file() -> PathBuf {
    root().join("models/mobilenet_v2-b0353104.pth")
}

/// torchvision's own net with its preprocessing: resize to 256 pixels, crop to 224.
fn mobilenet() -> TrainedModel {
    let config = ModelConfig::as_published(Architecture::MobilenetV2);
    let preprocessing = Preprocessing {
        channels: 3,
        height: 224,
        width: 224,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        framing: Framing { resize: Some(256), ..Framing::default() },
    };
    let network = model::build(&config, preprocessing.shape(), 1000, Device::Cpu).unwrap();
    let report = weights::load_into(&network, &weights_file(), true).unwrap();
    assert_eq!((report.loaded, report.remarks().len()), ([314, 314], 0));
    let classes = (0..1000).map(|class| class.to_string()).collect();
    TrainedModel { network, config, classes, probabilities: Probabilities::Softmax, preprocessing, device: Device::Cpu }
}

/// The photos with their classes.
fn photos() -> Vec<(PathBuf, usize)> {
    let class = |path: &Path| path.file_stem()?.to_str()?.rsplit('_').next()?.parse().ok();
    let files = image_files(&[root().join("data/photos")]).unwrap();
    let photos: Vec<_> = files.into_iter().map(|path| (path.clone(), class(&path).unwrap())).collect();
    assert_eq!(photos.len(), 20);
    photos
}

/// `[20, 3, 224, 224]`, and their logits `[20, 1000]`.
fn images_and_logits(model: &TrainedModel) -> (Tensor, Tensor) {
    let pixels: Vec<_> = photos().iter().map(|(path, _)| model.preprocessing.decode(path).unwrap()).collect();
    let images = model.to_tensor(&pixels).unwrap();
    let logits = tch::no_grad(|| model.network.forward(&images, &Pass::evaluation())).unwrap();
    (images, logits)
}

#[test]
fn eighteen_of_twenty_photos_are_told_and_their_logits_are_torchvisions() {
    let _alone = exclusive();
    let model = mobilenet();
    let photos = photos();
    let pixels: Vec<_> = photos.iter().map(|(path, _)| model.preprocessing.decode(path).unwrap()).collect();
    let guesses = model.predict(&pixels, 5).unwrap();
    let misses: Vec<usize> = (0..20).filter(|&photo| guesses[photo][0].class != photos[photo].1).collect();
    // A jeep predicted as a convertible, and a spoonbill as a stork. torchvision predicts the same.
    assert_eq!(misses, [7, 14]);
    assert!(guesses.iter().zip(&photos).all(|(five, (_, class))| five.iter().any(|guess| guess.class == *class)));

    // `golden/photos.py` computed them from the same pixels.
    let golden: Value = serde_json::from_str(include_str!("../golden/photos.json")).unwrap();
    let (_, logits) = images_and_logits(&model);
    let logits = host_copy(&logits).unwrap();
    let mut worst = 0.0_f64;
    for ((photo, logits), guesses) in golden.as_array().unwrap().iter().zip(logits.chunks(1000)).zip(&guesses) {
        assert_eq!(photo["class"], guesses[0].class);
        let (logit, sum) = (photo["logit"].as_f64().unwrap(), photo["norm"].as_f64().unwrap());
        assert!((logits[guesses[0].class] - logit).abs() < TOLERANCE * logit, "{photo}");
        let norm = logits.iter().map(|logit| logit * logit).sum::<f64>().sqrt();
        assert!((norm - sum).abs() < TOLERANCE * sum, "{photo}: {norm}");
        // If torchvision decodes, resizes, and crops the photo itself.
        for (class, want) in photo["torchvision"].as_object().unwrap() {
            let (got, want) = (logits[class.parse::<usize>().unwrap()], want.as_f64().unwrap());
            worst = worst.max((got - want).abs());
        }
    }
    println!("{worst}");
    assert!(worst < 0.05, "{worst}");
}

#[test]
#[ignore = "needs PyTorch: make test-peers"]
fn every_logit_of_every_photo_is_torchvisions() {
    let _alone = exclusive();
    let (images, logits) = images_and_logits(&mobilenet());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.safetensors");
    let mut file = TensorFile::default();
    file.fill(&[("images".to_owned(), images), ("logits".to_owned(), logits)]).unwrap();
    std::fs::write(&path, file.bytes().unwrap()).unwrap();
    let mut python = Command::new(root().join(".deps/peers/bin/python"));
    // GOLDEN=tests/golden/photos.json rewrites that file.
    let golden = std::env::var_os("GOLDEN").map(|file| [PathBuf::from(file), root().join("data/photos")]);
    let files = [weights_file(), path].into_iter().chain(golden.into_iter().flatten());
    let output = limit::output(python.arg(root().join("tests/golden/photos.py")).args(files));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
