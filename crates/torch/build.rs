//! Tells the linker where libtorch is, so that the program finds it without LD_LIBRARY_PATH.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by torch-sys. What tch passes to the linker reaches only its own targets.
    let Ok(folder) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    for argument in ["-rpath", &folder] {
        println!("cargo:rustc-link-arg=-Xlinker");
        println!("cargo:rustc-link-arg={argument}");
    }
    // A CUDA libtorch registers its kernels when it is loaded, and nothing refers to it by a symbol: `libtorch.so` brings it in.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!(
            "cargo:rustc-link-arg-bin=autotune-torch=-Wl,--push-state,--no-as-needed,-ltorch,--pop-state"
        );
    }
}
