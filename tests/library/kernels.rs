//! The CUDA kernels without a GPU: their results, emulated on the CPU, and their compilation by NVRTC for every
//! architecture.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where `make setup` puts NVRTC.
const NVRTC: &str = ".deps/nvrtc-13.0.88";

/// Compiles files of tests/kernels to a program.
fn build(name: &str, sources: &[&str], flags: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let folder = Path::new(ROOT).join("tests/kernels");
    let mut command = Command::new(&compiler);
    command.args(["-std=c++17", "-O2"]).args(sources.iter().map(|source| folder.join(source)));
    command.arg("-o").arg(&program).args(flags);
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", compiler.display()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Checks that a program succeeds; otherwise shows its output.
fn runs(command: &mut Command) {
    let output = command.output().unwrap();
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}\n{said}{errors}", output.status);
}

#[test]
fn emulated_kernels_compute_what_slow_twins_compute() {
    let sources = [
        "emulated.cpp",
        "check.cpp",
        "check_table.cpp",
        "check_units.cpp",
        "check_activation.cpp",
        "check_step.cpp",
        "check_guesses.cpp",
        "check_pixels.cpp",
    ];
    // A misaligned load is an error on a GPU; here it traps.
    let checks = ["-fsanitize=alignment,signed-integer-overflow,shift", "-fsanitize-undefined-trap-on-error"];
    runs(&mut Command::new(build("check-kernels", &sources, &checks)));
}

#[test]
fn nvrtc_compiles_every_kernel_for_every_architecture_without_a_warning() {
    let library = Path::new(ROOT).join(NVRTC);
    assert!(library.exists(), "{NVRTC} does not exist; to fix it: make setup");
    let program = build("compile-kernels", &["compile.cpp"], &["-ldl"]);
    let files = fs::read_dir(Path::new(ROOT).join("src/libtorch/kernels")).unwrap();
    let mut kernels: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    kernels.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    assert!(!kernels.is_empty());
    // All of them in one source, as in the program.
    let together = Path::new(env!("CARGO_TARGET_TMPDIR")).join("all-kernels");
    fs::create_dir_all(&together).unwrap();
    for header in ["types.h", "device.h"] {
        fs::copy(Path::new(ROOT).join("src/libtorch/kernels").join(header), together.join(header)).unwrap();
    }
    let sources: Vec<String> = kernels.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    fs::write(together.join("all.cu"), sources.concat()).unwrap();
    kernels.push(together.join("all.cu"));
    runs(Command::new(program).arg(library).args(kernels));
}
