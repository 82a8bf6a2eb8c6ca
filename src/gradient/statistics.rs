//! The gradients of one step in numbers, on the host.

/// One parameter's gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterGradient {
    /// The parameter's name.
    pub name: String,
    /// L2 norm; NaN or infinite where an element is. Taken in f32, and again in f64 where f32 cannot hold the squares.
    pub norm: f64,
    /// Largest absolute value; NaN where an element is.
    pub max_abs: f64,
    /// Elements that are NaN or infinite.
    pub non_finite_count: u64,
}

/// The gradients of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientStatistics {
    /// Each parameter that received a gradient, in the order of attachment.
    pub parameters: Vec<ParameterGradient>,
    /// L2 norm of all gradients as one vector; infinite where f32 cannot hold it, as the step is skipped then.
    pub total_norm: f64,
    /// Parameters that received no gradient since the last reading.
    pub missing: Vec<String>,
}

impl GradientStatistics {
    /// Whether every gradient is finite: only then may an optimizer step on them.
    pub fn is_finite(&self) -> bool {
        self.total_norm.is_finite()
    }

    /// The first parameter, in the order of attachment, whose gradient is not finite.
    pub fn first_non_finite(&self) -> Option<&ParameterGradient> {
        self.parameters.iter().find(|parameter| parameter.non_finite_count > 0)
    }
}
