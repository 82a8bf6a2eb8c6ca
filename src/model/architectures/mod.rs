//! Architectures by name, checked against the images before anything is allocated.

mod binary;
mod cnn;
mod convnext;
mod densenet;
mod efficientnet;
mod lenet;
mod mlp;
mod mobilenet_v2;
mod mobilenet_v3;
mod nasnet;
mod nfnet;
mod resnet;
mod torchscript;
mod vgg;
mod vit;

pub use self::torchscript::texts as torchscript_texts;
use self::{
    binary::BinaryResnet,
    cnn::Cnn,
    convnext::ConvNext,
    densenet::DenseNet,
    efficientnet::EfficientNet,
    lenet::Lenet5,
    mlp::Mlp,
    mobilenet_v2::MobileNetV2,
    mobilenet_v3::MobileNetV3,
    nasnet::NasNet,
    nfnet::NfNet,
    resnet::{BlockKind, Resnet},
    torchscript::Torchscript,
    vgg::Vgg,
    vit::Vit,
};
use super::{Model, ModelError, initialization, parameter::Path};
use crate::config::{Architecture, ModelConfig, Normalization};
use crate::data::ImageShape;

/// Far too large for any machine, but small enough that products of four sizes fit into 64 bits.
const MOST: usize = 1 << 20;
const MOST_DEPTH: usize = 10_000;

/// A valid model that can be built, memory permitting.
#[derive(Debug)]
pub(super) struct Plan {
    family: Family,
    input: ImageShape,
    width: i64,
    classes: i64,
}

#[derive(Debug, Clone, Copy)]
enum Family {
    Mlp { depth: usize },
    Lenet5,
    Cnn { depth: usize },
    Vgg { convolutions: [usize; 5] },
    Resnet(resnet::Plan),
    MobileNetV2,
    MobileNetV3(mobilenet_v3::Plan),
    EfficientNet(efficientnet::Plan),
    DenseNet(densenet::Plan),
    ConvNext(convnext::Plan),
    Vit(vit::Plan),
    NfNet(nfnet::Plan),
    NasNet(nasnet::Plan),
    Binary(binary::Plan),
    Torchscript,
}

impl Plan {
    /// Checks everything except memory.
    pub(super) fn new(config: &ModelConfig, input: ImageShape, classes: usize) -> Result<Self, ModelError> {
        let architecture = config.name;
        let depth = config.depth.unwrap_or(Family::default_depth(architecture));
        let family = Family::new(architecture, depth);
        if let (Some(got), false) = (config.depth, family.has_free_depth()) {
            return Err(ModelError::DepthIsFixed { architecture, got });
        }
        size("model.depth", depth, 1, MOST_DEPTH)?;
        let ImageShape { channels, height, width } = input;
        for (what, side) in [("image channels", channels), ("image height", height), ("image width", width)] {
            size(what, side, 1, MOST)?;
        }
        let least = family.least_side();
        if height.min(width) < least {
            return Err(ModelError::InputTooSmall { architecture, height, width, least });
        }
        if config.residual && matches!(family, Family::Lenet5) {
            return Err(ModelError::NoResidual { architecture });
        }
        if !(0.0..1.0).contains(&config.dropout) {
            return Err(ModelError::Dropout { got: config.dropout });
        }
        initialization::check(&config.initialization, config)?;
        size("model.groups", config.groups, 1, usize::MAX)?;
        family.check_knobs(config)?;
        family.check_patches(config, input)?;
        let classes = size("classes", classes, 1, MOST)?;
        let width = config.width.map_or(Ok(family.default_width()), |width| size("model.width", width, 1, MOST))?;
        let step = family.width_step();
        if width % step != 0 {
            return Err(ModelError::WidthStep { architecture, got: width, step });
        }
        Ok(Self { family, input, width, classes })
    }

    /// Creates the layers and draws their weights.
    pub(super) fn build(&self, root: &Path<'_>) -> Result<Box<dyn Model>, ModelError> {
        let Self { family, input, width, classes } = *self;
        Ok(match family {
            Family::Mlp { depth } => Box::new(Mlp::new(root, input.sizes().iter().product(), width, depth, classes)?),
            Family::Lenet5 => Box::new(Lenet5::new(root, input, width, classes)?),
            Family::Cnn { depth } => Box::new(Cnn::new(root, input, width, depth, classes)?),
            Family::Vgg { convolutions } => Box::new(Vgg::new(root, input, convolutions, width, classes)?),
            Family::Resnet(plan) => Box::new(Resnet::new(root, input, plan, width, classes)?),
            Family::MobileNetV2 => Box::new(MobileNetV2::new(root, input, width, classes)?),
            Family::MobileNetV3(plan) => Box::new(MobileNetV3::new(root, input, plan, width, classes)?),
            Family::EfficientNet(plan) => Box::new(EfficientNet::new(root, input, plan, width, classes)?),
            Family::DenseNet(plan) => Box::new(DenseNet::new(root, input, plan, width, classes)?),
            Family::ConvNext(plan) => Box::new(ConvNext::new(root, input, plan, width, classes)?),
            Family::Vit(plan) => {
                let patch = size("model.patch_size", patch_size(root.config()), 1, MOST)?;
                Box::new(Vit::new(root, input, plan, [patch, width, classes])?)
            }
            Family::NfNet(plan) => Box::new(NfNet::new(root, input, plan, width, classes)?),
            Family::NasNet(plan) => Box::new(NasNet::new(root, input, plan, width, classes)?),
            Family::Binary(plan) => Box::new(BinaryResnet::new(root, input, plan, width, classes)?),
            Family::Torchscript => {
                let file = root.config().path.as_ref().ok_or(ModelError::NoFile)?;
                Box::new(Torchscript::load(root, file, input, classes)?)
            }
        })
    }
}

