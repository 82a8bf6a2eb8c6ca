//! Event files without training: writes scalars, a histogram, an image, and text, then reads the file back.
//!
//! `cargo run --release --example event_files`, then `make tensorboard`.

use anyhow::Result;
use gradwatch::events::proto::{Content, What};
use gradwatch::events::{EventFile, Histogram, SummaryWriter};
use gradwatch::picture::HeatMap;

fn main() -> Result<()> {
    let writer = SummaryWriter::create("logs/event_files")?;
    let path = writer.path().to_owned();
    for step in 0..5u64 {
        let loss = 2.0 / (step + 1) as f64;
        writer.scalar("loss/train", step, loss)?;
        // Several numbers of one step, in one event.
        writer.scalars(step, [("learning_rate", 0.1), ("accuracy/train", 1.0 - 0.4 * loss)])?;
    }

    // 30 buckets of equal width.
    let weights: Vec<f32> = (0..1000).map(|index| (index as f32).sin()).collect();
    writer.histogram("weights", 4u64, Histogram::of(&weights, 30))?;

    // Any PNG file works; the pictures of gradwatch are PNG files too.
    let layers = ["conv1".to_owned(), "fc".to_owned()];
    let map = HeatMap {
        title: "gradient of each layer",
        unit: "log10 RMS",
        rows: &layers,
        columns: &[0, 2, 4],
        values: &[-2.0, -2.5, -3.0, -1.0, -1.5, -1.2],
        range: None,
    };
    let picture = map.draw()?;
    writer.image("gradients", 4u64, picture.png, picture.width, picture.height)?;

    // TensorBoard renders text as Markdown.
    writer.text("notes", 4u64, "five steps with a **falling** loss")?;

    // Waits until the writer's thread has written everything, and reports write errors.
    writer.close()?;

    println!("{}", path.display());
    for event in EventFile::open(&path)? {
        // A damaged record is an error; the next one may be readable.
        let event = event?;
        match event.what {
            Some(What::FileVersion(version)) => println!("format {version}"),
            Some(What::Summary(summary)) => {
                for value in summary.value {
                    let content = describe(value.content);
                    println!("step {}  {:<15} {content}", event.step, value.tag);
                }
            }
            // Marks for the start of a run, and entries of other programs.
            _ => {}
        }
    }
    Ok(())
}

/// One line about a value.
fn describe(content: Option<Content>) -> String {
    match content {
        Some(Content::SimpleValue(number)) => format!("{number:.3}"),
        Some(Content::Histogram(histogram)) => {
            let (count, buckets) = (histogram.num, histogram.bucket.len());
            format!("{count} values from {:.3} to {:.3} in {buckets} buckets", histogram.min, histogram.max)
        }
        Some(Content::Image(image)) => {
            let bytes = image.encoded_image_string.len();
            format!("PNG image, {} x {} pixels, {bytes} bytes", image.width, image.height)
        }
        // Text is a tensor of strings.
        Some(Content::Tensor(tensor)) => tensor.string_val.iter().map(|text| String::from_utf8_lossy(text)).collect(),
        None => "no value".to_owned(),
    }
}
