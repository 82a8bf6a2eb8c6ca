//! Architectures and their default settings.

use super::{Activation, Normalization, names::named_enum};

named_enum! {
    /// Architecture name.
    pub enum Architecture {
        /// Fully connected layers of equal width.
        Mlp = "mlp",
        /// LeCun et al. 1998, with max pooling.
        Lenet5 = "lenet5",
        /// Plain stack of 3x3 convolutions, with up to three poolings, one after every second convolution.
        Cnn = "cnn",
        /// Simonyan and Zisserman 2015, configuration A.
        Vgg11 = "vgg11",
        /// Configuration B.
        Vgg13 = "vgg13",
        /// Configuration D.
        Vgg16 = "vgg16",
        /// Configuration E.
        Vgg19 = "vgg19",
        /// He et al. 2016, section 4.2 (CIFAR), n = 1.
        Resnet8 = "resnet8",
        /// CIFAR, n = 3.
        Resnet20 = "resnet20",
        /// CIFAR, n = 5.
        Resnet32 = "resnet32",
        /// CIFAR, n = 7.
        Resnet44 = "resnet44",
        /// CIFAR, n = 9.
        Resnet56 = "resnet56",
        /// CIFAR, n = 18.
        Resnet110 = "resnet110",
        /// He et al. 2016, table 1 (ImageNet), basic blocks.
        Resnet18 = "resnet18",
        /// Basic blocks.
        Resnet34 = "resnet34",
        /// Bottleneck blocks.
        Resnet50 = "resnet50",
        /// Bottleneck blocks.
        Resnet101 = "resnet101",
        /// Bottleneck blocks.
        Resnet152 = "resnet152",
        /// Sandler et al. 2018.
        MobilenetV2 = "mobilenet_v2",
        /// Howard et al. 2019, table 2.
        MobilenetV3Small = "mobilenet_v3_small",
        /// Table 1.
        MobilenetV3Large = "mobilenet_v3_large",
        /// Tan and Le 2019, the baseline network.
        EfficientnetB0 = "efficientnet_b0",
        /// Scaled up.
        EfficientnetB1 = "efficientnet_b1",
        /// Scaled up.
        EfficientnetB2 = "efficientnet_b2",
        /// Scaled up.
        EfficientnetB3 = "efficientnet_b3",
        /// Scaled up.
        EfficientnetB4 = "efficientnet_b4",
        /// Scaled up.
        EfficientnetB5 = "efficientnet_b5",
        /// Scaled up.
        EfficientnetB6 = "efficientnet_b6",
        /// Scaled up.
        EfficientnetB7 = "efficientnet_b7",
        /// Huang et al. 2017, table 1.
        Densenet121 = "densenet121",
        /// The widest: 96 initial channels, growth rate 48.
        Densenet161 = "densenet161",
        /// Deeper.
        Densenet169 = "densenet169",
        /// Deeper still.
        Densenet201 = "densenet201",
        /// Liu et al. 2022.
        ConvnextTiny = "convnext_tiny",
        /// Deeper.
        ConvnextSmall = "convnext_small",
        /// Wider.
        ConvnextBase = "convnext_base",
        /// Wider still.
        ConvnextLarge = "convnext_large",
        /// Dosovitskiy et al. 2021, embedding size 192.
        VitTiny = "vit_tiny",
        /// Embedding size 384.
        VitSmall = "vit_small",
        /// Embedding size 768.
        VitBase = "vit_base",
        /// Touvron et al. 2021, with a distillation token; embedding size 192.
        DeitTiny = "deit_tiny",
        /// Embedding size 384.
        DeitSmall = "deit_small",
        /// Embedding size 768.
        DeitBase = "deit_base",
        /// Brock et al. 2021, as in timm.
        NfnetF0 = "nfnet_f0",
        /// Twice as deep.
        NfnetF1 = "nfnet_f1",
        /// Three times as deep.
        NfnetF2 = "nfnet_f2",
        /// As published by the authors.
        DmNfnetF0 = "dm_nfnet_f0",
        /// Twice as deep.
        DmNfnetF1 = "dm_nfnet_f1",
        /// Three times as deep.
        DmNfnetF2 = "dm_nfnet_f2",
        /// Zoph et al. 2018, 4 @ 1056.
        NasnetMobile = "nasnet_mobile",
        /// 6 @ 4032.
        NasnetLarge = "nasnet_large",
        /// 6 @ 768, for small images.
        NasnetCifar = "nasnet_cifar",
        /// CIFAR ResNet with n = 3 and 1-bit weights and inputs.
        BinaryResnet20 = "binary_resnet20",
        /// ImageNet ResNet of basic blocks with 1-bit weights and inputs.
        BinaryResnet18 = "binary_resnet18",
        /// A network from a TorchScript file.
        Torchscript = "torchscript",
    }
}

/// Defaults of an architecture, as its authors chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// `model.activation`.
    pub activation: Activation,
    /// `model.normalization`.
    pub normalization: Normalization,
    /// `model.residual`.
    pub residual: bool,
}

impl Architecture {
    /// Channels, height, and width of the images that the architecture is designed for.
    pub fn default_input(self) -> [usize; 3] {
        let square = |side| [3, side, side];
        match self {
            Self::Mlp | Self::Lenet5 => [1, 28, 28],
            Self::Cnn | Self::NasnetCifar | Self::BinaryResnet20 => square(32),
            Self::Resnet8 | Self::Resnet20 | Self::Resnet32 | Self::Resnet44 | Self::Resnet56 | Self::Resnet110 => {
                square(32)
            }
            Self::EfficientnetB1 => square(240),
            Self::EfficientnetB2 => square(288),
            Self::EfficientnetB3 => square(300),
            Self::EfficientnetB4 => square(380),
            Self::EfficientnetB5 => square(456),
            Self::EfficientnetB6 => square(528),
            Self::EfficientnetB7 => square(600),
            Self::NfnetF0 | Self::DmNfnetF0 => square(192),
            Self::NfnetF2 | Self::DmNfnetF2 => square(256),
            Self::NasnetLarge => square(331),
            _ => square(224),
        }
    }

    /// Defaults that the architecture's authors chose.
    pub fn defaults(self) -> Defaults {
        use Activation::{Gelu, Hardswish, Hardtanh, Relu, Relu6, Silu};
        let of = |activation, normalization, residual| Defaults { activation, normalization, residual };
        let (none, batch, layer) = (Normalization::None, Normalization::Batch, Normalization::Layer);
        match self.name().split(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).next() {
            Some("resnet") => of(Relu, batch, true),
            Some("mobilenet") if self == Self::MobilenetV2 => of(Relu6, batch, true),
            Some("mobilenet") => of(Hardswish, batch, true),
            Some("efficientnet") => of(Silu, batch, true),
            Some("densenet" | "nasnet") => of(Relu, batch, false),
            Some("convnext" | "vit" | "deit") => of(Gelu, layer, true),
            Some("nfnet" | "dm") => of(Gelu, none, true),
            Some("binary") => of(Hardtanh, batch, true),
            _ => of(Relu, none, false),
        }
    }
}
