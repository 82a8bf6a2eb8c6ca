//! The labels of a batch on the device, and mixtures of its images.

use tch::{Device, Kind, Tensor};

use super::EvaluationError;
use crate::{
    data::{Batch, MixedPart},
    libtorch::{HostSlice, upload},
};

/// The labels of a batch.
#[derive(Debug)]
pub struct Targets {
    /// Class indices, `[n]` of i64. Of a mixture, the label with the larger weight. In multi-label data, the share of each
    /// class in each image, `[n, classes]` of f32, mixed as the images are.
    pub labels: Tensor,
    mixed_in: Option<MixedIn>,
}

/// Labels of the images that were mixed in.
#[derive(Debug)]
pub(super) struct MixedIn {
    /// `[n]` of i64.
    pub labels: Tensor,
    /// Their weights, at most 0.5: `[n]` of f32.
    pub shares: Tensor,
}

impl Targets {
    /// One label per image.
    pub fn of_labels(labels: Tensor) -> Self {
        Self { labels, mixed_in: None }
    }

    /// The targets of a batch whose labels are on the device already. No sync.
    pub(super) fn of_batch(batch: &Batch, labels: Tensor, device: Device) -> Result<Self, EvaluationError> {
        if is_multi_hot(&labels) {
            return Ok(Self::of_labels(match &batch.mixture {
                None => labels,
                Some(mixture) => mixed_multi_hot(&labels, &mixture.parts, device)?,
            }));
        }
        let Some(pairs) = batch.mixed_labels() else { return Ok(Self::of_labels(labels)) };
        let (mut most, mut other, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for (own, partner, share) in pairs {
            let (larger, smaller, share) =
                if share > 0.5 { (partner, own, 1.0 - share) } else { (own, partner, share) };
            most.push(larger);
            other.push(smaller);
            shares.push(share);
        }
        let slices = [HostSlice::Int64(&most), HostSlice::Int64(&other), HostSlice::Float(&shares)];
        let [most, other, shares] = upload(slices, device)?;
        Ok(Self { labels: most, mixed_in: Some(MixedIn { labels: other, shares }) })
    }

    pub(super) fn mixed_in(&self) -> Option<&MixedIn> {
        self.mixed_in.as_ref()
    }

    /// The targets of `length` images from `start` on.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn narrow(&self, start: i64, length: i64) -> Result<Self, EvaluationError> {
        let part = |tensor: &Tensor| tensor.f_narrow(0, start, length);
        let mixed_in = self.mixed_in.as_ref().map(|MixedIn { labels, shares }| {
            Ok::<_, EvaluationError>(MixedIn { labels: part(labels)?, shares: part(shares)? })
        });
        Ok(Self { labels: part(&self.labels)?, mixed_in: mixed_in.transpose()? })
    }
}

/// Whether labels are those of multi-label data.
pub(super) fn is_multi_hot(labels: &Tensor) -> bool {
    labels.dim() == 2
}

/// Mixes the rows `[n, classes]` of images with those of their partners, from the end. No sync.
fn mixed_multi_hot(rows: &Tensor, parts: &[MixedPart], device: Device) -> Result<Tensor, EvaluationError> {
    let shares: Vec<f32> = parts.iter().map(|part| part.share).collect();
    let [shares] = upload([HostSlice::Float(&shares)], device)?;
    Ok(rows.f_lerp_tensor(&rows.f_flip([0])?, &shares.f_unsqueeze(1)?)?)
}

/// Mixes each of the images `[n, channels, height, width]` with the one at the same place from the end. No sync.
pub(super) fn mixed(images: &Tensor, parts: &[MixedPart], device: Device) -> Result<Tensor, EvaluationError> {
    let Some(first) = parts.first() else { return Ok(images.shallow_clone()) };
    let (_, _, height, width) = images.size4()?;
    let partners = images.f_flip([0])?;
    if parts.iter().any(|part| part != first) {
        let weights = pixel_weights(parts, [height, width], device)?;
        return Ok(images.f_lerp_tensor(&partners, &weights)?);
    }
    let [top, bottom, left, right] = first.rectangle.map(i64::from);
    if [top, bottom, left, right] == [0, height, 0, width] {
        return Ok(images.f_lerp(&partners, f64::from(first.weight))?);
    }
    // CutMix replaces pixels; its weight is 1.
    let rectangle = |tensor: &Tensor| tensor.f_narrow(2, top, bottom - top)?.f_narrow(3, left, right - left);
    let mixed = images.f_detach_copy()?;
    rectangle(&mixed)?.f_copy_(&rectangle(&partners)?)?;
    Ok(mixed)
}

