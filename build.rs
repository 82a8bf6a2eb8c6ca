//! Compiles the C++ shim, and embeds the path of the linked libtorch in the binary.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The C++ files of the shim, without their extension.
const SHIM: [&str; 23] = [
    "activations",
    "c10d",
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
    // Clippy checks this crate without linking it.
    println!("cargo:rerun-if-env-changed=RUSTC_WORKSPACE_WRAPPER");
    let wrapper = env::var_os("RUSTC_WORKSPACE_WRAPPER").map(PathBuf::from);
    if wrapper.is_some_and(|wrapper| wrapper.file_stem().is_some_and(|name| name == "clippy-driver")) {
        return;
    }
    let include = lib.with_file_name("include");
    let parts = (0..PARTS).map(write_part);
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        // Stand-ins for the headers of Gloo.
        .include("src/libtorch/shim")
        // at::parallel_for is a template of OpenMP pragmas: without this flag it compiles to a single-threaded loop.
        .flag("-fopenmp")
        .flag_if_supported("-Wno-psabi")
        // Otherwise virtual calls of process groups become calls of Gloo, which only libtorch's own code may make: the
        // linker finds its functions in libtorch_cuda.so, and a machine without CUDA could not start the program.
        .flag_if_supported("-fno-devirtualize")
        .flag_if_supported("-fno-devirtualize-speculatively")
        .warnings(false)
        .opt_level_str(&opt_level())
        .files(parts)
        .compile("gradwatch_shim");
    link_openmp(&lib);
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// Optimization level of the profile, but at least 1: without any, loops over tensors dominate the tests.
fn opt_level() -> String {
    env::var("OPT_LEVEL").ok().filter(|level| level != "0").unwrap_or_else(|| "1".into())
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
