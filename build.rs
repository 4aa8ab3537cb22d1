//! Tells the program what it was built from.

use std::path::{Path, PathBuf};

/// What decides what the program measures and how.
const SOURCES: [&str; 4] = ["crates", "src", "search-spaces", "Cargo.lock"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rustc-env=AUTOTUNE_SOURCE={:016x}", hash_of_sources());
}

/// A hash of the sources (FNV-1a, 64 bits): two builds of one version number are told apart by it. A study says with it which program
/// measured.
fn hash_of_sources() -> u64 {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(Path::new(source), &mut files);
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let content = std::fs::read(&file).unwrap_or_default();
        let name = file.to_string_lossy().replace('\\', "/");
        for byte in name.bytes().chain([0]).chain(content).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        collect(&entry.path(), files);
    }
}
