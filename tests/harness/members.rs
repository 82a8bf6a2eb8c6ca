//! One or two architectures of each family.

use gradwatch::config::Architecture;

/// Each with a width that keeps it small.
pub(crate) const MEMBERS: [(Architecture, usize); 18] = [
    (Architecture::Mlp, 8),
    (Architecture::Lenet5, 6),
    (Architecture::Cnn, 4),
    (Architecture::Vgg11, 4),
    (Architecture::Resnet8, 4),
    (Architecture::Resnet50, 4),
    (Architecture::MobilenetV2, 4),
    (Architecture::MobilenetV3Small, 4),
    (Architecture::EfficientnetB0, 4),
    (Architecture::Densenet121, 4),
    (Architecture::ConvnextTiny, 4),
    (Architecture::VitTiny, 8),
    (Architecture::DeitTiny, 8),
    (Architecture::NfnetF0, 16),
    (Architecture::DmNfnetF0, 16),
    (Architecture::NasnetMobile, 4),
    (Architecture::NasnetCifar, 2),
    (Architecture::BinaryResnet20, 4),
];
