//! Cosine between the gradients of successive steps.

use tch::{Kind, Tensor};

use super::GradientError;
use crate::libtorch::{Detail, foreach_copy, tensor_table};

/// A copy of the last step's gradients. It needs as much memory as the gradients.
#[derive(Default)]
pub struct PreviousGradient {
    copies: Vec<Tensor>,
}

impl PreviousGradient {
    /// Copies of the gradients of the last step.
    /// The copies, in the order of the gradients.
    pub fn copies(&self) -> &[Tensor] {
        &self.copies
    }

    /// Restores copies. Their memory layout may differ from that of the gradients.
    pub fn restore(&mut self, copies: Vec<Tensor>) {
        self.copies = copies;
    }

    /// Cosine between these gradients and those of the previous call, each as one vector: shape `[]`, f64. NaN if
    /// either vector is 0 or not finite. `None` at the first call, and if the shapes of the gradients changed. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn cosine(&mut self, grads: &[Tensor]) -> Result<Option<Tensor>, GradientError> {
        let is_comparable =
            !grads.is_empty() && self.copies.iter().map(Tensor::size).eq(grads.iter().map(Tensor::size));
        if !is_comparable {
            self.copies = grads.iter().map(Tensor::f_empty_like).collect::<Result<_, _>>()?;
            if !grads.is_empty() {
                foreach_copy(&self.copies, grads)?;
            }
            return Ok(None);
        }
        // Sums run in memory order, so copies from a file must first get the gradients' layout.
        for (copy, grad) in self.copies.iter_mut().zip(grads).filter(|(copy, grad)| copy.stride() != grad.stride()) {
            let mut laid_out = grad.f_empty_like()?;
            laid_out.f_copy_(copy)?;
            *copy = laid_out;
        }
        let product = |(grad, copy): (&Tensor, &Tensor)| grad.f_mul(copy)?.f_sum(Kind::Double);
        let products: Vec<Tensor> = grads.iter().zip(&self.copies).map(product).collect::<Result<_, _>>()?;
        let product = Tensor::f_stack(&products, 0)?.f_sum(Kind::Double)?;
        let norm = |tensors: &[Tensor]| -> Result<Tensor, GradientError> {
            Ok(tensor_table(tensors, Detail::Norms)?.f_select(1, 0)?.f_sum(Kind::Double)?.f_sqrt()?)
        };
        let cosine = product.f_div(&norm(grads)?.f_mul(&norm(&self.copies)?)?)?;
        foreach_copy(&self.copies, grads)?;
        Ok(Some(cosine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_as_derived_by_hand() {
        let mut previous = PreviousGradient::default();
        let mut cosine = |x: f32, y: f32| {
            let cosine = previous.cosine(&[Tensor::from_slice(&[x]), Tensor::from_slice(&[y])]).unwrap();
            cosine.map(|cosine| cosine.double_value(&[]))
        };
        assert_eq!(cosine(3.0, 4.0), None);
        assert_eq!(cosine(6.0, 8.0), Some(1.0));
        assert_eq!(cosine(-4.0, 3.0), Some(0.0));
        assert_eq!(cosine(4.0, -3.0), Some(-1.0));
        assert!(cosine(f32::NAN, 0.0).unwrap().is_nan());
        assert!(previous.cosine(&[Tensor::from_slice(&[1.0f32])]).unwrap().is_none());
    }
}
