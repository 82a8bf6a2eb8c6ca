//! Compiles the C++ shim, and embeds the path of the linked libtorch in the binary.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

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
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        // at::parallel_for is a template of OpenMP pragmas: without this flag it compiles to a single-threaded loop.
        .flag("-fopenmp")
        .flag_if_supported("-Wno-psabi")
        .warnings(false)
        .file("src/libtorch/shim/activations.cpp")
        .file("src/libtorch/shim/composed.cpp")
        .file("src/libtorch/shim/events.cpp")
        .file("src/libtorch/shim/fused.cpp")
        .file("src/libtorch/shim/gpu_batch.cpp")
        .file("src/libtorch/shim/gpu_step.cpp")
        .file("src/libtorch/shim/gpu_tables.cpp")
        .file("src/libtorch/shim/gpu_units.cpp")
        .file("src/libtorch/shim/hooks.cpp")
        .file("src/libtorch/shim/kernels.cpp")
        .file("src/libtorch/shim/octaves.cpp")
        .file("src/libtorch/shim/pinned.cpp")
        .file("src/libtorch/shim/sums.cpp")
        .file("src/libtorch/shim/tables.cpp")
        .file("src/libtorch/shim/tensors.cpp")
        .file("src/libtorch/shim/precision.cpp")
        .file("src/libtorch/shim/runtime.cpp")
        .file("src/libtorch/shim/script.cpp")
        .file("src/libtorch/shim/trace.cpp")
        .file("src/libtorch/shim/units.cpp")
        .file("src/libtorch/shim/uploads.cpp")
        .file("src/libtorch/shim/values.cpp")
        .compile("gradwatch_shim");
    link_openmp(&lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
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
