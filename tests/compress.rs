//! Compressing for real: artifacts are loaded by llama.cpp and their logits compared.
//!
//! Tests on the demo model look for `.deps/models/*.gguf` beside `Cargo.toml`, or the file named by `AUTOTUNE_DEMO_MODEL`, and are skipped
//! with a note when there is none. The rest use small random models.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![cfg(feature = "llama")]
// Clippy lets tests unwrap and print, but not their helper functions.

#[path = "support/require.rs"]
mod require;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use autotune::compress::{Artifact, Builder, CompressError, Predictor, Preset, PrunePlan, make_reference};
use autotune::engine::llama::LlamaCpp;
use autotune::engine::{Device, Engine, FlashAttention, Row, RunConfig, activations, ggml};
use autotune::model::ActivationStats;
use autotune::model::gguf::{Gguf, GgufWriter, MetaValue, TensorDecl, TensorInfo};
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, Architecture, GgmlType, TensorName, TensorRole};
use autotune::space::{Candidate, Config, KvType, Value};
use tempfile::TempDir;

/// Mean KL divergences, in nats a token, that rounding may cause between a pruned model and its masked parent.
mod tolerance {
    /// F16 weights are the same numbers; only the order of sums differs.
    pub const F16: f64 = 1e-4;
    /// Cutting columns moves the blocks of 32, so each side has its own rounding.
    pub const Q8_0: f64 = 2e-2;
    /// Rescaled weights rounded to F16.
    pub const RESCALED: f64 = 1e-4;
    /// Single steps of Q6_K on a random model.
    pub const STEPS: f64 = 5e-3;
    /// The shipped Q4_1 file computes with activations of 8 bits, its float twin does not.
    pub const ACTIVATIONS: f64 = 1e-2;
}

const TEXT: &str = "def quicksort(items):\n    if len(items) < 2:\n        return items\n    pivot = items[0]\n    \
    smaller = [x for x in items[1:] if x < pivot]\n    larger = [x for x in items[1:] if x >= pivot]\n    \
    return quicksort(smaller) + [pivot] + quicksort(larger)\n\n\nclass Stack:\n    def __init__(self):\n        \
    self.items = []\n\n    def push(self, item):\n        self.items.append(item)\n\n    def pop(self):\n        \
    if not self.items:\n            raise IndexError('pop from an empty stack')\n        return self.items.pop()\n";

fn demo() -> Option<PathBuf> {
    let named = std::env::var_os("AUTOTUNE_DEMO_MODEL").map(PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/models");
    let found = || {
        let files = std::fs::read_dir(folder).ok()?;
        let mut models: Vec<_> = files
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "gguf"))
            .collect();
        models.sort();
        models.into_iter().next()
    };
    let model = named.or_else(found);
    if model.is_none() {
        require::skip("demo-model", "there is none in .deps/models, and AUTOTUNE_DEMO_MODEL names none");
    }
    model
}

/// The demo's float reference and statistics, made once for all tests of this process.
struct Demo {
    shipped: PathBuf,
    reference: PathBuf,
    stats: ActivationStats,
    _dir: TempDir,
}

fn demo_reference() -> Option<&'static Demo> {
    static DEMO: OnceLock<Option<Demo>> = OnceLock::new();
    DEMO.get_or_init(|| {
        let shipped = demo()?;
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("reference.gguf");
        let made = make_reference(&Gguf::open(&shipped).unwrap(), &out, 1, 2).unwrap();
        let stats = activations::collect(&made.path, TEXT, 512, 1).unwrap();
        Some(Demo { shipped, reference: made.path, stats, _dir: dir })
    })
    .as_ref()
}

fn config(pairs: &[(&str, Value)]) -> Config {
    let c = pairs.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, v.clone()));
    Config::from_candidate(&c).unwrap()
}

fn text(s: &str) -> Value {
    Value::Text(s.into())
}

/// Logits at every position of some text (its tokens by the model itself).
fn logits(path: &Path) -> Vec<Vec<f32>> {
    let run = RunConfig {
        threads: 1,
        sequences: 1,
        context: 256,
        batch_tokens: 256,
        ubatch: 256,
        max_outputs: 0,
        kv_k: KvType::F16,
        kv_v: KvType::F16,
        flash: FlashAttention::Off,
        repack: false,
        gpu_layers: 0,
        device: Device::Cpu,
    };
    let mut session = LlamaCpp::new().load(path, &run).unwrap();
    let mut tokens = session.tokenize(TEXT, true).unwrap();
    tokens.truncate(160);
    let rows: Vec<Row> = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| Row { token: *t, position: i as u32, sequence: 0, logits: true })
        .collect();
    session.decode(&rows).unwrap();
    (0..rows.len()).map(|i| session.logits(i).unwrap().to_vec()).collect()
}

