//! Tests that read event files of other programs.

use std::fs;

use super::tests::{summary, write};

#[test]
fn curves_of_add_scalars_lie_in_folders_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "lr", 0.1), (1, "lr", 0.1)]);
    for (curve, values) in [("Loss_train", [2.0, 1.0]), ("Loss_val", [3.0, 4.0]), ("other", [9.0, 9.0])] {
        let inner = folder.path().join(curve);
        fs::create_dir(&inner).unwrap();
        write(&inner, "1.host", &[(0, "Loss", values[0]), (1, "Loss", values[1])]);
    }
    // The folder of another run is not part of this one.
    let (said, _) = summary(folder.path());
    assert_eq!(said, "e0=NaN/3 s0=2 e1=2/4 s1=1");
}

#[test]
fn values_without_steps_are_numbered_and_negative_steps_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "loss", 3.0), (0, "loss", 2.0), (0, "loss", 1.0)]);
    assert_eq!(
        summary(folder.path()),
        ("s0=3 s1=2 s2=1".into(), vec!["the values have no steps: they are numbered in their order".to_owned()])
    );
    write(folder.path(), "1.host", &[(-1, "loss", 3.0), (0, "loss", 2.0), (1, "loss", 1.0)]);
    assert_eq!(summary(folder.path()), ("s0=2 s1=1".into(), vec!["1 value with a negative step: skipped".to_owned()]));
}
