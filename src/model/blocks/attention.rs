//! Self-attention (Vaswani et al. 2017).

use tch::{TchError, Tensor};

use crate::model::{ModelError, ParameterName, cost_counter, layer::Linear, parameter::Path};

/// Multi-head self-attention over `[batch, tokens, width]`: `qkv`, the heads, `proj`.
#[derive(Debug)]
pub(crate) struct Attention {
    name: ParameterName,
    qkv: Linear,
    proj: Linear,
    heads: i64,
}

impl Attention {
    /// Creates the layer. `heads` must divide `width`.
    pub(crate) fn new(path: &Path<'_>, width: i64, heads: i64) -> Result<Self, ModelError> {
        let qkv = Linear::projection(&(path / "qkv"), width, 3 * width)?;
        Ok(Self { name: path.name()?, qkv, proj: Linear::projection(&(path / "proj"), width, width)?, heads })
    }

    /// Averages the tokens' values, weighted by the softmax of query times key, divided by the square root of a head's
    /// width.
    pub(crate) fn forward(&self, tokens: &Tensor) -> Result<Tensor, TchError> {
        let (batch, count, width) = tokens.size3()?;
        // Dimension -1 keeps the batch size flexible in a trace of the pass.
        let split = [-1, count, 3, self.heads, width / self.heads];
        let parts = self.qkv.forward(tokens)?.f_view(split)?.f_permute([2, 0, 3, 1, 4])?;
        let [query, key, value] = [0, 1, 2].map(|part| parts.f_select(0, part));
        let (query, key, value) = (query?, key?, value?);
        let seen =
            Tensor::f_scaled_dot_product_attention::<Tensor>(&query, &key, &value, None, 0.0, false, None, false)?;
        // Queries times keys, and their softmax times values.
        cost_counter::note(&self.name, &[batch, count, width], 2 * (count * count * width));
        self.proj.forward(&seen.f_transpose(1, 2)?.f_reshape([-1, count, width])?)
    }
}
