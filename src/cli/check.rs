//! `gradwatch check`: validates an experiment without training it.

use anyhow::Result;
use gradwatch::{
    data::Dataset,
    disk::Output,
    libtorch::device_name,
    recording::batch_picture,
    train::{Prepared, prepare},
};

use super::{CheckArguments, exit::Code, log, print, session::known_bad};

pub(super) fn run(arguments: &CheckArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let output = arguments.show_batch.as_ref().map(|path| Output::choose(path, arguments.force)).transpose()?;
    let prepared = prepare(arguments.config.load(None)?)?;
    prepared.warn_about_images();
    let report = format!("{}\n", report(&prepared));
    let Some(mut output) = output else {
        print(&report)?;
        return Ok(Code::Success);
    };
    // Before the report: a full stdout costs only that.
    let Prepared { training, scale, .. } = &prepared;
    let picture = batch_picture(&training.first_batch()?, training.dataset().classes(), scale)?;
    output.write(&picture.png)?;
    if !output.is_stdout() {
        print(&report)?;
    }
    Ok(Code::Success)
}

fn report(prepared: &Prepared) -> String {
    let Prepared { config, device, network, training, validation, scale, .. } = prepared;
    let shape = training.dataset().shape();
    format!(
        "{}\n\
         device      {}\n\
         images      {} x {} x {} (channels x height x width), mean {:.4?}, std {:.4?}\n\
         training    {}, {} batches per epoch{}\n\
         validation  {}\n\
         logits      {}\n\n{}",
        config.to_toml(),
        device_name(*device),
        shape.channels,
        shape.height,
        shape.width,
        scale.mean(),
        scale.std(),
        counts(training.dataset()),
        training.batches_per_epoch(),
        if training.shape() == shape { String::new() } else { format!(", images of {}", training.shape()) },
        counts(validation.dataset()),
        network.classes,
        network.summary(),
    )
}

/// The number of images, and their range over the classes. Of multi-label data, also the number without a class.
fn counts(images: &Dataset) -> String {
    let labels = images.label_sets();
    let without = match labels.is_multi_label() {
        true => format!(", {} without a class", labels.iter().filter(|set| set.is_empty()).count()),
        false => String::new(),
    };
    let counts = images.class_counts();
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    let (images, classes, bad) = (images.len(), counts.len(), known_bad(&[images]));
    format!("{images} images in {classes} classes, {least} to {most} per class{without}{bad}")
}
