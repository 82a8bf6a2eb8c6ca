//! `gradwatch models`: lists the models and their cost.

use std::fmt::Write;

use anyhow::Result;
use gradwatch::{
    config::{Architecture, Config, ModelConfig},
    data::ImageShape,
    model::{self, Cost, LayerCost, ModelError},
};
use serde_json::{Value, json};

use super::{ModelsArguments, TextOrJson, exit::Code, print};

pub(super) fn run(arguments: &ModelsArguments) -> Result<Code> {
    let is_json = arguments.format == TextOrJson::Json;
    let text = match &arguments.name {
        None => list(arguments, is_json)?,
        Some(name) => {
            let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = {name:?}");
            let model = Config::parse_with(&toml, "models", &arguments.overrides)?.model;
            let input = arguments.input.unwrap_or_else(|| default_input(model.name));
            let cost = model::cost(&model, input, arguments.classes)?;
            if is_json { pretty(&described(&model, input, &cost, true))? } else { table(&model, input, &cost) }
        }
    };
    print(&text)?;
    Ok(Code::Success)
}

/// Same limit as `data.image_size`.
const MOST_PIXELS: usize = 8192;

/// Parses a shape such as `3x224x224`.
pub(super) fn shape(text: &str) -> Result<ImageShape, String> {
    let sides: Vec<Option<usize>> = text.split('x').map(|side| side.parse().ok()).collect();
    match sides[..] {
        [Some(channels @ 1..=1024), Some(height @ 1..=MOST_PIXELS), Some(width @ 1..=MOST_PIXELS)] => {
            Ok(ImageShape { channels, height, width })
        }
        _ => Err(format!("want channels (to 1024), height and width (to {MOST_PIXELS}), such as 3x224x224")),
    }
}

fn default_input(name: Architecture) -> ImageShape {
    let [channels, height, width] = name.default_input();
    ImageShape { channels, height, width }
}

/// The list of all models, as a table or a JSON array.
fn list(arguments: &ModelsArguments, is_json: bool) -> Result<String> {
    let mut text = String::from("model               parameters        MACs        input  activation  normalization\n");
    let mut objects = Vec::new();
    for &name in Architecture::ALL.iter().filter(|name| **name != Architecture::Torchscript) {
        let model = ModelConfig::as_published(name);
        let input = arguments.input.unwrap_or_else(|| default_input(name));
        let cost = match model::cost(&model, input, arguments.classes) {
            Ok(cost) => cost,
            // The model does not accept images of this size.
            Err(ModelError::InputTooSmall { .. } | ModelError::Patches { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        objects.push(described(&model, input, &cost, false));
        let ModelConfig { activation, normalization, .. } = model;
        let (parameters, macs) = (counted(cost.parameters as u64), counted(cost.macs));
        let input = sides(input);
        writeln!(text, "{name:<18}  {parameters:>10}  {macs:>10}  {input:>11}  {activation:<10}  {normalization}")?;
    }
    text += "torchscript         the layers from a file (model.path), written by models/export.py\n";
    if is_json { pretty(&Value::Array(objects)) } else { Ok(text) }
}

fn described(model: &ModelConfig, input: ImageShape, cost: &Cost, with_layers: bool) -> Value {
    let mut object = json!({
        "name": model.name.name(),
        "input": input.sizes(),
        "activation": model.activation.name(),
        "normalization": model.normalization.name(),
        "parameters": cost.parameters,
        "macs": cost.macs,
    });
    if with_layers {
        object["layers"] = json!(cost.layers);
    }
    object
}

fn pretty(value: &Value) -> Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// The table with one line per layer, and the totals.
fn table(model: &ModelConfig, input: ImageShape, cost: &Cost) -> String {
    let names = cost.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max("layer".len());
    let mut lines = vec![format!("{:<names$}  {:>14}  {:>11}  {:>13}", "layer", "output", "parameters", "MACs")];
    for LayerCost { name, output, parameters, macs } in &cost.layers {
        let output = output.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
        let macs = if *macs == 0 { String::new() } else { macs.to_string() };
        lines.push(format!("{name:<names$}  {output:>14}  {parameters:>11}  {macs:>13}").trim_end().to_owned());
    }
    lines.push(format!(
        "{} for images of {}: {} parameters, {} MACs per image",
        model.name,
        sides(input),
        cost.parameters,
        cost.macs
    ));
    lines.join("\n") + "\n"
}

fn sides(input: ImageShape) -> String {
    input.sizes().map(|side| side.to_string()).join("x")
}

/// Formats a count with three digits and a unit.
fn counted(count: u64) -> String {
    let (value, unit) = match count {
        1_000_000_000.. => (count as f64 / 1e9, "G"),
        1_000_000.. => (count as f64 / 1e6, "M"),
        _ => (count as f64 / 1e3, "k"),
    };
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits() {
        let counts = [61_706, 3_504_872, 11_689_512, 138_357_544, 15_470_264_320];
        assert_eq!(counts.map(counted), ["61.7 k", "3.50 M", "11.7 M", "138 M", "15.5 G"]);
    }

    #[test]
    fn a_shape_has_three_sides() {
        assert_eq!(shape("3x224x192"), Ok(ImageShape { channels: 3, height: 224, width: 192 }));
        for wrong in ["224", "3x224", "3x224xa", "1x2x3x4", "", "3x224xax224", "0x1x1", "3x0x8", "3x8x8193", "9x-1x8"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }
}
