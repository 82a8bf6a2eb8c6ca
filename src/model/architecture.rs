//! What the name of an architecture stands for, checked against the images before anything is allocated.

use super::{
    Model, ModelError,
    cnn::{self, Cnn},
    lenet::{self, Lenet5},
    mlp::{self, Mlp},
    parameter::Path,
    resnet::{self, BlockKind, Resnet},
    torchscript::Torchscript,
    vgg::{self, Vgg},
};
use crate::config::{Architecture, ModelConfig};
use crate::data::ImageShape;

/// Far beyond what fits a machine, and small enough that products of four sizes stay within 64 bits.
const MOST: usize = 1 << 20;
const MOST_DEPTH: usize = 10_000;

/// A model that can be built, memory allowing.
#[derive(Debug)]
pub struct Plan {
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
    Torchscript,
}

impl Plan {
    /// Checks everything that can be wrong short of memory.
    pub fn new(config: &ModelConfig, input: ImageShape, classes: usize) -> Result<Self, ModelError> {
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
        size("model.groups", config.groups, 1, usize::MAX)?;
        let classes = size("classes", classes, 2, MOST)?;
        let width = config.width.map_or(Ok(family.default_width()), |width| size("model.width", width, 1, MOST))?;
        Ok(Self { family, input, width, classes })
    }

    /// Makes the layers and draws their weights.
    pub fn build(&self, root: &Path<'_>) -> Result<Box<dyn Model>, ModelError> {
        let Self { family, input, width, classes } = *self;
        Ok(match family {
            Family::Mlp { depth } => Box::new(Mlp::new(root, input.sizes().iter().product(), width, depth, classes)?),
            Family::Lenet5 => Box::new(Lenet5::new(root, input, width, classes)?),
            Family::Cnn { depth } => Box::new(Cnn::new(root, input, width, depth, classes)?),
            Family::Vgg { convolutions } => Box::new(Vgg::new(root, input, convolutions, width, classes)?),
            Family::Resnet(plan) => Box::new(Resnet::new(root, input, plan, width, classes)?),
            Family::Torchscript => {
                let file = root.config().path.as_ref().ok_or(ModelError::NoFile)?;
                Box::new(Torchscript::load(root, file, input, classes)?)
            }
        })
    }
}

impl Family {
    fn new(architecture: Architecture, depth: usize) -> Self {
        let cifar = |blocks| Self::Resnet(resnet::Plan::Cifar { blocks });
        let imagenet = |blocks, kind| Self::Resnet(resnet::Plan::Imagenet { blocks, kind });
        match architecture {
            Architecture::Mlp => Self::Mlp { depth },
            Architecture::Lenet5 => Self::Lenet5,
            Architecture::Cnn => Self::Cnn { depth },
            Architecture::Vgg11 => Self::Vgg { convolutions: [1, 1, 2, 2, 2] },
            Architecture::Vgg13 => Self::Vgg { convolutions: [2, 2, 2, 2, 2] },
            Architecture::Vgg16 => Self::Vgg { convolutions: [2, 2, 3, 3, 3] },
            Architecture::Vgg19 => Self::Vgg { convolutions: [2, 2, 4, 4, 4] },
            Architecture::Resnet8 => cifar(1),
            Architecture::Resnet20 => cifar(3),
            Architecture::Resnet32 => cifar(5),
            Architecture::Resnet44 => cifar(7),
            Architecture::Resnet56 => cifar(9),
            Architecture::Resnet110 => cifar(18),
            Architecture::Resnet18 => imagenet([2, 2, 2, 2], BlockKind::Basic),
            Architecture::Resnet34 => imagenet([3, 4, 6, 3], BlockKind::Basic),
            Architecture::Resnet50 => imagenet([3, 4, 6, 3], BlockKind::Bottleneck),
            Architecture::Resnet101 => imagenet([3, 4, 23, 3], BlockKind::Bottleneck),
            Architecture::Resnet152 => imagenet([3, 8, 36, 3], BlockKind::Bottleneck),
            Architecture::Torchscript => Self::Torchscript,
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
            // The file has its own.
            Self::Torchscript => 1,
        }
    }

    /// The smallest image side that leaves a pixel. The padded convolutions of a resnet always do; a file says so itself.
    fn least_side(self) -> usize {
        match self {
            Self::Mlp { .. } | Self::Resnet(_) | Self::Torchscript => 1,
            Self::Lenet5 => lenet::LEAST_SIDE,
            Self::Cnn { depth } => Cnn::least_side(depth),
            Self::Vgg { .. } => vgg::LEAST_SIDE,
        }
    }
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
        assert_eq!(mlp(|config| config.dropout = 1.0), "model.dropout: got 1, want from 0, below 1");
        assert!(mlp(|config| config.groups = 0).starts_with("model.groups: got 0, want 1..="));
        assert!(mlp(|config| config.dropout = f64::NAN).starts_with("model.dropout: got NaN"));
        assert_eq!(refusal(|_| (), Architecture::Mlp, 0), "image width: got 0, want 1..=1048576");
        let one = Plan::new(&fixture::config(Architecture::Mlp), ImageShape { channels: 1, height: 8, width: 8 }, 1);
        assert_eq!(one.unwrap_err().to_string(), "classes: got 1, want 2..=1048576");
    }

    #[test]
    fn lenet_has_no_layer_to_put_a_shortcut_around() {
        assert_eq!(
            refusal(|config| config.residual = true, Architecture::Lenet5, 32),
            "model.residual: got true, but lenet5 has no layer of equal input and output shape; set it to false"
        );
    }
}
