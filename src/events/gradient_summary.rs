//! Gradient statistics as TensorBoard scalars.

use super::{EventsError, Step, SummaryWriter};
use crate::gradient::GradientStatistics;

/// Writes `grad_norm/total`, and `grad_norm/<parameter>` and `grad_max_abs/<parameter>` of every parameter; where one
/// is not finite, also `grad_non_finite/<parameter>`, the number of its NaN and infinite elements.
///
/// # Errors
/// Where an earlier entry could not be written.
pub fn write_gradients(
    writer: &SummaryWriter,
    step: impl Into<Step>,
    statistics: &GradientStatistics,
) -> Result<(), EventsError> {
    let step = step.into();
    writer.scalar("grad_norm/total", step, statistics.total_norm)?;
    for parameter in &statistics.parameters {
        let name = &parameter.name;
        writer.scalar(format!("grad_norm/{name}"), step, parameter.norm)?;
        writer.scalar(format!("grad_max_abs/{name}"), step, parameter.max_abs)?;
        if parameter.non_finite_count > 0 {
            writer.scalar(format!("grad_non_finite/{name}"), step, parameter.non_finite_count as f64)?;
        }
    }
    Ok(())
}