/// Mean KL divergence in nats of `b` from `a`.
fn divergence(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
        row.iter().map(|x| f64::from(x - max) - sum.ln()).collect()
    };
    let one = |(p, q): (&Vec<f32>, &Vec<f32>)| -> f64 {
        let (p, q) = (log_softmax(p), log_softmax(q));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
    };
    a.iter().zip(b).map(one).sum::<f64>() / a.len() as f64
}

/// A full-size copy of a float model in which what the plan removes is zeroed: columns of the output projection for heads, of the down
/// projection for channels, both whole for layers.
fn masked(source: &Gguf, plan: &PrunePlan, out: &Path) {
    let arch = Architecture::read(source).unwrap();
    let decls: Vec<TensorDecl> = source
        .tensors()
        .iter()
        .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let mut writer = GgufWriter::create(out, source.metadata(), &decls).unwrap();
    for info in source.tensors() {
        let name = TensorName::parse(&info.name);
        let mut bytes = source.bytes(info).to_vec();
        if name.is_bias && name.layer.is_some_and(|l| plan.layers.iter().all(|k| k.source != l)) {
            bytes.fill(0);
        }
        let layer = name.layer.map(|l| (arch.layers[l as usize], plan.layers.iter().find(|k| k.source == l)));
        let stays: Option<Vec<bool>> = layer.and_then(|(shape, kept)| {
            let columns = info.dims[0] as usize;
            let Some(kept) = kept else { return Some(vec![false; columns]) };
            let per_group = (shape.group() * arch.head_dim) as usize;
            match name.role {
                TensorRole::AttnOutput => {
                    Some((0..columns).map(|c| kept.kv_heads.contains(&((c / per_group) as u32))).collect())
                }
                TensorRole::FfnDown => {
                    Some((0..columns).map(|c| kept.ffn.binary_search(&(c as u32)).is_ok()).collect())
                }
                _ => None,
            }
        });
        if let (Some(stays), TensorRole::AttnOutput | TensorRole::FfnDown, false) =
            (stays, name.role, name.is_bias)
        {
            assert_eq!(info.ty, GgmlType::F16);
            for row in bytes.chunks_mut(stays.len() * 2) {
                row.chunks_mut(2)
                    .zip(&stays)
                    .filter(|(_, stays)| !**stays)
                    .for_each(|(cell, _)| cell.fill(0));
            }
        }
        writer.write(&bytes).unwrap();
    }
    writer.finish(false).unwrap();
}

/// Statistics that fit any model: random-looking squares.
fn made_up_stats(arch: &Architecture) -> ActivationStats {
    let mut stats = ActivationStats { tokens: 1, ..Default::default() };
    for (k, (name, dims)) in arch.weight_shapes().enumerate() {
        let noise = |c: u64| ((c * 2_654_435_761 + k as u64 * 40_503) >> 4) % 97;
        stats.mean_square.insert(name, (0..dims[0]).map(|c| 0.05 + noise(c) as f32).collect());
    }
    stats.layer_cosine = (0..arch.layers.len()).map(|i| 0.9 - 0.01 * i as f32).collect();
    stats
}

/// Builds the pruned artifact and its masked parent, and returns the divergence between them with the artifact.
fn against_masked(
    reference: &Path,
    stats: ActivationStats,
    pairs: &[(&str, Value)],
) -> (f64, Artifact, PrunePlan) {
    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(reference).unwrap();
    let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, Some(stats)).unwrap();
    let config = config(pairs);
    let artifact = builder.build(&config, &dir.path().join("pruned.gguf")).unwrap();
    let plan = builder.plan(&config).unwrap();
    let parent = dir.path().join("masked.gguf");
    masked(&gguf, &plan, &parent);
    assert!(artifact.bytes < gguf.len());
    let made = Gguf::open(&artifact.path).unwrap();
    let arch = Architecture::read(&made).unwrap();
    assert_eq!(arch.layers, plan.shapes(builder.arch()));
    assert_eq!(arch.layers.len(), artifact.kept.layers.len());
    let bits = made.metadata().get("autotune.kept_ffn_bits").and_then(MetaValue::as_array).unwrap();
    let kept: u32 = bits.raw().iter().map(|b| b.count_ones()).sum();
    assert_eq!(u64::from(kept), arch.total_ffn());
    (divergence(&logits(&parent), &logits(&artifact.path)), artifact, plan)
}

