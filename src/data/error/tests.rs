use super::*;

#[test]
fn a_missing_file_is_told_from_an_unreadable_one() {
    let path = Path::new("data/x");
    assert_eq!(
        DataError::io(path, io::ErrorKind::NotFound.into()).to_string(),
        "data/x does not exist: check data.path (--set data.path=NEW)"
    );
    let demo = DataError::io(Path::new("data/fashion-mnist/x"), io::ErrorKind::NotFound.into()).to_string();
    assert!(demo.ends_with("data.path (--set data.path=NEW), or fetch Fashion-MNIST with `make setup-data`"), "{demo}");
    let mnist = DataError::io(Path::new("data/mnist/x"), io::ErrorKind::NotFound.into()).to_string();
    assert!(mnist.ends_with(", or fetch MNIST with `make setup-mnist`"), "{mnist}");
    assert!(matches!(DataError::io(path, io::ErrorKind::PermissionDenied.into()), DataError::Io { .. }));
}
