//! What turns a skipped test into a failure.
#![allow(clippy::unwrap_used)]

#[path = "support/require.rs"]
mod require;

use std::process::Command;

#[test]
fn a_list_names_what_may_not_be_skipped() {
    assert!(require::is_required("node, chromium", "chromium"));
    assert!(require::is_required("all", "chromium"));
    assert!(!require::is_required("node,chromium", "chrom"));
    assert!(!require::is_required("", "node"));
}

/// Run by the test below, which decides whether it may be skipped.
#[test]
fn needs_a_unicorn() {
    require::skip("unicorn", "there is none");
}

#[test]
fn a_required_test_that_is_skipped_fails() {
    let succeeds = |required: &str| {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["needs_a_unicorn", "--exact"]).env("AUTOTUNE_REQUIRE", required);
        again.output().unwrap().status.success()
    };
    assert!(succeeds(""));
    assert!(succeeds("demo-model,node"));
    assert!(!succeeds("node,unicorn"));
}