#[test]
fn a_pruned_demo_equals_its_masked_parent() {
    let Some(demo) = demo_reference() else { return };
    let pruned = [("prune.keep_ffn", Value::Real(0.85)), ("prune.keep_kv_heads", Value::Real(0.9))];
    let (kl, artifact, plan) = against_masked(&demo.reference, demo.stats.clone(), &pruned);
    assert!(kl < tolerance::F16, "KL {kl}");
    assert!(
        plan.layers.iter().any(|l| l.kv_heads.len() < 3) && plan.layers.iter().any(|l| l.ffn.len() < 1536)
    );
    assert!(artifact.kept.kv_heads.iter().any(|n| *n < 3));

    let dropped = [("prune.drop_layers", Value::Int(3)), ("prune.keep_ffn", Value::Real(0.9))];
    let (kl, artifact, _) = against_masked(&demo.reference, demo.stats.clone(), &dropped);
    assert!(kl < tolerance::F16, "KL {kl}");
    assert_eq!(artifact.kept.layers.len(), 27);
}

#[test]
fn a_pruned_and_quantized_demo_is_near_its_masked_parent() {
    let Some(demo) = demo_reference() else { return };
    let q8 = [
        ("prune.keep_ffn", Value::Real(0.9)),
        ("prune.keep_kv_heads", Value::Real(0.9)),
        ("weights.attn", text("Q8_0")),
        ("weights.ffn", text("Q8_0")),
        ("weights.embd", text("Q8_0")),
    ];
    let (kl, artifact, _) = against_masked(&demo.reference, demo.stats.clone(), &q8);
    assert!(kl < tolerance::Q8_0, "KL {kl}");
    assert!(artifact.fallbacks.is_empty() && artifact.quantized == 211);
}

#[test]
fn pruned_synthetic_models_equal_their_masked_parents() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ArchKind::ALL {
        for tied in [true, false] {
            let path = dir.path().join("m.gguf");
            let shapes = Shapes { layers: 5, tied, ..Shapes::tiny(kind) };
            shapes.write(&path, GgmlType::F16, 11, None).unwrap();
            let arch = Architecture::read(&Gguf::open(&path).unwrap()).unwrap();
            let stats = made_up_stats(&arch);
            let cases: [&[(&str, Value)]; 4] = [
                &[("prune.keep_kv_heads", Value::Real(0.7))],
                &[("prune.keep_kv_heads", Value::Real(0.5))],
                &[("prune.keep_ffn", Value::Real(0.6))],
                &[("prune.drop_layers", Value::Int(2)), ("prune.keep_kv_heads", Value::Real(0.8))],
            ];
            for case in cases {
                let (kl, artifact, _) = against_masked(&path, stats.clone(), case);
                assert!(kl < tolerance::F16, "{kind:?} tied {tied} {case:?}: KL {kl} {:?}", artifact.kept);
            }
        }
    }
}

#[test]
fn biases_are_cut_along_with_their_channels_and_heads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let shapes = Shapes { layers: 4, ..Shapes::tiny(ArchKind::Llama) };
    shapes.write_with_biases(&path, GgmlType::F16, 5).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let stats = made_up_stats(&Architecture::read(&gguf).unwrap());
    let source = logits(&path);
    let cases: [(&[(&str, Value)], f64); 5] = [
        (&[("prune.keep_kv_heads", Value::Real(0.5))], tolerance::F16),
        // Unequal layers: another graph.
        (&[("prune.keep_kv_heads", Value::Real(0.75))], tolerance::F16),
        (&[("prune.keep_ffn", Value::Real(0.7))], tolerance::F16),
        (&[("prune.drop_layers", Value::Int(1)), ("prune.keep_ffn", Value::Real(0.8))], tolerance::F16),
        (
            &[
                ("prune.keep_ffn", Value::Real(0.75)),
                ("weights.ffn", text("Q8_0")),
                ("weights.attn", text("Q8_0")),
            ],
            tolerance::Q8_0,
        ),
    ];
    for (case, tolerance) in cases {
        let (kl, artifact, plan) = against_masked(&path, stats.clone(), case);
        assert!(kl < tolerance, "{case:?}: KL {kl}");
        assert_ne!(plan, PrunePlan::full(&Architecture::read(&gguf).unwrap()));
        assert!(artifact.copied >= 7 * plan.layers.len(), "{case:?}");
    }
    // Left whole, every bias is there and the function is the same.
    let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, Some(stats)).unwrap();
    for pairs in [vec![("weights.preset", text("F16"))], vec![]] {
        let made = builder.build(&config(&pairs), &dir.path().join("f16.gguf")).unwrap();
        let made = Gguf::open(&made.path).unwrap();
        assert_eq!(made.tensors().iter().filter(|t| t.name.ends_with(".bias")).count(), 7 * 4);
        assert!(divergence(&source, &logits(made.path())) < tolerance::F16, "{pairs:?}");
    }
    // Without them it is another model: the comparison can fail.
    let mut zeroed = std::fs::read(&path).unwrap();
    for info in gguf.tensors().iter().filter(|t| t.name.ends_with("ffn_up.bias")) {
        zeroed[info.range.start as usize..info.range.end as usize].fill(0);
    }
    let without = dir.path().join("zeroed.gguf");
    std::fs::write(&without, zeroed).unwrap();
    assert!(divergence(&source, &logits(&without)) > 10.0 * tolerance::F16);
}

