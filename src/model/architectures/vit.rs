//! Vision transformers: ViT (Dosovitskiy et al. 2021) and DeiT (Touvron et al. 2021), with the layout and names of
//! timm.

use tch::{Device, Kind, TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::{Attention, StochasticDepth},
    layer::{Conv2d, Dropout, Linear, Window},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Side length of a patch, unless the config sets it.
pub(super) const DEFAULT_PATCH: usize = 16;
const DEPTH: usize = 12;
/// Width of an attention head.
const HEAD: i64 = 64;
const EPS: f64 = 1e-6;
/// Ratio of hidden units to the width in a block.
const WIDENING: i64 = 4;
/// Initial standard deviation of tokens and position embeddings.
const STD: f64 = 0.02;

/// Default width of a transformer, and its output tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Size of a token.
    pub width: i64,
    /// Whether there is a second token that learns from a teacher. The logits are then the mean of both tokens' logits.
    pub is_distilled: bool,
}

/// `patch_embed.proj`, `cls_token` (`dist_token`), `pos_embed`, `blocks.0` to `.11`, `norm`, `head` (`head_dist`).
#[derive(Debug)]
pub(super) struct Vit {
    tokens: Vec<Tensor>,
    positions: Tensor,
    patches: Conv2d,
    blocks: Vec<Block>,
    norm: Normalization,
    heads: Vec<Linear>,
    dropout: Dropout,
}

impl Vit {
    /// Creates a transformer with tokens of `width` numbers, for images with side lengths that are multiples of
    /// `patch`.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        [patch, width, classes]: [i64; 3],
    ) -> Result<Self, ModelError> {
        let [channels, rows, columns] = input.sizes();
        let readouts: &[_] = if plan.is_distilled { &[("dist_token", "head_dist")] } else { &[] };
        let count = (rows / patch) * (columns / patch) + 1 + readouts.len() as i64;
        let learned = |name: &str, count: i64| {
            let values = Tensor::f_empty([1, count, width], (Kind::Float, Device::Cpu))?.f_normal_(0.0, STD)?;
            root.parameter(name, &values)
        };
        let mut tokens = vec![learned("cls_token", 1)?];
        let positions = learned("pos_embed", count)?;
        for (token, _) in readouts {
            tokens.push(learned(token, 1)?);
        }
        let path = root / "patch_embed" / "proj";
        let patches = Conv2d::new(&path, [channels, width], Window::patches(patch), None, true)?;
        let block = |index: usize| {
            let drop = StochasticDepth::of_block(root, index, DEPTH);
            let shown = (index + 1 == DEPTH)
                .then_some(Grid { others: 1 + readouts.len() as i64, sides: [rows / patch, columns / patch] });
            Block::new(&(root / "blocks" / index), width, drop, shown)
        };
        let blocks = (0..DEPTH).map(block).collect::<Result<_, _>>()?;
        let norm = Normalization::of_positions(&(root / "norm"), width)?.with_eps(EPS);
        let mut heads = vec![Linear::classifier(&(root / "head"), width, classes)?];
        for (_, head) in readouts {
            heads.push(Linear::classifier(&(root / head), width, classes)?);
        }
        Ok(Self { tokens, positions, patches, blocks, norm, heads, dropout: Dropout::new(root) })
    }
}

impl Model for Vit {
    fn head(&self) -> &str {
        "head"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let patches = self.patches.forward(images)?.f_flatten(2, -1)?.f_transpose(1, 2)?;
        let one = patches.f_narrow(1, 0, 1)?;
        let mut all = Vec::new();
        for token in &self.tokens {
            all.push(token.f_expand_as(&one)?);
        }
        all.push(patches);
        let mut tokens = Tensor::f_cat(&all, 1)?.f_add(&self.positions)?;
        for block in &self.blocks {
            tokens = block.forward(&tokens, pass)?;
        }
        let tokens = self.norm.forward_last(&tokens, pass)?;
        let mut logits = Vec::new();
        for (place, head) in (0..).zip(&self.heads) {
            logits.push(head.forward(&self.dropout.forward(&tokens.f_select(1, place)?, pass)?)?);
        }
        match &logits[..] {
            [one] => Ok(one.shallow_clone()),
            [one, other] => one.f_add(other)?.f_div_scalar(2),
            _ => Err(TchError::Shape("a transformer has one or two heads".into())),
        }
    }
}

/// Attention, and two linear layers with the activation in between. Each part follows a normalization, and its input is
/// added to its output.
#[derive(Debug)]
struct Block {
    norm1: Normalization,
    attention: Attention,
    norm2: Normalization,
    widen: Linear,
    activate: Activate,
    narrow: Linear,
    is_residual: bool,
    drop: StochasticDepth,
    /// Patch grid of the last block, whose tokens are shown as feature maps.
    shown: Option<Grid>,
}

/// Position of the patch tokens.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// Number of tokens before the patches.
    others: i64,
    /// Rows and columns of the patch grid.
    sides: [i64; 2],
}

impl Block {
    fn new(path: &Path<'_>, width: i64, drop: StochasticDepth, shown: Option<Grid>) -> Result<Self, ModelError> {
        let heads = (1..=(width / HEAD).max(1)).rev().find(|heads| width % heads == 0).unwrap_or(1);
        let norm1 = Normalization::of_positions(&(path / "norm1"), width)?.with_eps(EPS);
        let attention = Attention::new(&(path / "attn"), width, heads)?;
        let norm2 = Normalization::of_positions(&(path / "norm2"), width)?.with_eps(EPS);
        let path_of = |name: &str| path / "mlp" / name;
        let widen = Linear::hidden(&path_of("fc1"), width, WIDENING * width)?;
        let narrow = Linear::projection(&path_of("fc2"), WIDENING * width, width)?;
        let (activate, is_residual) = (Activate::behind(&path_of("fc1"))?, path.config().residual);
        Ok(Self { norm1, attention, norm2, widen, activate, narrow, is_residual, drop, shown })
    }

    fn forward(&self, tokens: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut normal = self.norm1.forward_last(tokens, pass)?;
        if let Some(Grid { others, sides }) = self.shown {
            normal = pass.show_tokens(normal, others, sides)?;
        }
        let seen = self.attention.forward(&normal)?;
        let tokens = self.on_top(seen, tokens, pass)?;
        let hidden = self.widen.forward(&self.norm2.forward_last(&tokens, pass)?)?;
        self.on_top(self.narrow.forward(&self.activate.forward(&hidden, pass)?)?, &tokens, pass)
    }

    fn on_top(&self, branch: Tensor, tokens: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        if self.is_residual { self.drop.forward(branch, pass)?.f_add(tokens) } else { Ok(branch) }
    }
}
