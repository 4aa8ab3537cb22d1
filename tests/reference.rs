//! The reference pages of the book are what the program and its registries say.
#![cfg(target_os = "linux")] // Studies grade on Linux only, and some fields are filled there only.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../examples/reference.rs"]
#[allow(dead_code, reason = "the example's entry point")]
mod reference;

use std::path::Path;

#[test]
fn generated_reference_pages_are_up_to_date() {
    let pages = reference::pages(Path::new(env!("CARGO_BIN_EXE_autotune"))).unwrap();
    assert_eq!(pages.len(), 4);
    for page in pages {
        let differs = page.committed.lines().zip(page.generated.lines()).find(|(a, b)| a != b);
        assert!(
            page.committed == page.generated,
            "{} is out of date (first difference: {differs:?}); write it anew with\n    \
             cargo build --no-default-features && cargo run --no-default-features --example reference",
            page.path.display()
        );
    }
}