impl Family {
    fn new(architecture: Architecture, depth: usize) -> Self {
        use Architecture as A;
        let cifar = |blocks| Self::Resnet(resnet::Plan::Cifar { blocks });
        let imagenet = |blocks, kind| Self::Resnet(resnet::Plan::Imagenet { blocks, kind });
        let efficientnet = |number| Self::EfficientNet(efficientnet::Plan::b(number));
        let densenet = |layers, width| Self::DenseNet(densenet::Plan { layers, width });
        let convnext = |blocks, width| Self::ConvNext(convnext::Plan { blocks, width });
        let vit = |width, is_distilled| Self::Vit(vit::Plan { width, is_distilled });
        let nfnet = |times, is_original| Self::NfNet(nfnet::Plan { times, is_original });
        match architecture {
            A::Mlp => Self::Mlp { depth },
            A::Lenet5 => Self::Lenet5,
            A::Cnn => Self::Cnn { depth },
            A::Vgg11 => Self::Vgg { convolutions: [1, 1, 2, 2, 2] },
            A::Vgg13 => Self::Vgg { convolutions: [2, 2, 2, 2, 2] },
            A::Vgg16 => Self::Vgg { convolutions: [2, 2, 3, 3, 3] },
            A::Vgg19 => Self::Vgg { convolutions: [2, 2, 4, 4, 4] },
            A::Resnet8 => cifar(1),
            A::Resnet20 => cifar(3),
            A::Resnet32 => cifar(5),
            A::Resnet44 => cifar(7),
            A::Resnet56 => cifar(9),
            A::Resnet110 => cifar(18),
            A::Resnet18 => imagenet([2, 2, 2, 2], BlockKind::Basic),
            A::Resnet34 => imagenet([3, 4, 6, 3], BlockKind::Basic),
            A::Resnet50 => imagenet([3, 4, 6, 3], BlockKind::Bottleneck),
            A::Resnet101 => imagenet([3, 4, 23, 3], BlockKind::Bottleneck),
            A::Resnet152 => imagenet([3, 8, 36, 3], BlockKind::Bottleneck),
            A::MobilenetV2 => Self::MobileNetV2,
            A::MobilenetV3Small => Self::MobileNetV3(mobilenet_v3::SMALL),
            A::MobilenetV3Large => Self::MobileNetV3(mobilenet_v3::LARGE),
            A::EfficientnetB0 => efficientnet(0),
            A::EfficientnetB1 => efficientnet(1),
            A::EfficientnetB2 => efficientnet(2),
            A::EfficientnetB3 => efficientnet(3),
            A::EfficientnetB4 => efficientnet(4),
            A::EfficientnetB5 => efficientnet(5),
            A::EfficientnetB6 => efficientnet(6),
            A::EfficientnetB7 => efficientnet(7),
            A::Densenet121 => densenet([6, 12, 24, 16], 64),
            A::Densenet161 => densenet([6, 12, 36, 24], 96),
            A::Densenet169 => densenet([6, 12, 32, 32], 64),
            A::Densenet201 => densenet([6, 12, 48, 32], 64),
            A::ConvnextTiny => convnext([3, 3, 9, 3], 96),
            A::ConvnextSmall => convnext([3, 3, 27, 3], 96),
            A::ConvnextBase => convnext([3, 3, 27, 3], 128),
            A::ConvnextLarge => convnext([3, 3, 27, 3], 192),
            A::VitTiny => vit(192, false),
            A::VitSmall => vit(384, false),
            A::VitBase => vit(768, false),
            A::DeitTiny => vit(192, true),
            A::DeitSmall => vit(384, true),
            A::DeitBase => vit(768, true),
            A::NfnetF0 => nfnet(1, false),
            A::NfnetF1 => nfnet(2, false),
            A::NfnetF2 => nfnet(3, false),
            A::DmNfnetF0 => nfnet(1, true),
            A::DmNfnetF1 => nfnet(2, true),
            A::DmNfnetF2 => nfnet(3, true),
            A::NasnetMobile => Self::NasNet(nasnet::Plan::Mobile),
            A::NasnetLarge => Self::NasNet(nasnet::Plan::Large),
            A::NasnetCifar => Self::NasNet(nasnet::Plan::Cifar),
            A::BinaryResnet20 => Self::Binary(binary::Plan { blocks: &[3, 3, 3], is_cifar: true }),
            A::BinaryResnet18 => Self::Binary(binary::Plan { blocks: &[2, 2, 2, 2], is_cifar: false }),
            A::Torchscript => Self::Torchscript,
        }
    }

