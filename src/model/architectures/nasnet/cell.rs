//! The two cells found by the search: the normal cell preserves the side length of the feature maps, and the reduction
//! cell halves it.

use tch::{TchError, Tensor};

use super::{EPS, separable::Separable};
use crate::model::{
    ModelError, Pass,
    blocks::pad_same,
    layer::{Conv2d, Window},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// How the maps of the second-to-last cell are brought to the shape of the last cell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A 1x1 convolution.
    Plain,
    /// The maps are twice as large: two 1x1 convolutions of every second pixel.
    Halved,
    /// There are no such maps: the branches use the unmodified maps of the last cell.
    Stem,
}

/// Input of a node.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The maps of the last cell.
    Last,
    /// The maps of the second-to-last cell.
    Before,
    /// The output of an earlier node.
    Node(usize),
}

/// Operation of a node.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Separable(i64),
    Average,
    Maximum,
    Identity,
}

/// The two sides of a node, which are added: input, operation, stride.
type Node = [(Source, Kind, i64); 2];

/// Figure 4, left: the normal cell.
const NORMAL: [Node; 5] = [
    [(Source::Last, Kind::Separable(5), 1), (Source::Before, Kind::Separable(3), 1)],
    [(Source::Before, Kind::Separable(5), 1), (Source::Before, Kind::Separable(3), 1)],
    [(Source::Last, Kind::Average, 1), (Source::Before, Kind::Identity, 1)],
    [(Source::Before, Kind::Average, 1), (Source::Before, Kind::Average, 1)],
    [(Source::Last, Kind::Separable(3), 1), (Source::Last, Kind::Identity, 1)],
];

/// Figure 4, right: the reduction cell.
const REDUCTION: [Node; 5] = [
    [(Source::Last, Kind::Separable(5), 2), (Source::Before, Kind::Separable(7), 2)],
    [(Source::Last, Kind::Maximum, 2), (Source::Before, Kind::Separable(7), 2)],
    [(Source::Last, Kind::Average, 2), (Source::Before, Kind::Separable(5), 2)],
    [(Source::Node(1), Kind::Identity, 1), (Source::Node(0), Kind::Average, 1)],
    [(Source::Node(0), Kind::Separable(3), 1), (Source::Last, Kind::Maximum, 2)],
];

/// An operation of a node with its layers.
#[derive(Debug)]
enum Operation {
    Separable(Box<Separable>),
    Average(i64),
    Maximum(i64),
    Identity,
}

/// A cell of five nodes, whose outputs are concatenated.
#[derive(Debug)]
pub(super) struct Cell {
    squeeze: Squeeze,
    before: Before,
    nodes: Vec<[(Source, Operation); 2]>,
    entry: Entry,
    is_reduction: bool,
    width: i64,
}

impl Cell {
    /// Creates a cell with `width` channels per node. `inputs` are the numbers of channels of the second-to-last and
    /// the last cell.
    pub(super) fn new(
        path: &Path<'_>,
        entry: Entry,
        inputs: [i64; 2],
        width: i64,
        is_reduction: bool,
    ) -> Result<Self, ModelError> {
        let [before_inputs, last_inputs] = inputs;
        // Creates the layers in the order of the state_dict.
        let plain = match entry {
            Entry::Plain => Some(Squeeze::new(&(path / "conv_prev_1x1"), before_inputs, width)?),
            _ => None,
        };
        let squeeze = Squeeze::new(&(path / "conv_1x1"), last_inputs, width)?;
        let before = match (plain, entry) {
            (Some(plain), _) => Before::Plain(plain),
            (None, Entry::Stem) => Before::Stem,
            (None, _) => Before::Halved(Halved::new(path, before_inputs, width)?),
        };
        let table = if is_reduction { REDUCTION } else { NORMAL };
        let mut nodes = Vec::new();
        for (index, node) in table.into_iter().enumerate() {
            let operation = |side: usize, name: &str| {
                let (source, kind, stride) = node[side];
                let path = path / format!("comb_iter_{index}_{name}");
                // In a stem, the branches reduce the number of channels themselves.
                let is_wide = entry == Entry::Stem && matches!(source, Source::Before);
                let channels = if is_wide { [last_inputs, width, width] } else { [width; 3] };
                let operation = match kind {
                    Kind::Separable(side) => {
                        Operation::Separable(Box::new(Separable::new(&path, channels, side, stride)?))
                    }
                    Kind::Average => Operation::Average(stride),
                    Kind::Maximum => Operation::Maximum(stride),
                    Kind::Identity => Operation::Identity,
                };
                Ok::<_, ModelError>((source, operation))
            };
            nodes.push([operation(0, "left")?, operation(1, "right")?]);
        }
        Ok(Self { squeeze, before, nodes, entry, is_reduction, width })
    }