/// Weights of the partner of each image, `[n, 1, height, width]` of f32.
fn pixel_weights(parts: &[MixedPart], [height, width]: [i64; 2], device: Device) -> Result<Tensor, EvaluationError> {
    let edges: Vec<i32> = parts.iter().flat_map(|part| part.rectangle).collect();
    let weights: Vec<f32> = parts.iter().map(|part| part.weight).collect();
    let [edges, weights] = upload([HostSlice::Int(&edges), HostSlice::Float(&weights)], device)?;
    let edges = edges.f_reshape([-1, 4])?;
    // Whether each of `length` places lies from edge `first` of an image to the next: `[n, length]`.
    let is_within = |first: i64, length: i64| -> Result<Tensor, EvaluationError> {
        let places = Tensor::f_arange(length, (Kind::Int, device))?.f_unsqueeze(0)?;
        let edge = |number: i64| edges.f_narrow(1, number, 1);
        Ok(places.f_ge_tensor(&edge(first)?)?.f_logical_and(&places.f_lt_tensor(&edge(first + 1)?)?)?)
    };
    let (rows, columns) = (is_within(0, height)?, is_within(2, width)?);
    let is_inside = rows.f_unsqueeze(2)?.f_logical_and(&columns.f_unsqueeze(1)?)?.f_unsqueeze(1)?;
    Ok(is_inside.f_to_kind(Kind::Float)?.f_mul(&weights.f_reshape([-1, 1, 1, 1])?)?)
}

#[cfg(test)]
mod tests {
    use super::{super::Numerics, *};
    use crate::data::{Images, Mixture};

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.reshape([-1])).unwrap()
    }

    /// The same pixel by pixel.
    fn twin(images: &Tensor, parts: &[MixedPart]) -> Vec<f32> {
        let (count, channels, height, width) = images.size4().unwrap();
        let all = values(images);
        let at = |image: i64, channel: i64, row: i64, column: i64| {
            all[(((image * channels + channel) * height + row) * width + column) as usize]
        };
        let mut mixed = Vec::new();
        for (image, part) in (0..).zip(parts) {
            let [top, bottom, left, right] = part.rectangle.map(i64::from);
            for channel in 0..channels {
                for row in 0..height {
                    for column in 0..width {
                        let is_inside = (top..bottom).contains(&row) && (left..right).contains(&column);
                        let weight = if is_inside { part.weight } else { 0.0 };
                        let (own, other) =
                            (at(image, channel, row, column), at(count - 1 - image, channel, row, column));
                        mixed.push((1.0 - weight) * own + weight * other);
                    }
                }
            }
        }
        mixed
    }

    #[test]
    fn classes_of_multi_label_data_are_mixed_as_the_images_are() {
        let share = |share: f32| MixedPart { rectangle: [0, 1, 0, 1], weight: share, share };
        let batch = Batch {
            number: 0,
            images: Images::Normalized(vec![0.0; 3]),
            labels: Vec::new(),
            multi_hot: vec![1.0, 1.0, 0.0, 1.0, 0.0, 0.0],
            indices: vec![0, 1, 2],
            shape: [3, 1, 1, 1],
            mixture: Some(Mixture { parts: vec![share(0.25), share(0.5), share(0.75)] }),
        };
        let (_, targets) = Numerics::plain(Device::Cpu).to_device(&batch).unwrap();
        // The second image is its own partner.
        assert_eq!(values(&targets.labels), [0.75, 0.75, 0.0, 1.0, 0.75, 0.75]);
        assert_eq!(values(&targets.narrow(2, 1).unwrap().labels), [0.75, 0.75]);
        let (_, plain) = Numerics::plain(Device::Cpu).to_device(&Batch { mixture: None, ..batch }).unwrap();
        assert_eq!((values(&plain.labels), plain.labels.size()), (vec![1.0, 1.0, 0.0, 1.0, 0.0, 0.0], vec![3, 2]));
    }

    #[test]
    fn mixtures_are_those_of_a_twin_pixel_by_pixel() {
        let images = Tensor::arange(5 * 2 * 3 * 4, (Kind::Float, Device::Cpu)).reshape([5, 2, 3, 4]);
        let blend = MixedPart { rectangle: [0, 3, 0, 4], weight: 0.25, share: 0.25 };
        let cut = MixedPart { rectangle: [1, 3, 0, 2], weight: 1.0, share: 4.0 / 12.0 };
        let nothing = MixedPart { rectangle: [0; 4], weight: 0.0, share: 0.0 };
        for parts in [vec![blend; 5], vec![cut; 5], vec![nothing; 5], vec![blend, cut, nothing, cut, blend]] {
            let mixed = mixed(&images, &parts, Device::Cpu).unwrap();
            let worst =
                values(&mixed).iter().zip(twin(&images, &parts)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{parts:?}: {worst}");
        }
    }
}
