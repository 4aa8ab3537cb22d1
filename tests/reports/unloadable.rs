//! Models that llama.cpp does not load, or that give no numbers: found before a study exists.

use std::path::{Path, PathBuf};

use autotune::model::gguf::{Gguf, GgufWriter, MetaArray, MetaValue, Metadata, TensorDecl};
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, GgmlType, float_bytes};
use serde_json::json;

use crate::bench::{Bench, Said};

/// A tiny model whose header and bytes were changed.
struct Model {
    metadata: Metadata,
    tensors: Vec<(TensorDecl, Vec<u8>)>,
}

impl Model {
    fn of(shapes: &Shapes, ty: GgmlType, folder: &Path) -> Self {
        let path = folder.join("source.gguf");
        shapes.write(&path, ty, 1, None).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let tensors = gguf.tensors().iter().map(|t| {
            let decl = TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty };
            (decl, gguf.bytes(t).to_vec())
        });
        let model = Self { metadata: gguf.metadata().clone(), tensors: tensors.collect() };
        std::fs::remove_file(path).unwrap();
        model
    }

    fn write(&self, path: &Path) {
        let decls: Vec<TensorDecl> = self.tensors.iter().map(|(decl, _)| decl.clone()).collect();
        let mut writer = GgufWriter::create(path, &self.metadata, &decls).unwrap();
        for (_, bytes) in &self.tensors {
            writer.write(bytes).unwrap();
        }
        writer.finish(false).unwrap();
    }

    fn tokens(&mut self, change: impl FnOnce(&mut Vec<String>)) {
        let key = "tokenizer.ggml.tokens";
        let mut all: Vec<String> = self.metadata.get(key).unwrap().as_array().unwrap().strings().collect();
        change(&mut all);
        self.metadata.set(key, MetaValue::Array(MetaArray::from_strings(&all)));
    }

    fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.tensors.iter_mut().find(|(decl, _)| decl.name == name).unwrap().1
    }
}

fn bench() -> Bench {
    Bench::new(json!([]))
}

fn written(bench: &Bench, shapes: &Shapes, ty: GgmlType, change: impl FnOnce(&mut Model)) -> PathBuf {
    let mut model = Model::of(shapes, ty, &bench.path(""));
    change(&mut model);
    let path = bench.path("m.gguf");
    model.write(&path);
    path
}

/// A short study of a model.
fn tune(bench: &Bench, more: &[&str]) -> Said {
    let mut command =
        bench.command(&["tune", "--model", "m.gguf", "--budget", "1GB", "--results", "results"]);
    command.args([
        "--reports",
        "reports",
        "--workload",
        "32:8:2",
        "--timing-cap",
        "1s",
        "--task-limit",
        "1",
        "--tasks",
    ]);
    command.arg(crate::bench::tasks()).args(more);
    Said::of(&command.output().unwrap())
}

/// Refused by every command that runs models, with these words, and nothing is left behind.
fn refused(change: impl FnOnce(&mut Model), words: &[&str]) {
    let bench = bench();
    written(&bench, &Shapes::tiny(ArchKind::Llama), GgmlType::F16, change);
    let all = [
        tune(&bench, &["--trials", "2"]),
        bench.run(&["bench", "m.gguf", "--workload", "16:4:1", "--cap", "1s", "--threads", "1"]),
        bench.run(&["validate", "m.gguf", "--tier", "mobile"]),
    ];
    for said in all {
        let said = said.code(2);
        for word in words.iter().chain(&["m.gguf"]) {
            assert!(said.stderr.contains(word), "`{word}` is not in:\n{}", said.stderr);
        }
        assert!(!said.stderr.contains("resume"), "{}", said.stderr);
        assert!(
            !bench.path("results").exists() && !bench.path("reports").exists(),
            "something is left behind"
        );
    }
}

#[test]
fn a_bpe_tokenizer_without_merges() {
    let set = |m: &mut Model| m.metadata.set("tokenizer.ggml.model", MetaValue::Str("gpt2".into()));
    refused(set, &["cannot find tokenizer merges", "original folder"]);
}

#[test]
fn a_pre_tokenizer_that_the_library_does_not_know() {
    let set = |m: &mut Model| {
        m.metadata.set("tokenizer.ggml.model", MetaValue::Str("gpt2".into()));
        m.metadata.set("tokenizer.ggml.merges", MetaValue::Array(MetaArray::from_strings(&["a b"])));
        m.metadata.set("tokenizer.ggml.pre", MetaValue::Str("unheard-of".into()));
    };
    refused(set, &["unknown pre-tokenizer type: 'unheard-of'"]);
}

#[test]
fn a_file_without_a_tokenizer() {
    refused(|m| m.metadata.remove("tokenizer.ggml.tokens"), &["no vocabulary"]);
}

