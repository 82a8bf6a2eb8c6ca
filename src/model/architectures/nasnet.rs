//! NASNet-A (Zoph et al. 2018): cells found by architecture search. Has the layout and names of timm, which implements
//! the large network.

mod cell;
mod separable;

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    layer::{Conv2d, Dropout, Linear, Window, average},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};
use cell::{Cell, Entry};

/// Added to the variance.
const EPS: f64 = 1e-3;
/// Index of the first normal cell of each of the three stages: `cell_0`, `cell_6`, and `cell_12`, regardless of the
/// number of cells.
const STAGES: [usize; 3] = [0, 6, 12];

/// One of the paper's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// 4 cells per stage, for ImageNet.
    Mobile,
    /// 6 cells per stage, for ImageNet. The second input of the cell after a reduction is the second-to-last cell
    /// before the reduction.
    Large,
    /// 6 cells per stage, for CIFAR: no strides before the first cell.
    Cifar,
}

impl Plan {
    /// Number of channels per node in the first stage, unless the config sets it.
    pub(super) const fn default_width(self) -> i64 {
        match self {
            Self::Mobile => 44,
            Self::Large => 168,
            Self::Cifar => 32,
        }
    }

    const fn cells(self) -> usize {
        match self {
            Self::Mobile => 4,
            Self::Large | Self::Cifar => 6,
        }
    }

    /// Number of channels of the first convolution at this width.
    fn stem(self, width: i64) -> i64 {
        match self {
            Self::Mobile => (32 * width / 44).max(1),
            Self::Large => (96 * width / 168).max(1),
            Self::Cifar => 3 * width,
        }
    }

    /// Minimum side length of an image, so that the first convolution leaves at least one pixel.
    pub(super) const fn least_side(self) -> usize {
        match self {
            Self::Mobile | Self::Large => 3,
            Self::Cifar => 1,
        }
    }
}

/// `conv0`, `cell_stem_0` and `cell_stem_1` (not for CIFAR), `cell_0` and so on, `reduction_cell_0`, `cell_6` and so
/// on, `reduction_cell_1`, `cell_12` and so on, global average pooling, `last_linear`. The inputs of a cell are the two
/// cells before it.
#[derive(Debug)]
pub(super) struct NasNet {
    conv0: Conv2d,
    norm0: Normalization,
    cells: Vec<Cell>,
    skips: bool,
    activate: Activate,
    classifier: Linear,
    dropout: Dropout,
}

/// The cells so far, and the numbers of output channels of the last two.
struct Growth<'a> {
    root: &'a Path<'a>,
    cells: Vec<Cell>,
    before: i64,
    last: i64,
}

impl Growth<'_> {
    fn push(&mut self, name: &str, entry: Entry, width: i64, is_reduction: bool) -> Result<(), ModelError> {
        let cell = Cell::new(&(self.root / name), entry, [self.before, self.last], width, is_reduction)?;
        let given = cell.channels();
        self.cells.push(cell);
        (self.before, self.last) = (self.last, given);
        Ok(())
    }
}

impl NasNet {
    /// Creates a network with `width` channels per node in the first stage, a multiple of 4 for ImageNet.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let [channels, ..] = input.sizes();
        let (stem, is_cifar) = (plan.stem(width), plan == Plan::Cifar);
        let window = if is_cifar { Window::three(1) } else { Window { padding: [0, 0], ..Window::three(2) } };
        let path = root / "conv0";
        let conv0 = Conv2d::projection(&(&path / "conv"), channels, stem, window)?;
        let norm0 = Normalization::of_maps(&(&path / "bn"), stem)?.with_eps(EPS);
        let mut growth = Growth { root, cells: Vec::new(), before: stem, last: stem };
        if !is_cifar {
            growth.push("cell_stem_0", Entry::Stem, (width / 4).max(1), true)?;
            growth.push("cell_stem_1", Entry::Halved, (width / 2).max(1), true)?;
        }
        for (stage, first) in STAGES.into_iter().enumerate() {
            let (width, skips) = (width << stage, plan == Plan::Large);
            if stage > 0 {
                let kept = growth.before;
                growth.push(&format!("reduction_cell_{}", stage - 1), Entry::Plain, width, true)?;
                if skips {
                    growth.before = kept;
                }
            }
            for index in 0..plan.cells() {
                let is_halved = index == 0 && !(stage == 0 && is_cifar);
                let entry = if is_halved { Entry::Halved } else { Entry::Plain };
                growth.push(&format!("cell_{}", first + index), entry, width, false)?;
            }
        }
        let outputs = growth.last;
        let classifier = Linear::classifier(&(root / "last_linear"), outputs, classes)?;
        let (skips, activate) = (plan == Plan::Large, Activate::unseen(root));
        Ok(Self { conv0, norm0, cells: growth.cells, skips, activate, classifier, dropout: Dropout::new(root) })
    }
}

impl Model for NasNet {
    fn head(&self) -> &str {
        "last_linear"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut last = self.norm0.forward(&self.conv0.forward(images)?, pass)?;
        let mut before = last.shallow_clone();
        for cell in &self.cells {
            let maps = cell.forward(&last, &before, pass)?;
            if !(self.skips && cell.is_inner_reduction()) {
                before = last;
            }
            last = maps;
        }
        let features = average(&pass.show_feature_maps(self.activate.forward(&last, pass)?)?)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}
