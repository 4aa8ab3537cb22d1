//! The conformance suite on the torch engine, which runs the demo model's floats: the file itself is quantized.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../../../tests/support/conformance.rs"]
#[allow(dead_code)]
mod conformance;
#[path = "../../../tests/support/require.rs"]
mod require;

use conformance::Subject;

const ROOT: &str = "../..";

fn subjects() -> Vec<Subject> {
    let Some(demo) = conformance::demo_model() else {
        require::skip("demo-model", "there is none (`make setup`, or AUTOTUNE_DEMO_MODEL)");
        return Vec::new();
    };
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("floats.gguf");
    let demo = autotune::model::gguf::Gguf::open(&demo).unwrap();
    autotune::compress::make_reference(&demo, &artifact, 1, 2).unwrap();
    vec![Subject { engine: Box::new(autotune_torch::Torch), artifact, folder }]
}