#[test]
fn a_tensor_too_many() {
    let add = |m: &mut Model| {
        let decl = TensorDecl { name: "blk.0.attn_extra.weight".into(), dims: vec![32], ty: GgmlType::F32 };
        m.tensors.push((decl, vec![0; 128]));
    };
    refused(add, &["tensor"]);
}

#[test]
fn a_token_that_stands_twice() {
    refused(|m| m.tokens(|all| all[300] = all[12].clone()), &["twice", "12 and 300"]);
}

#[test]
fn an_embedding_with_more_rows_than_tokens() {
    refused(|m| m.tokens(|all| all.truncate(310)), &["320 rows", "310 tokens"]);
}

#[test]
fn an_end_token_beyond_the_vocabulary() {
    let set = |m: &mut Model| m.metadata.set("tokenizer.ggml.eos_token_id", MetaValue::U32(9999));
    refused(set, &["9999", "320 tokens"]);
}

#[test]
fn a_weight_that_is_nan_is_named() {
    let bench = bench();
    written(&bench, &Shapes::tiny(ArchKind::Llama), GgmlType::F16, |m| {
        m.bytes("blk.1.ffn_up.weight")[64..66].copy_from_slice(&half::f16::NAN.to_le_bytes());
    });
    let said = tune(&bench, &["--trials", "2"]).code(2);
    assert!(said.stderr.contains("tensor blk.1.ffn_up.weight holds NaN (1 value)"), "{}", said.stderr);
    assert!(!said.stderr.contains("damaged") && !said.stderr.contains("resume"), "{}", said.stderr);
    assert!(!bench.path("results").exists());
}

#[test]
fn weights_beyond_half_precision_leave_f16_out_and_fail_by_name() {
    let bench = bench();
    written(&bench, &Shapes::tiny(ArchKind::Llama), GgmlType::Bf16, |m| {
        let huge = float_bytes(&[1e7; 8], GgmlType::Bf16);
        m.bytes("blk.0.ffn_up.weight")[..16].copy_from_slice(&huge);
    });
    bench.write(
        "space.toml",
        "threads = [1]\n[weights]\nattn = [\"F16\", \"Q8_0\"]\nffn = [\"F16\", \"BF16\"]\n",
    );
    let said = tune(&bench, &["--trials", "3", "--sampler", "random", "--space", "space.toml"]);
    let left_out = "`weights.ffn`: F16 left out: blk.0.ffn_up.weight holds 8 weights beyond its range";
    assert!(said.stderr.contains(left_out), "{}", said.stderr);
    assert!(!said.stderr.contains("`weights.attn`: F16 left out"), "{}", said.stderr);
    let trials = bench.trials();
    // Its scales, a 127th of the largest weight of a block, are stored in half precision.
    let blocks = trials.iter().find(|t| t.origin.preset_name() == Some("Q8_0")).unwrap();
    let failure = blocks.failure.as_ref().unwrap();
    assert_eq!(failure.kind.name(), "not_a_number");
    assert!(
        failure.text.contains("tensor blk.0.ffn_up.weight holds 8 weights beyond it"),
        "{}",
        failure.text
    );
    let values = trials.iter().flat_map(|t| t.measurements.values()).filter_map(|m| m.value);
    assert!(values.into_iter().all(f64::is_finite));
}

#[test]
fn heads_that_blocks_do_not_divide_leave_quantized_caches_out() {
    let bench = bench();
    let shapes = Shapes { head_dim: 100, heads: 2, kv_heads: 2, ..Shapes::tiny(ArchKind::Llama) };
    written(&bench, &shapes, GgmlType::F16, |_| {});
    let space = "threads = [1]\n[weights]\nattn = [\"Q8_0\", \"F16\"]\n[kv]\nk = [\"f16\", \"q8_0\"]\nv = [\"f16\", \"q4_0\"]\n";
    bench.write("space.toml", space);
    let said = tune(&bench, &["--trials", "2", "--sampler", "random", "--space", "space.toml"]).code(0);
    for (param, level) in [("k", "q8_0"), ("v", "q4_0")] {
        let remark = format!(
            "`kv.{param}`: {level} left out: the model's heads of 100 elements do not divide into blocks of 32"
        );
        assert!(said.stderr.contains(&remark), "{}", said.stderr);
    }
    let failed: Vec<_> = bench.trials().into_iter().filter(|t| t.failure.is_some()).collect();
    assert!(failed.iter().all(|t| t.failure.as_ref().unwrap().kind.name() != "error"), "{failed:?}");
    // A measurement that asks for it by name is told the reason, and what can be measured is.
    let args =
        ["bench", "m.gguf", "--kv", "f16,q8_0", "--workload", "16:4:1", "--cap", "1s", "--threads", "1"];
    let said = bench.run(&args).code(0);
    assert!(said.stderr.contains("--kv q8_0/q8_0 left out"), "{}", said.stderr);
}
