//! The classes of a trained model, as in `classes.json`.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::InferenceError;

/// Probability from which an image is predicted as a class of multi-label data.
pub const PREDICTED: f64 = 0.5;

/// The classes of a model, and whether an image has exactly one of them or any number. In JSON: a list of the names, or
/// `{"multi_label": [...]}`, which versions without multi-label models refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct ModelClasses {
    /// Names, by index.
    pub names: Vec<String>,
    /// How logits become probabilities.
    pub probabilities: Probabilities,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    One(Vec<String>),
    Any { multi_label: Vec<String> },
}

impl From<Json> for ModelClasses {
    fn from(json: Json) -> Self {
        match json {
            Json::One(names) => Self { names, probabilities: Probabilities::Softmax },
            Json::Any { multi_label: names } => Self { names, probabilities: Probabilities::Sigmoid },
        }
    }
}

impl From<ModelClasses> for Json {
    fn from(ModelClasses { names, probabilities }: ModelClasses) -> Self {
        match probabilities {
            Probabilities::Softmax => Self::One(names),
            Probabilities::Sigmoid => Self::Any { multi_label: names },
        }
    }
}

/// How the logits of a model become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probabilities {
    /// An image has exactly one class.
    Softmax,
    /// Each class of an image is an independent yes/no decision, as in multi-label data.
    Sigmoid,
}

impl Probabilities {
    /// Those of a model that is trained on data of this kind.
    pub fn of_data(is_multi_label: bool) -> Self {
        if is_multi_label { Self::Sigmoid } else { Self::Softmax }
    }

    /// The probabilities of logits `[n, classes]`, in f64.
    pub(super) fn of(self, logits: &Tensor) -> Result<Tensor, InferenceError> {
        Ok(match self {
            Self::Softmax => logits.f_softmax(-1, Kind::Double)?,
            Self::Sigmoid => logits.f_to_kind(Kind::Double)?.f_sigmoid()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_one_per_image_are_a_list_as_before_and_others_are_not() {
        let names = || ["ant", "bee"].map(String::from).to_vec();
        let one = ModelClasses { names: names(), probabilities: Probabilities::Softmax };
        let any = ModelClasses { probabilities: Probabilities::Sigmoid, ..one.clone() };
        let texts = [r#"["ant","bee"]"#, r#"{"multi_label":["ant","bee"]}"#];
        for (classes, text) in [one, any].into_iter().zip(texts) {
            assert_eq!(serde_json::to_string(&classes).unwrap(), text);
            assert_eq!(serde_json::from_str::<ModelClasses>(text).unwrap(), classes);
        }
        assert!(serde_json::from_str::<Vec<String>>(texts[1]).is_err());
    }

    #[test]
    fn sigmoids_do_not_add_up_to_1() {
        let logits = Tensor::from_slice(&[0.0f32, 3.0f32.ln()]).reshape([1, 2]);
        let values =
            |probabilities: Probabilities| Vec::<f64>::try_from(probabilities.of(&logits).unwrap().reshape([-1]));
        let near = |got: Vec<f64>, want: [f64; 2]| got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-7);
        assert!(near(values(Probabilities::Sigmoid).unwrap(), [0.5, 0.75]));
        assert!(near(values(Probabilities::Softmax).unwrap(), [0.25, 0.75]));
    }
}
