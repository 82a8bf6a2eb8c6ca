//! The division of the parameters into buckets, which are summed in one operation each.

/// Bytes from which a bucket is full, as in torch's DistributedDataParallel.
const FULL: usize = 25 << 20;
/// The first bucket is sent early, so that communication begins soon after backward.
const FIRST_FULL: usize = 1 << 20;

/// The buckets of a model, in the order in which backward fills them: parameters in the reverse order of the forward
/// pass. Depends on the parameters alone, so that a resumed run adds in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Indices of the parameters of each bucket.
    pub buckets: Vec<Vec<usize>>,
}

impl Layout {
    /// Divides parameters of these sizes in bytes.
    pub fn new(bytes: &[usize]) -> Self {
        let (mut buckets, mut bucket, mut filled) = (Vec::new(), Vec::new(), 0);
        for (index, bytes) in bytes.iter().enumerate().rev() {
            bucket.push(index);
            filled += bytes;
            if filled >= if buckets.is_empty() { FIRST_FULL } else { FULL } {
                buckets.push(std::mem::take(&mut bucket));
                filled = 0;
            }
        }
        if !bucket.is_empty() {
            buckets.push(bucket);
        }
        Self { buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parameters_come_first_and_the_first_bucket_is_small() {
        const MIB: usize = 1 << 20;
        let layout = Layout::new(&[8 * MIB, 10 * MIB, 20 * MIB, MIB / 2, MIB]);
        assert_eq!(layout.buckets, [vec![4], vec![3, 2, 1], vec![0]]);
        assert_eq!(Layout::new(&[]).buckets, Vec::<Vec<usize>>::new());
        assert_eq!(Layout::new(&[4, 4]).buckets, [vec![1, 0]]);
    }
}
