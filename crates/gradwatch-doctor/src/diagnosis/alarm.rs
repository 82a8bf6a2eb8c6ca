//! Alarms of other tools' rules.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{config::RuleSetName, number::short};

/// First alarm of a rule of another tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Name of the tool.
    pub set: RuleSetName,
    /// Name of its rule.
    pub rule: String,
    /// Optimizer step.
    pub step: u64,
    /// Parameter or layer; `None` for the whole model.
    pub place: Option<Arc<str>>,
    /// Measured value.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub seen: f64,
    /// Threshold that the value exceeds or falls below.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub bound: f64,
    /// Description of the value.
    pub meaning: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at step {}", self.set, self.rule, self.step)?;
        if let Some(place) = &self.place {
            write!(f, " in {place}")?;
        }
        write!(f, ": {} is {}, bound {}", self.meaning, short(self.seen), short(self.bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_says_everything_in_one_line() {
        let mut alarm = Alarm {
            set: RuleSetName::Sagemaker,
            rule: "VanishingGradient".into(),
            step: 500,
            place: Some("layers.0.linear.weight".into()),
            seen: 3.1e-9,
            bound: 1e-7,
            meaning: "mean |g|".into(),
        };
        let want = "sagemaker/VanishingGradient at step 500 in layers.0.linear.weight: mean |g| is 3.1e-9, bound 1e-7";
        assert_eq!(alarm.to_string(), want);
        (alarm.place, alarm.seen, alarm.bound) = (None, f64::NAN, 1000.0);
        assert_eq!(alarm.to_string(), "sagemaker/VanishingGradient at step 500: mean |g| is NaN, bound 1000");
        let back: Alarm = serde_json::from_str(&serde_json::to_string(&alarm).unwrap()).unwrap();
        assert_eq!(back.to_string(), alarm.to_string());
    }
}
