//! Tests of the sums of a pass.

use super::*;
use crate::disk::copy_named;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[test]
fn two_batches_are_counted_into_one_matrix() {
    let mut tally = Tally::new(3, Device::Cpu).unwrap();
    let logits = Tensor::from_slice(&[9.0f32, 0.0, 1.0, 0.0, 2.0, 1.0]).reshape([2, 3]);
    tally.add(&logits, &Tensor::from_slice(&[0i64, 2]), &Tensor::from(1.5f32), 2.0).unwrap();
    tally.add(&logits.narrow(0, 1, 1), &Tensor::from_slice(&[1i64]), &Tensor::from(0.5f32), 1.0).unwrap();
    let metrics = tally.read(&["a", "b", "c"].map(String::from)).unwrap();
    assert_eq!(metrics.confusion.unwrap().matrix(), [[1, 0, 0], [0, 1, 0], [0, 1, 0]]);
    assert_eq!(metrics.loss, 2.0 / 3.0);
    assert_eq!(metrics.top5_accuracy, 1.0);
}

#[test]
fn a_label_among_the_first_five_guesses_is_a_top_5_hit() {
    let mut tally = Tally::new(7, Device::Cpu).unwrap();
    let logits = Tensor::from_slice(&[7.0f32, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).reshape([1, 7]);
    for label in 0..7i64 {
        tally.add(&logits, &Tensor::from_slice(&[label]), &Tensor::from(0.0f32), 1.0).unwrap();
    }
    let metrics = tally.read(&names(7)).unwrap();
    assert_eq!((metrics.accuracy, metrics.top5_accuracy), (1.0 / 7.0, 5.0 / 7.0));
}

#[test]
fn the_lower_index_wins_a_tie_and_nan_ranks_first() {
    const NAN: f32 = f32::NAN;
    let rows: [[f32; 7]; 4] =
        [[0.0; 7], [NAN; 7], [1.0, NAN, 9.0, NAN, 0.0, 2.0, 3.0], [3.0, -0.0, 0.0, 1.0, 2.0, 0.0, 0.0]];
    let logits = Tensor::from_slice(rows.as_flattened()).reshape([4, 7]);
    let before =
        |label: i64| Vec::<i64>::try_from(logits_before(&logits, &Tensor::from_slice(&[label; 4])).unwrap()).unwrap();
    assert_eq!((before(0), before(3), before(5)), (vec![0, 0, 5, 0], vec![3, 3, 1, 2], vec![5, 5, 4, 5]));
    assert_eq!(Vec::<i64>::try_from(logits.argmax(1, false)).unwrap(), [0, 0, 1, 0]);
    let mut tally = Tally::new(7, Device::Cpu).unwrap();
    tally.add(&logits, &Tensor::from_slice(&[4i64, 5, 5, 0]), &Tensor::from(0.0f32), 4.0).unwrap();
    let metrics = tally.read(&names(7)).unwrap();
    assert_eq!((metrics.accuracy, metrics.top5_accuracy), (0.25, 0.75));
}

/// Batches of random labels and logits, some of them correct, and the whole matrix counted image by image.
fn batches(classes: i64, images: i64) -> (Vec<(Tensor, Tensor)>, Vec<Vec<u64>>) {
    tch::manual_seed(classes);
    let mut matrix = vec![vec![0u64; classes as usize]; classes as usize];
    let batches = (0..5).map(|_| {
        let labels = Tensor::randint(classes, [images], (Kind::Int64, Device::Cpu));
        let truth = labels.one_hot(classes).to_kind(Kind::Float) * 3.0;
        let logits = Tensor::randn([images, classes], (Kind::Float, Device::Cpu)) + truth;
        let guesses = Vec::<i64>::try_from(logits.argmax(1, false)).unwrap();
        let of_batch = Vec::<i64>::try_from(&labels).unwrap();
        of_batch.iter().zip(guesses).for_each(|(&label, guess)| matrix[label as usize][guess as usize] += 1);
        (logits, labels)
    });
    (batches.collect(), matrix)
}

fn add_all(tally: &mut Tally, batches: &[(Tensor, Tensor)]) {
    for (logits, labels) in batches {
        tally.add(logits, labels, &Tensor::from(1.0f32), labels.numel() as f64).unwrap();
    }
}

#[test]
fn few_classes_and_many_are_counted_as_the_whole_matrix_counts_them() {
    // 1,500 images in five batches exceed the initial capacity of the list.
    for classes in [1, 2, 100, 101, 700] {
        let (batches, matrix) = batches(classes as i64, 300);
        let want = Confusion::of_matrix(&matrix);
        let (mut plain, mut whole) =
            (Tally::new(classes, Device::Cpu).unwrap(), Tally::with_confusion(classes, Device::Cpu).unwrap());
        add_all(&mut plain, &batches);
        add_all(&mut whole, &batches);
        let (plain, whole) = (plain.read(&names(classes)).unwrap(), whole.read(&names(classes)).unwrap());
        assert_eq!(whole.confusion.as_ref(), Some(&want), "{classes}");
        assert_eq!(plain.confusion.as_ref(), Some(&want).filter(|_| classes <= 100), "{classes}");
        let twin = Metrics::new(plain.loss, 0, &want.counts(), None, &names(classes));
        for metrics in [plain, whole] {
            assert_eq!(metrics.per_class, twin.per_class, "{classes}");
            assert_eq!(
                [metrics.accuracy, metrics.precision, metrics.recall, metrics.f1],
                [twin.accuracy, twin.precision, twin.recall, twin.f1]
            );
        }
    }
}

fn state(tally: &Tally) -> NamedTensors {
    tally.state().into_iter().map(|(name, sum)| (format!("tally.{name}"), sum)).collect()
}

#[test]
fn a_tally_goes_on_from_its_state_and_from_the_matrix_that_an_earlier_version_kept() {
    for classes in [3, 120] {
        let (batches, matrix) = batches(classes as i64, 40);
        let mut first = Tally::new(classes, Device::Cpu).unwrap();
        add_all(&mut first, &batches);
        let cells: Vec<i64> = matrix.iter().flatten().map(|&images| images as i64).collect();
        let earlier = ("tally.confusion".to_owned(), Tensor::from_slice(&cells));
        for saved in [state(&first), vec![state(&first).swap_remove(0), earlier]] {
            let mut second = Tally::new(classes, Device::Cpu).unwrap();
            copy_named(&second.upgrade_state(saved).unwrap(), &state(&second)).unwrap();
            second.counts = first.counts;
            let (got, want) = (second.read(&names(classes)).unwrap(), first.read(&names(classes)).unwrap());
            assert_eq!(got, want, "{classes}");
        }
        let other = Tally::new(classes + 1, Device::Cpu).unwrap();
        assert!(copy_named(&other.upgrade_state(state(&first)).unwrap(), &state(&other)).is_err());
    }
}

#[test]
fn what_a_checkpoint_keeps_grows_with_the_classes_and_not_with_their_square() {
    let numbers = |classes| {
        let tally = Tally::with_confusion(classes, Device::Cpu).unwrap();
        tally.state().iter().map(|(_, tensor)| tensor.numel()).sum::<usize>()
    };
    assert_eq!((numbers(100), numbers(101), numbers(60_000)), (10_003, 306, 180_003));
}
