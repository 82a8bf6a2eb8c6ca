//! MobileNetV2 (Sandler et al. 2018, table 2), laid out as in torchvision but without dropout, like timm's.

use std::error::Error;

use tch::{
    Tensor,
    nn::{self, ConvConfig, Init, ModuleT, Path},
};

/// Expansion, channels, blocks, and stride of the first block.
const STAGES: [(i64, i64, i64, i64); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
const STEM: i64 = 32;
const LAST: i64 = 1280;
/// 52 convolutions, each with two norm tensors, and two tensors of the classifier.
const TENSORS: usize = 158;
/// torchvision's 3,504,872, minus a head of 1000 classes, plus one of 10.
const NUMBERS: usize = 2_236_682;

/// Builds the layers below `root` for images of three channels and ten classes.
///
/// # Errors
/// If the number of parameters differs from torchvision's.
pub(crate) fn mobilenet_v2(vs: &nn::VarStore) -> Result<nn::SequentialT, Box<dyn Error>> {
    let root = vs.root();
    let mut layers = conv_norm(&(&root / "stem"), 3, STEM, 3, 2, 1).add_fn(Tensor::relu6);
    let mut inputs = STEM;
    for (stage, (expansion, outputs, blocks, stride)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let path = &root / format!("stage{stage}") / block;
            let stride = if block == 0 { stride } else { 1 };
            layers = layers.add(InvertedResidual::new(&path, inputs, outputs, expansion, stride));
            inputs = outputs;
        }
    }
    layers = layers.add(conv_norm(&(&root / "last"), inputs, LAST, 1, 1, 1)).add_fn(Tensor::relu6);
    layers = layers.add_fn(|maps| maps.adaptive_avg_pool2d([1, 1]).flatten(1, -1));
    layers = layers.add(nn::linear(&root / "classifier", LAST, 10, Default::default()));

    let params = vs.trainable_variables();
    let numbers: usize = params.iter().map(Tensor::numel).sum();
    if (params.len(), numbers) != (TENSORS, NUMBERS) {
        return Err(format!("got {} tensors of {numbers}, want {TENSORS} of {NUMBERS}", params.len()).into());
    }
    Ok(layers)
}

/// A wide middle between two narrow ends, with a shortcut if both ends have the same shape.
#[derive(Debug)]
struct InvertedResidual {
    layers: nn::SequentialT,
    has_shortcut: bool,
}

impl InvertedResidual {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64, expansion: i64, stride: i64) -> Self {
        let hidden = inputs * expansion;
        let mut layers = nn::seq_t();
        if expansion != 1 {
            layers = layers.add(conv_norm(&(path / "expand"), inputs, hidden, 1, 1, 1)).add_fn(Tensor::relu6);
        }
        layers = layers.add(conv_norm(&(path / "depthwise"), hidden, hidden, 3, stride, hidden)).add_fn(Tensor::relu6);
        layers = layers.add(conv_norm(&(path / "project"), hidden, outputs, 1, 1, 1));
        Self { layers, has_shortcut: stride == 1 && inputs == outputs }
    }
}

impl ModuleT for InvertedResidual {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let maps = self.layers.forward_t(images, train);
        if self.has_shortcut { maps + images } else { maps }
    }
}

fn conv_norm(path: &Path<'_>, inputs: i64, outputs: i64, side: i64, stride: i64, groups: i64) -> nn::SequentialT {
    let config = ConvConfig { stride, padding: side / 2, groups, bias: false, ..Default::default() };
    // tch initializes the factors of a norm from 0..1; torch sets them to 1.
    let ones = nn::BatchNormConfig { ws_init: Init::Const(1.0), ..Default::default() };
    nn::seq_t().add(nn::conv2d(path / "conv", inputs, outputs, side, config)).add(nn::batch_norm2d(
        path / "norm",
        outputs,
        ones,
    ))
}