    /// Number of output channels.
    pub(super) fn channels(&self) -> i64 {
        if self.is_reduction { 4 * self.width } else { 6 * self.width }
    }

    /// Whether the cell is a reduction between two stages.
    pub(super) fn is_inner_reduction(&self) -> bool {
        self.is_reduction && self.entry == Entry::Plain
    }

    /// Computes the output from the maps of the last and the second-to-last cell.
    pub(super) fn forward(&self, last: &Tensor, before: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let right = self.squeeze.forward(last, pass)?;
        let left = match &self.before {
            Before::Plain(squeeze) => squeeze.forward(before, pass)?,
            Before::Halved(halved) => halved.forward(before, pass)?,
            Before::Stem => last.shallow_clone(),
        };
        let mut nodes: Vec<Tensor> = Vec::new();
        for sides in &self.nodes {
            let [one, other] = sides.each_ref().map(|(source, operation)| {
                let maps = match source {
                    Source::Last => &right,
                    Source::Before => &left,
                    Source::Node(index) => &nodes[*index],
                };
                operation.forward(maps, pass)
            });
            nodes.push(one?.f_add(&other?)?);
        }
        if self.is_reduction {
            Tensor::f_cat(&nodes[1..], 1)
        } else {
            nodes.insert(0, left);
            Tensor::f_cat(&nodes, 1)
        }
    }
}

impl Operation {
    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        match self {
            Self::Separable(separable) => separable.forward(maps, pass),
            Self::Identity => Ok(maps.shallow_clone()),
            Self::Average(1) => maps.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None),
            // The average includes the padding, as in timm.
            Self::Average(stride) => {
                pad_same(maps, 3, *stride, 0.0)?.f_avg_pool2d([3, 3], [*stride; 2], [0, 0], false, true, None)
            }
            Self::Maximum(stride) => {
                let padded = pad_same(maps, 3, *stride, f64::NEG_INFINITY)?;
                padded.f_max_pool2d([3, 3], [*stride; 2], [0, 0], [1, 1], false)
            }
        }
    }
}

/// Activation, 1x1 convolution, normalization.
#[derive(Debug)]
struct Squeeze {
    activate: Activate,
    conv: Conv2d,
    norm: Normalization,
}

impl Squeeze {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64) -> Result<Self, ModelError> {
        let conv = Conv2d::before_normalization(&(path / "conv"), inputs, outputs, Window::one(1))?;
        let norm = Normalization::of_maps(&(path / "bn"), outputs)?.with_eps(EPS);
        Ok(Self { activate: Activate::unseen(path), conv, norm })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.norm.forward(&self.conv.forward(&self.activate.forward(maps, pass)?)?, pass)
    }
}

/// Preprocessing of the maps of the second-to-last cell.
#[derive(Debug)]
enum Before {
    Plain(Squeeze),
    Halved(Halved),
    Stem,
}

/// Concatenates two convolutions of every second pixel, with an offset of one pixel between them.
#[derive(Debug)]
struct Halved {
    activate: Activate,
    paths: [Conv2d; 2],
    norm: Normalization,
}

impl Halved {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64) -> Result<Self, ModelError> {
        let half = (outputs / 2).max(1);
        let conv = |name: &str| {
            Conv2d::new(&(path / name / "conv"), [inputs, half], Window::one(1), Some(path.config().activation), false)
        };
        let paths = [conv("path_1")?, conv("path_2")?];
        let norm = Normalization::of_maps(&(path / "final_path_bn"), 2 * half)?.with_eps(EPS);
        Ok(Self { activate: Activate::unseen(path), paths, norm })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let maps = self.activate.forward(maps, pass)?;
        let every_second = |maps: &Tensor| maps.f_slice(2, 0, None, 2)?.f_slice(3, 0, None, 2);
        let shifted = maps.f_pad([-1, 1, -1, 1], "constant", 0.0)?;
        let halves = [self.paths[0].forward(&every_second(&maps)?)?, self.paths[1].forward(&every_second(&shifted)?)?];
        self.norm.forward(&Tensor::f_cat(&halves, 1)?, pass)
    }
}