#[test]
fn rotary_factors_stay_through_pruning() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, path) = (dir.path().join("plain.gguf"), dir.path().join("factors.gguf"));
    let shapes = Shapes { layers: 3, ..Shapes::tiny(ArchKind::Llama) };
    shapes.write(&plain, GgmlType::F16, 8, None).unwrap();
    let source = Gguf::open(&plain).unwrap();
    let mut decls = shapes.tensors(GgmlType::F16);
    decls.push(TensorDecl { name: "rope_freqs.weight".into(), dims: vec![32], ty: GgmlType::F32 });
    let mut writer = GgufWriter::create(&path, source.metadata(), &decls).unwrap();
    source.tensors().iter().for_each(|t| writer.write(source.bytes(t)).unwrap());
    for i in 0..32u8 {
        writer.write(&(if i < 16 { 8.0f32 } else { 1.0 }).to_le_bytes()).unwrap();
    }
    writer.finish(false).unwrap();
    assert!(divergence(&logits(&plain), &logits(&path)) > 10.0 * tolerance::F16, "the factors matter");
    let stats = made_up_stats(&Architecture::read(&source).unwrap());
    for case in [("prune.keep_kv_heads", Value::Real(0.7)), ("prune.drop_layers", Value::Int(1))] {
        let (kl, ..) = against_masked(&path, stats.clone(), std::slice::from_ref(&case));
        assert!(kl < tolerance::F16, "{case:?}: KL {kl}");
    }
}

#[test]
fn an_embedding_that_is_stored_twice_is_stored_once_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for kind in [ArchKind::Llama, ArchKind::Qwen2] {
        // As shipped: quantized, so that the reference is made of it.
        Shapes::tiny(kind).write_with_duplicate(&at("twice.gguf"), GgmlType::Q8_0, 9).unwrap();
        let shipped = Gguf::open(&at("twice.gguf")).unwrap();
        let reference = make_reference(&shipped, &at("reference.gguf"), 3, 2).unwrap().path;
        let reference = Gguf::open(&reference).unwrap();
        let copies =
            ["token_embd.weight", "output.weight"].map(|n| reference.bytes(reference.tensor(n).unwrap()));
        assert_eq!(copies[0], copies[1], "{kind:?}: not rescaled apart");
        let builder = Builder::new(&reference, &at("cache"), 2, None).unwrap();
        let predictor = Predictor::new(&reference, None, None).unwrap();
        let source = logits(reference.path());
        let build = |pairs: &[(&str, Value)], name: &str| {
            let config = config(pairs);
            let predicted = predictor.predict(&config).unwrap();
            let artifact = builder.build(&config, &at(name)).unwrap();
            let made = Gguf::open(&artifact.path).unwrap();
            let data: u64 = made.tensors().iter().map(|t| t.bytes().next_multiple_of(32)).sum();
            assert_eq!(predicted.tensor_bytes, data, "{pairs:?}");
            let output = predicted.output.unwrap();
            let matrix = made.tensor("output.weight").or(made.tensor("token_embd.weight")).unwrap();
            assert_eq!(output, (matrix.ty, matrix.bytes()), "{pairs:?}");
            (made.tensor("output.weight").is_some(), data, divergence(&source, &logits(made.path())))
        };
        let tie = ("weights.tie", Value::Bool(true));
        let (kept, whole, _) = build(&[("weights.embd", text("Q8_0"))], "whole.gguf");
        let (tied_kept, tied, kl) = build(&[("weights.embd", text("Q8_0")), tie.clone()], "tied.gguf");
        assert!(kept && !tied_kept);
        assert_eq!(whole - tied, 320 * 256 / 32 * 34);
        assert!(kl < tolerance::Q8_0, "KL {kl}");
        let (_, _, kl) = build(std::slice::from_ref(&tie), "float.gguf");
        assert!(kl < tolerance::F16, "KL {kl}");
        let (kept, ..) = build(&[("weights.preset", text("Q8_0")), tie], "preset.gguf");
        assert!(!kept);
    }
}

