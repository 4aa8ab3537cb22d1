//! The conformance suite on the engines of the command: the mock always, llama.cpp where it is compiled in and the demo model is there.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/require.rs"]
mod require;

use conformance::Subject;

const ROOT: &str = ".";

fn subjects() -> Vec<Subject> {
    let mut all = vec![conformance::mock()];
    all.extend(conformance::llama());
    all
}
