//! Compiles the C++ shim, and embeds the path of the linked libtorch in the binary.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The C++ files of the shim, without their extension.
const SHIM: [&str; 22] = [
    "activations",
    "composed",
    "events",
    "fused",
    "gpu_batch",
    "gpu_step",
    "gpu_tables",
    "gpu_units",
    "hooks",
    "kernels",
    "octaves",
    "pinned",
    "precision",
    "runtime",
    "script",
    "sums",
    "tables",
    "tensors",
    "trace",
    "units",
    "uploads",
    "values",
];
/// Translation units to compile. Each one takes seconds to read libtorch's headers, so they include several files.
const PARTS: usize = 4;

fn main() {
    println!("cargo:rerun-if-changed=src/libtorch/shim");
    println!("cargo:rerun-if-changed=src/libtorch/kernels");
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    // torch-sys exports only the lib folder, and only to crates that depend on it directly.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        eprintln!("torch-sys did not say where libtorch is; run `make setup`, or set LIBTORCH to a libtorch 2.13.0");
        std::process::exit(1);
    };
    let include = lib.with_file_name("include");
    let parts = (0..PARTS).map(write_part);
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        // at::parallel_for is a template of OpenMP pragmas: without this flag it compiles to a single-threaded loop.
        .flag("-fopenmp")
        .flag_if_supported("-Wno-psabi")
        .warnings(false)
        .files(parts)
        .compile("gradwatch_shim");
    link_openmp(&lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// Writes a translation unit that includes every fourth file, and returns its path.
fn write_part(part: usize) -> PathBuf {
    let variable = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it for build scripts"));
    let shim = variable("CARGO_MANIFEST_DIR").join("src/libtorch/shim");
    let lines =
        SHIM.iter().skip(part).step_by(PARTS).map(|name| format!("#include \"{}/{name}.cpp\"\n", shim.display()));
    let path = variable("OUT_DIR").join(format!("shim_{part}.cpp"));
    fs::write(&path, lines.collect::<String>()).expect("cargo creates OUT_DIR");
    path
}

/// Links the OpenMP library that ships with libtorch, so that both share one thread pool. Some builds of libtorch have
/// a hash in its name.
fn link_openmp(lib: &Path) {
    let names = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let bundled = names.filter_map(|name| name.into_string().ok()).find(|name| name.starts_with("libgomp"));
    match bundled {
        Some(name) => {
            println!("cargo:rustc-link-search=native={}", lib.display());
            println!("cargo:rustc-link-lib=dylib:+verbatim={name}");
        }
        None => println!("cargo:rustc-link-lib=gomp"),
    }
}
