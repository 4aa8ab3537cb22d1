//! Tests that need something that a machine may lack. Without it they are skipped, with a word; where `AUTOTUNE_REQUIRE` names it (a list
//! with commas, or `all`), the skip is a failure, so that nothing is green that did not run.
//!
//! The names: `demo-model`, `humaneval`, `sandbox`, `python`, `node`, `chromium`, `llama` (compiled in), `terminal` (the program
//! `script`), `small-disk` (mounting, as root), `other-user` (running as another user, as root), `ordinary-user` (not root), `dev-full`,
//! `llama-debug`, `transformers` (of Python), `parity-data` (`AUTOTUNE_DATA`).
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::fmt::Display;

/// Says that a test, or a part of it, is skipped for want of `need`.
///
/// # Panics
/// `AUTOTUNE_REQUIRE` names it.
#[track_caller]
pub fn skip(need: &str, why: impl Display) {
    let required = std::env::var("AUTOTUNE_REQUIRE").unwrap_or_default();
    assert!(!is_required(&required, need), "`{need}` is required by AUTOTUNE_REQUIRE={required}, but {why}");
    eprintln!("skipped for want of {need}: {why}");
}

/// Whether a list with commas names it, or all.
pub fn is_required(list: &str, need: &str) -> bool {
    list.split(',').map(str::trim).any(|name| name == need || name == "all")
}