    fn default_depth(architecture: Architecture) -> usize {
        if architecture == Architecture::Mlp { mlp::DEFAULT_DEPTH } else { cnn::DEFAULT_DEPTH }
    }

    fn has_free_depth(self) -> bool {
        matches!(self, Self::Mlp { .. } | Self::Cnn { .. })
    }

    fn default_width(self) -> i64 {
        match self {
            Self::Mlp { .. } => mlp::DEFAULT_WIDTH,
            Self::Lenet5 => lenet::DEFAULT_WIDTH,
            Self::Cnn { .. } => cnn::DEFAULT_WIDTH,
            Self::Vgg { .. } => vgg::DEFAULT_WIDTH,
            Self::Resnet(plan) => plan.default_width(),
            Self::MobileNetV2 => mobilenet_v2::DEFAULT_WIDTH,
            Self::MobileNetV3(_) => mobilenet_v3::DEFAULT_WIDTH,
            Self::EfficientNet(plan) => plan.default_width(),
            Self::DenseNet(plan) => plan.width,
            Self::ConvNext(plan) => plan.width,
            Self::Vit(plan) => plan.width,
            Self::NfNet(_) => nfnet::DEFAULT_WIDTH,
            Self::NasNet(plan) => plan.default_width(),
            Self::Binary(plan) => plan.default_width(),
            // The file determines the width.
            Self::Torchscript => 1,
        }
    }

    /// Minimum side length of an image. Padded convolutions accept any size. A TorchScript file is checked by running
    /// it.
    fn least_side(self) -> usize {
        match self {
            Self::Lenet5 => lenet::LEAST_SIDE,
            Self::Cnn { depth } => Cnn::least_side(depth),
            Self::Vgg { .. } => vgg::LEAST_SIDE,
            Self::DenseNet(_) => densenet::LEAST_SIDE,
            Self::ConvNext(_) => convnext::LEAST_SIDE,
            Self::NasNet(plan) => plan.least_side(),
            _ => 1,
        }
    }

    /// The width must be a multiple of this, so that it can be divided among the layers.
    fn width_step(self) -> i64 {
        match self {
            Self::NfNet(_) => 16,
            Self::NasNet(nasnet::Plan::Mobile | nasnet::Plan::Large) => 4,
            _ => 1,
        }
    }

    /// Rejects settings that the architecture does not support.
    fn check_knobs(self, config: &ModelConfig) -> Result<(), ModelError> {
        let &ModelConfig { name: architecture, normalization, residual, stochastic_depth, patch_size, .. } = config;
        let fixed = |key, got: String, want| Err(ModelError::Fixed { key, architecture, got, want });
        let has_branches = matches!(
            self,
            Self::MobileNetV2
                | Self::MobileNetV3(_)
                | Self::EfficientNet(_)
                | Self::ConvNext(_)
                | Self::Vit(_)
                | Self::NfNet(_)
        );
        if stochastic_depth > 0.0 && !(has_branches && residual) {
            return fixed("stochastic_depth", stochastic_depth.to_string(), "0, because it has no branches to drop");
        }
        let has_plain_stack = matches!(self, Self::Mlp { .. } | Self::Cnn { .. });
        if config.multi_skip && !(has_plain_stack && residual) {
            return fixed(
                "multi_skip",
                "true".into(),
                "false, because only mlp and cnn with model.residual = true have it",
            );
        }
        if let Some(patch) = patch_size.filter(|_| !matches!(self, Self::Vit(_))) {
            return fixed("patch_size", patch.to_string(), "none, because it has no patches");
        }
        let ends_branches = matches!(self, Self::Mlp { .. } | Self::Cnn { .. } | Self::Vgg { .. } | Self::Resnet(_));
        if let (Some((key, got)), false) = (config.initialization.silencer(), ends_branches) {
            return fixed(
                key,
                got,
                "another setting, because only branches of mlp, cnn, vgg, and resnet can start at 0",
            );
        }
        match self {
            Self::DenseNet(_) | Self::NasNet(_) if residual => {
                fixed("residual", residual.to_string(), "false, because it concatenates feature maps")
            }
            Self::NfNet(_) if normalization != Normalization::None => {
                fixed("normalization", normalization.to_string(), "none, because it standardizes its filters instead")
            }
            Self::NfNet(_) if !residual => fixed("residual", residual.to_string(), "true"),
            _ => Ok(()),
        }
    }