#[test]
fn a_joined_file_that_says_to_be_a_part_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for ty in [GgmlType::F16, GgmlType::Q8_0] {
        Shapes::tiny(ArchKind::Llama).write(&at("plain.gguf"), ty, 2, None).unwrap();
        let plain = Gguf::open(&at("plain.gguf")).unwrap();
        let mut metadata = plain.metadata().clone();
        metadata.set("split.no", MetaValue::U16(0));
        metadata.set("split.count", MetaValue::U16(2));
        metadata.set("split.tensors.count", MetaValue::I32(plain.tensors().len() as i32));
        let decls = Shapes::tiny(ArchKind::Llama).tensors(ty);
        let mut writer = GgufWriter::create(&at("joined.gguf"), &metadata, &decls).unwrap();
        plain.tensors().iter().for_each(|t| writer.write(plain.bytes(t)).unwrap());
        writer.finish(false).unwrap();
        let joined = Gguf::open(&at("joined.gguf")).unwrap();
        let reference = make_reference(&joined, &at("reference.gguf"), 3, 2).unwrap().path;
        let kl = divergence(&logits(&at("plain.gguf")), &logits(&reference));
        assert!(kl < tolerance::ACTIVATIONS, "{ty}: KL {kl}");
        let reference = Gguf::open(&reference).unwrap();
        let builder = Builder::new(&reference, &at("cache"), 2, None).unwrap().with_shipped(joined.path());
        for preset in ["F16", "Q8_0", "as-shipped"] {
            let made = builder.build(&config(&[("weights.preset", text(preset))]), &at("made.gguf")).unwrap();
            assert!(
                divergence(&logits(&at("plain.gguf")), &logits(&made.path)) < tolerance::Q8_0,
                "{preset}"
            );
        }
    }
}

#[test]
fn scaled_channels_leave_the_function_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ArchKind::ALL {
        for tied in [true, false] {
            let path = dir.path().join("m.gguf");
            Shapes { layers: 3, tied, ..Shapes::tiny(kind) }.write(&path, GgmlType::F32, 11, None).unwrap();
            let gguf = Gguf::open(&path).unwrap();
            let stats = made_up_stats(&Architecture::read(&gguf).unwrap());
            let build = |scaled: bool, out: &str| {
                let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, Some(stats.clone())).unwrap();
                let builder = builder.with_scaling(scaled);
                let pruned =
                    [("prune.keep_ffn", Value::Real(0.6)), ("prune.keep_kv_heads", Value::Real(0.7))];
                builder.build(&config(&pruned), &dir.path().join(out)).unwrap()
            };
            let (plain, scaled) = (build(false, "plain.gguf"), build(true, "scaled.gguf"));
            assert_ne!(plain.hash, scaled.hash);
            let kl = divergence(&logits(&plain.path), &logits(&scaled.path));
            assert!(kl < tolerance::F16, "{kind:?} tied {tied}: KL {kl}");
        }
    }
}

#[test]
fn renaming_the_demo_to_deci_changes_nothing() {
    let Some(demo) = demo_reference() else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = Gguf::open(&demo.reference).unwrap();
    let mut metadata = source.metadata().clone();
    metadata.rename_keys(|k| k.strip_prefix("llama.").map(|rest| format!("deci.{rest}")));
    metadata.set("general.architecture", MetaValue::Str("deci".into()));
    let decls: Vec<TensorDecl> = source
        .tensors()
        .iter()
        .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
        .collect();
    let path = dir.path().join("deci.gguf");
    let mut writer = GgufWriter::create(&path, &metadata, &decls).unwrap();
    source.tensors().iter().for_each(|t| writer.write(source.bytes(t)).unwrap());
    writer.finish(false).unwrap();
    assert_eq!(logits(&path), logits(&demo.reference));
}

/// The file with matrices dequantized to F16 and nothing else done to them.
fn dequantized(source: &Gguf, out: &Path) {
    let decl = |t: &TensorInfo| {
        let ty = if t.dims.len() > 1 { GgmlType::F16 } else { t.ty };
        TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty }
    };
    let decls: Vec<TensorDecl> = source.tensors().iter().map(decl).collect();
    let mut writer = GgufWriter::create(out, source.metadata(), &decls).unwrap();
    for (info, decl) in source.tensors().iter().zip(&decls) {
        let values = ggml::dequantize(info.ty, source.bytes(info), info.elements() as usize).unwrap();
        writer.write(&ggml::quantize(decl.ty, &values, info.dims[0] as usize, None, 2).unwrap()).unwrap();
    }
    writer.finish(false).unwrap();
}

