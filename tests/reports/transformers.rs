//! Converted models against the logits that transformers computes for them: biases, norms, tied and untied embeddings, every kind of
//! rotary scaling. The recorded models are those of `scripts/transformers_models.py`; AUTOTUNE_TRANSFORMERS_MODELS names a folder of
//! freshly made ones to be compared as well.

use std::path::{Path, PathBuf};

use autotune::compress::convert::convert;
use autotune::engine::llama::LlamaCpp;
use autotune::engine::{Device, Engine, FlashAttention, Row, RunConfig};
use autotune::model::GgmlType;
use autotune::space::KvType;
use serde_json::Value;

/// Both compute in F32, in another order.
const TOLERANCE: f32 = 2e-4;
/// The folder of other models to compare.
const VARIABLE: &str = "AUTOTUNE_TRANSFORMERS_MODELS";

/// What transformers computed.
struct Expected {
    tokens: Vec<u32>,
    stride: usize,
    rows: Vec<(usize, Vec<f32>)>,
}

impl Expected {
    fn read(folder: &Path) -> Self {
        let json: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("logits.json")).unwrap()).unwrap();
        let rows = json["logits"].as_object().unwrap().iter().map(|(position, row)| {
            let row = row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            (position.parse().unwrap(), row)
        });
        Self {
            tokens: json["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect(),
            stride: json["stride"].as_u64().unwrap() as usize,
            rows: rows.collect(),
        }
    }

    /// The largest difference to what the engine computes.
    fn distance(&self, gguf: &Path) -> f32 {
        let run = RunConfig {
            threads: 1,
            sequences: 1,
            context: 64,
            batch_tokens: 64,
            ubatch: 64,
            max_outputs: 64,
            kv_k: KvType::F32,
            kv_v: KvType::F32,
            flash: FlashAttention::Off,
            repack: false,
            gpu_layers: 0,
            device: Device::Cpu,
        };
        let mut session = LlamaCpp::new().load(gguf, &run).unwrap();
        let rows: Vec<Row> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(i, token)| Row {
                token: i32::try_from(*token).unwrap(),
                position: i as u32,
                sequence: 0,
                logits: self.rows.iter().any(|(position, _)| *position == i),
            })
            .collect();
        session.decode(&rows).unwrap();
        let mut worst = 0.0f32;
        for (position, expected) in &self.rows {
            let found = session.logits(*position).unwrap();
            let found: Vec<f32> = found.iter().copied().step_by(self.stride).collect();
            assert_eq!(found.len(), expected.len());
            worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        }
        worst
    }
}

fn models(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("logits.json").is_file())
        .collect();
    all.sort();
    all
}

/// A model with the tokenizer that all share.
fn whole(folder: &Path, model: &Path, into: &Path) {
    std::fs::create_dir(into).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(model.join(name), into.join(name)).unwrap();
    }
    std::fs::copy(folder.join("tokenizer.json"), into.join("tokenizer.json")).unwrap();
}

/// Compares every model of a folder: converted, and converted there and back.
fn compare(folder: &Path) -> usize {
    let models = models(folder);
    let mut wrong = Vec::new();
    for model in &models {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        whole(folder, model, &at("hf"));
        let expected = Expected::read(model);
        convert(&at("hf"), &at("once.gguf"), Some(GgmlType::F32)).unwrap();
        let once = expected.distance(&at("once.gguf"));
        // Factors of single frequencies have no word in config.json, unless they are Llama 3's usual ones.
        let again = convert(&at("once.gguf"), &at("back"), None)
            .and_then(|_| convert(&at("back"), &at("twice.gguf"), None));
        let twice = again.as_ref().ok().map(|_| expected.distance(&at("twice.gguf")));
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        println!(
            "{name}: {once:.1e}, there and back {}",
            twice.map_or("not possible".into(), |t| format!("{t:.1e}"))
        );
        let lost = again.is_err_and(|e| !e.to_string().contains("rope_freqs.weight"));
        if !(once < TOLERANCE && twice.is_none_or(|t| t < TOLERANCE)) || lost {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    models.len()
}

#[test]
fn converted_models_have_the_logits_of_transformers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transformers");
    assert_eq!(compare(&folder), 10);
}

#[test]
fn models_that_were_made_for_this_run_have_the_logits_of_transformers() {
    match std::env::var_os(VARIABLE) {
        Some(folder) => assert!(compare(Path::new(&folder)) > 0, "no models in {}", folder.display()),
        None => crate::bench::require::skip(
            "transformers",
            format_args!("{VARIABLE} names no folder of scripts/transformers_models.py"),
        ),
    }
}