    fn check_patches(self, config: &ModelConfig, input: ImageShape) -> Result<(), ModelError> {
        let (patch, ImageShape { height, width, .. }) = (patch_size(config), input);
        let fits = |patch: &usize| height % patch == 0 && width % patch == 0;
        if !matches!(self, Self::Vit(_)) || fits(&patch) {
            return Ok(());
        }
        let remedy = match (2..=patch).rev().find(fits) {
            Some(smaller) => format!("use {smaller}"),
            None => "resize the images to a multiple of it".into(),
        };
        Err(ModelError::Patches { patch, height, width, remedy })
    }
}

fn patch_size(config: &ModelConfig) -> usize {
    config.patch_size.unwrap_or(vit::DEFAULT_PATCH)
}

fn size(what: &'static str, got: usize, least: usize, most: usize) -> Result<i64, ModelError> {
    let refused = ModelError::Size { what, got, least, most };
    if (least..=most).contains(&got) { i64::try_from(got).map_err(|_| refused) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    fn refusal(change: impl FnOnce(&mut ModelConfig), architecture: Architecture, side: usize) -> String {
        let mut config = fixture::config(architecture);
        change(&mut config);
        Plan::new(&config, ImageShape { channels: 3, height: 40, width: side }, 10).unwrap_err().to_string()
    }

    #[test]
    fn images_too_small_are_refused_with_the_least_side() {
        for (architecture, least) in [(Architecture::Lenet5, 12), (Architecture::Cnn, 4), (Architecture::Vgg11, 32)] {
            let message = refusal(|_| (), architecture, least - 1);
            let want = format!(
                "{architecture}: got images of 40x{} (height x width), want at least {least}x{least}; \
                                enlarge the images or choose another model.name",
                least - 1
            );
            assert_eq!(message, want);
            let input = ImageShape { channels: 3, height: least, width: least };
            assert!(Plan::new(&fixture::config(architecture), input, 10).is_ok());
        }
    }

    #[test]
    fn a_depth_beside_a_name_that_fixes_it_is_refused() {
        let message = refusal(|config| config.depth = Some(12), Architecture::Resnet20, 32);
        assert_eq!(
            message,
            "model.depth: got 12, but resnet20 has its depth in its name; remove the key or choose mlp or cnn"
        );
    }

    #[test]
    fn sizes_that_no_model_has_are_refused_by_key() {
        let mlp = |change: fn(&mut ModelConfig)| refusal(change, Architecture::Mlp, 32);
        assert_eq!(mlp(|config| config.width = Some(0)), "model.width: got 0, want 1..=1048576");
        assert_eq!(mlp(|config| config.depth = Some(0)), "model.depth: got 0, want 1..=10000");
        assert_eq!(mlp(|config| config.dropout = 1.0), "model.dropout: got 1, want at least 0 and below 1");
        assert!(mlp(|config| config.groups = 0).starts_with("model.groups: got 0, want 1..="));
        assert!(mlp(|config| config.dropout = f64::NAN).starts_with("model.dropout: got NaN"));
        assert_eq!(refusal(|_| (), Architecture::Mlp, 0), "image width: got 0, want 1..=1048576");
        let one = Plan::new(&fixture::config(Architecture::Mlp), ImageShape { channels: 1, height: 8, width: 8 }, 0);
        assert_eq!(one.unwrap_err().to_string(), "classes: got 0, want 1..=1048576");
    }

    #[test]
    fn features_reach_every_block_only_in_an_mlp_or_cnn_with_shortcuts() {
        for architecture in [Architecture::Mlp, Architecture::Cnn] {
            let config = ModelConfig { residual: true, multi_skip: true, ..fixture::config(architecture) };
            assert!(Plan::new(&config, ImageShape { channels: 3, height: 32, width: 32 }, 10).is_ok());
        }
        for (architecture, residual) in [(Architecture::Mlp, false), (Architecture::Resnet8, true)] {
            let message = refusal(|config| (config.residual, config.multi_skip) = (residual, true), architecture, 32);
            let want = "false, because only mlp and cnn with model.residual = true have it; remove the key";
            assert_eq!(message, format!("model.multi_skip: got true, but {architecture} needs {want}"));
        }
    }

    #[test]
    fn lenet_has_no_layer_to_put_a_shortcut_around() {
        assert_eq!(
            refusal(|config| config.residual = true, Architecture::Lenet5, 32),
            "model.residual: got true, but lenet5 has no layer with equal input and output shapes; set it to false"
        );
    }
}