#[test]
fn the_reference_is_the_shipped_model_off_its_grid() {
    let Some(demo) = demo_reference() else { return };
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.gguf");
    dequantized(&Gguf::open(&demo.shipped).unwrap(), &plain);
    let float = logits(&demo.reference);
    let kl = divergence(&logits(&plain), &float);
    assert!(kl < tolerance::RESCALED, "KL {kl}");
    let kl = divergence(&logits(&demo.shipped), &float);
    assert!(kl < tolerance::ACTIVATIONS, "KL {kl}");
    // Back to the shipped type: on the grid this would cost next to nothing.
    let gguf = Gguf::open(&demo.reference).unwrap();
    let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, None).unwrap();
    let q4_1 =
        builder.build(&config(&[("weights.preset", text("Q4_1"))]), &dir.path().join("q.gguf")).unwrap();
    let again = divergence(&float, &logits(&q4_1.path));
    assert!(again > 0.05, "KL {again}");
    let made = make_reference(&gguf, &dir.path().join("none.gguf"), 1, 2).unwrap();
    assert!(!made.from_quantized && made.path == demo.reference);
}

#[test]
fn predictions_are_what_is_built_on_the_demo() {
    let Some(demo) = demo_reference() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&demo.reference).unwrap();
    let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, Some(demo.stats.clone())).unwrap();
    let predictor = Predictor::new(&gguf, Some(&demo.stats), builder.importance().unwrap().cloned()).unwrap();
    let presets = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"];
    let mut configs: Vec<Config> = presets.iter().map(|p| config(&[("weights.preset", text(p))])).collect();
    configs.push(config(&[("weights.ffn.late", text("Q4_K")), ("weights.attn", text("IQ2_XXS"))]));
    configs.push(config(&[
        ("weights.ffn", text("Q4_K")),
        ("weights.embd", text("Q6_K")),
        ("prune.keep_ffn", Value::Real(0.8)),
        ("prune.keep_kv_heads", Value::Real(0.7)),
        ("prune.drop_layers", Value::Int(2)),
    ]));
    configs.push(config(&[("weights.preset", text("Q4_K_M")), ("prune.keep_ffn", Value::Real(0.8))]));
    configs.push(config(&[("weights.preset", text("Q2_K")), ("prune.keep_kv_heads", Value::Real(0.8))]));
    for config in configs {
        let predicted = predictor.predict(&config).unwrap();
        let artifact = builder.build(&config, &dir.path().join("a.gguf")).unwrap();
        let made = Gguf::open(&artifact.path).unwrap();
        let data: u64 = made.tensors().iter().map(|t| t.bytes().next_multiple_of(32)).sum();
        assert_eq!(predicted.tensor_bytes, data, "{:?}", config.weights);
        assert_eq!(predicted.fallbacks, artifact.fallbacks);
        assert_eq!(predicted.layers.len(), artifact.kept.layers.len());
        let off = predicted.bytes.abs_diff(made.len());
        assert!(off < 4096, "{:?}: {} predicted, {} built", config.weights, predicted.bytes, made.len());
    }
}

#[test]
fn preset_rules_are_llama_cpps_for_every_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let models = [
        Shapes { layers: 17, ..Shapes::tiny(ArchKind::Llama) },
        Shapes {
            layers: 9,
            heads: 8,
            kv_heads: 2,
            head_dim: 32,
            tied: false,
            ..Shapes::tiny(ArchKind::Llama)
        },
        Shapes { layers: 8, hidden: 192, head_dim: 48, tied: false, ..Shapes::tiny(ArchKind::Qwen2) },
    ];
    for shapes in models {
        shapes.write(&path, GgmlType::F16, 2, None).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, None).unwrap();
        let predictor = Predictor::new(&gguf, None, None).unwrap();
        for preset in Preset::all() {
            let config = config(&[("weights.preset", text(preset.name()))]);
            let artifact = builder.build(&config, &dir.path().join("a.gguf")).unwrap();
            let made = Gguf::open(&artifact.path).unwrap();
            let types = predictor.types(&config).unwrap();
            for (name, ty) in types {
                assert_eq!(made.tensor(&name).unwrap().ty, ty, "{preset} {name} of {shapes:?}");
            }
        }
    }
}

