//! How well rules tell faulty runs from healthy ones, how soon, and whether they name the fault.

mod cases;
mod images;
mod traces;

use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/diagnosis-traces");
    let mut cases = cases::all();
    if let Ok(only) = std::env::var("ONLY") {
        cases.retain(|case| format!("{} {}", case.architecture, case.name).contains(&only));
    }
    let folders = traces::train_all(&root, &cases);
    eprintln!("{} of {} runs", folders.iter().flatten().count(), cases.len());
}