#[test]
fn what_was_quantized_once_is_reused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    Shapes::tiny(ArchKind::Qwen2).write(&path, GgmlType::F16, 4, None).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let cache = dir.path().join("cache");
    let builder = Builder::new(&gguf, &cache, 1, None).unwrap();
    let out = dir.path().join("a.gguf");
    let all = |ffn: &str| {
        config(&[("weights.attn", text("Q8_0")), ("weights.ffn", text(ffn)), ("weights.embd", text("Q6_K"))])
    };
    let first = builder.build(&all("Q4_K"), &out).unwrap();
    assert_eq!((first.quantized, first.reused, first.copied), (15, 0, 11));
    let bytes = std::fs::read(&out).unwrap();
    let again = builder.build(&all("Q4_K"), &out).unwrap();
    assert_eq!((again.quantized, again.reused), (0, 15));
    assert_eq!((again.hash.as_str(), std::fs::read(&out).unwrap()), (first.hash.as_str(), bytes.clone()));
    let other = builder.build(&all("Q5_K"), &out).unwrap();
    assert_eq!((other.quantized, other.reused), (6, 9));
    assert_ne!(other.hash, first.hash);

    // Another process, with other threads and an empty cache, makes the same file.
    let fresh = Builder::new(&gguf, &dir.path().join("cache2"), 3, None).unwrap();
    let third = fresh.build(&all("Q4_K"), &out).unwrap();
    assert_eq!((third.hash.as_str(), std::fs::read(&out).unwrap()), (first.hash.as_str(), bytes));
    // A cut entry is no entry.
    for folder in std::fs::read_dir(cache.join("tensors")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }
    }
    assert_eq!(builder.build(&all("Q4_K"), &out).unwrap().quantized, 15);
    assert!(builder.sweep_cache(0).unwrap() > 0);
    assert_eq!(builder.build(&all("Q4_K"), &out).unwrap().hash, first.hash);
}

#[test]
fn importance_data_change_low_bits_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F16, 4, None).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let stats = made_up_stats(&Architecture::read(&gguf).unwrap());
    let cache = dir.path().join("cache");
    let plain = Builder::new(&gguf, &cache, 2, None).unwrap();
    let guided = Builder::new(&gguf, &cache, 2, Some(stats)).unwrap();
    let out = dir.path().join("a.gguf");
    let of = |ty: &str| config(&[("weights.ffn", text(ty))]);
    plain.build(&of("Q8_0"), &out).unwrap();
    assert_eq!(guided.build(&of("Q8_0"), &out).unwrap().reused, 6);
    plain.build(&of("Q4_K"), &out).unwrap();
    assert_eq!(guided.build(&of("Q4_K"), &out).unwrap().quantized, 6);
    let low = plain.build(&of("IQ2_XXS"), &out).unwrap();
    assert!(low.fallbacks.iter().all(|f| f.asked == GgmlType::Iq2Xxs && f.got == GgmlType::Q2_K));
    assert!(guided.build(&of("IQ2_XXS"), &out).unwrap().fallbacks.is_empty());
    logits(&out);
}

#[test]
fn any_float_type_is_a_reference() {
    let dir = tempfile::tempdir().unwrap();
    let mut quantized = Vec::new();
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
        let path = dir.path().join(format!("{ty}.gguf"));
        Shapes::tiny(ArchKind::Llama).write(&path, ty, 4, None).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let stats = made_up_stats(&Architecture::read(&gguf).unwrap());
        let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, Some(stats)).unwrap();
        let all = config(&[
            ("weights.attn", text("Q6_K")),
            ("weights.ffn", text("Q8_0")),
            ("weights.embd", text("F16")),
            ("prune.keep_ffn", Value::Real(0.8)),
        ]);
        let out = dir.path().join("a.gguf");
        let mut seen = Vec::new();
        let artifact =
            builder.build_with_progress(&all, &out, &mut |done, of| seen.push((done, of))).unwrap();
        assert_eq!(seen, (0..20).map(|i| (i, 20)).collect::<Vec<_>>());
        assert_eq!((artifact.quantized, artifact.reused), (14, 0), "another source, another content");
        quantized.push(logits(&out));
    }
    // The sources differ by their rounding, which moves some weights to the next step of Q6_K.
    for (kl, ty) in quantized.iter().skip(1).map(|q| divergence(&quantized[0], q)).zip(["F16", "BF16"]) {
        assert!(kl < tolerance::STEPS, "{ty}: KL {kl}");
    }
}

#[test]
fn collected_activations_are_whole_and_guide_quantization() {
    let Some(demo) = demo_reference() else { return };
    let stats = &demo.stats;
    let arch = Architecture::read(&Gguf::open(&demo.reference).unwrap()).unwrap();
    assert_eq!(stats.mean_square.len(), 211);
    for (name, dims) in arch.weight_shapes() {
        let squares = &stats.mean_square[&name];
        assert_eq!(squares.len() as u64, dims[0], "{name}");
        assert!(squares.iter().all(|s| s.is_finite() && *s >= 0.0) && squares.iter().any(|s| *s > 0.0));
    }
    assert_eq!(stats.mean_square["blk.7.attn_q.weight"], stats.mean_square["blk.7.attn_v.weight"]);
    assert_ne!(stats.mean_square["blk.7.attn_q.weight"], stats.mean_square["blk.8.attn_q.weight"]);
    assert_eq!(stats.layer_cosine.len(), 30);
    assert!(stats.stream_square.len() == 30 && stats.stream_square.iter().all(|s| *s > 0.0));
    // The first layer turns the embeddings into something else; 0 would mean that they were not seen.
    assert!(stats.layer_cosine.iter().all(|c| *c > 1e-4 && *c < 1.0), "{:?}", stats.layer_cosine);

    let dir = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&demo.reference).unwrap();
    let float = logits(&demo.reference);
    let loss_of = |stats: Option<ActivationStats>, scaled: bool, pairs: &[(&str, Value)]| {
        let builder = Builder::new(&gguf, &dir.path().join("cache"), 2, stats).unwrap();
        let builder = builder.with_scaling(scaled);
        let artifact = builder.build(&config(pairs), &dir.path().join("a.gguf")).unwrap();
        divergence(&float, &logits(&artifact.path))
    };
    let loss = |stats, pairs: &[(&str, Value)]| loss_of(stats, false, pairs);
    let q4_0 = [("weights.attn", text("Q4_0")), ("weights.ffn", text("Q4_0"))];
    let scaled = loss_of(Some(stats.clone()), true, &q4_0);
    let (guided, plain) = (loss(Some(stats.clone()), &q4_0), loss(None, &q4_0));
    assert!(guided < plain, "KL {guided} with importance data, {plain} without");
    assert!(scaled < guided, "KL {scaled} with channels scaled, {guided} without");

    // The opposite of what matters: quiet inputs taken for loud ones.
    let mut opposite = stats.clone();
    opposite.mean_square.values_mut().flatten().for_each(|s| *s = 1.0 / (*s * *s + 1e-12));
    for pruned in [("prune.keep_ffn", Value::Real(0.9)), ("prune.keep_kv_heads", Value::Real(0.9))] {
        let pruned = [pruned];
        let (right, wrong) = (loss(Some(stats.clone()), &pruned), loss(Some(opposite.clone()), &pruned));
        assert!(right < wrong, "{pruned:?}: KL {right} by importance, {wrong} by its opposite");
        eprintln!("{pruned:?}: KL {right:.4} by importance, {wrong:.4} by its opposite");
    }
    eprintln!("Q4_0: KL {guided:.4} with importance data, {plain:.4} without");
}

#[test]
fn misuse_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F16, 4, None).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let builder = Builder::new(&gguf, &dir.path().join("cache"), 1, None).unwrap();
    let out = dir.path().join("a.gguf");
    let build = |pairs: &[(&str, Value)]| builder.build(&config(pairs), &out).unwrap_err();
    assert!(matches!(build(&[("prune.keep_ffn", Value::Real(0.5))]), CompressError::NeedsStats));
    assert!(matches!(build(&[("weights.preset", text("as-shipped"))]), CompressError::NothingShipped));
    assert!(matches!(build(&[("weights.preset", text("Q9"))]), CompressError::Preset { .. }));
    assert!(matches!(build(&[("weights.ffn", text("Q8_1"))]), CompressError::NotAWeightType { .. }));
    assert!(!out.exists());
    let q8 = dir.path().join("q8.gguf");
    builder.build(&config(&[("weights.preset", text("Q8_0"))]), &q8).unwrap();
    let quantized = Gguf::open(&q8).unwrap();
    let e = Builder::new(&quantized, &dir.path().join("cache"), 1, None).unwrap_err();
    assert!(matches!(e, CompressError::NotFloat { ty: GgmlType::Q8_0, .. }), "{e}");
    let shipped = Builder::new(&gguf, &dir.path().join("cache"), 1, None).unwrap().with_shipped(&q8);
    let artifact = shipped.build(&config(&[("weights.preset", text("as-shipped"))]), &out).unwrap();
    assert_eq!((artifact.path, artifact.bytes), (q8, quantized.len()));
    assert!(!out.exists());
}
