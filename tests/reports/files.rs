//! Files that are no whole language model: what each is, and what to name instead.

use autotune::model::gguf::{Gguf, GgufWriter, MetaValue, Metadata, TensorDecl};
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, Checkpoint, GgmlType};
use serde_json::json;

use super::bench::{Bench, Said};

fn bench() -> Bench {
    Bench::new(json!([]))
}

fn plan(bench: &Bench, model: &str) -> Said {
    bench.run(&["plan", "--workload", "32:8:2", "--budget", "1GB", "--model", model])
}

/// Writes a file whose tensors are zeros.
fn write(bench: &Bench, name: &str, metadata: &Metadata, tensors: &[TensorDecl]) {
    let mut writer = GgufWriter::create(&bench.path(name), metadata, tensors).unwrap();
    for tensor in tensors {
        writer.write(&vec![0; tensor.bytes().unwrap() as usize]).unwrap();
    }
    writer.finish(false).unwrap();
}

fn keys(pairs: &[(&str, &str)]) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, value) in pairs {
        metadata.set(key, MetaValue::Str((*value).to_owned()));
    }
    metadata
}

fn tensor(name: &str, dims: &[u64]) -> TensorDecl {
    TensorDecl { name: name.to_owned(), dims: dims.to_vec(), ty: GgmlType::F32 }
}

#[test]
fn files_of_another_kind_are_told_for_what_they_are() {
    let bench = bench();
    let llama = ("general.architecture", "llama");
    write(
        &bench,
        "a.gguf",
        &keys(&[llama, ("general.type", "adapter")]),
        &[tensor("blk.0.attn_q.weight.lora_a", &[64, 8])],
    );
    write(
        &bench,
        "b.gguf",
        &keys(&[("general.type", "imatrix")]),
        &[tensor("blk.0.attn_q.weight.in_sum2", &[64])],
    );
    write(
        &bench,
        "c.gguf",
        &keys(&[("general.architecture", "clip")]),
        &[tensor("v.patch_embd.weight", &[14, 14])],
    );
    let vocabulary = Shapes::tiny(ArchKind::Llama).metadata(None);
    write(&bench, "d.gguf", &vocabulary, &[]);
    write(&bench, "e.gguf", &keys(&[("x", "y")]), &[tensor("t", &[4])]);
    for (file, word) in [
        ("a.gguf", "adapter"),
        ("b.gguf", "importance matrix"),
        ("c.gguf", "projector"),
        ("d.gguf", "vocabulary alone"),
        ("e.gguf", "general.architecture"),
    ] {
        plan(&bench, file).code(2).names(file).names(word);
        bench.run(&["convert", file, "--out", "hf"]).code(2).names(file).names(word);
    }
}

#[test]
fn a_blob_without_an_ending_is_a_model_by_its_content() {
    let bench = bench();
    let name = "sha256-8934d96d3f08982e95922b2b7a2c626a1fe873d7c3b06e8e56d7bc0a1fef9246";
    Shapes::tiny(ArchKind::Llama).write(&bench.path(name), GgmlType::F16, 1, None).unwrap();
    assert_eq!(Checkpoint::open(&bench.path(name)).unwrap().arch().layers.len(), 2);
}

#[test]
fn names_of_the_hub_in_other_words_are_answered_with_ours() {
    let bench = bench();
    for (name, answer) in [
        ("https://huggingface.co/a/b/resolve/main/d/c.gguf", "hf:a/b/d/c.gguf"),
        ("https://huggingface.co/a/b/blob/main/c.gguf?download=true", "hf:a/b/c.gguf"),
        ("https://example.org/c.gguf", "hf:owner/repo/file.gguf"),
        ("owner/repo", "hf:owner/repo/file.gguf"),
        ("hf:a/b:Q4_K_M", "hf:owner/repo/file.gguf"),
        ("ollama:qwen2.5-coder", "hf:owner/repo/file.gguf"),
    ] {
        plan(&bench, name).code(2).names(name).names(answer);
    }
}

#[test]
fn parts_of_a_split_model_are_told_from_one_that_was_joined() {
    let bench = bench();
    let whole = bench.path("plain.gguf");
    Shapes::tiny(ArchKind::Llama).write(&whole, GgmlType::F16, 1, None).unwrap();
    let source = Gguf::open(&whole).unwrap();
    let all = source.tensors().len();
    let part = |name: &str, mut metadata: Metadata, number: u16, from: usize, to: usize| {
        metadata.set("split.no", MetaValue::U16(number));
        metadata.set("split.count", MetaValue::U16(2));
        metadata.set("split.tensors.count", MetaValue::I32(all as i32));
        let infos = &source.tensors()[from..to];
        let decls: Vec<TensorDecl> = infos
            .iter()
            .map(|t| TensorDecl { name: t.name.clone(), dims: t.dims.clone(), ty: t.ty })
            .collect();
        let mut writer = GgufWriter::create(&bench.path(name), &metadata, &decls).unwrap();
        for info in infos {
            writer.write(source.bytes(info)).unwrap();
        }
        writer.finish(false).unwrap();
    };
    part("m-00001-of-00002.gguf", source.metadata().clone(), 0, 0, all / 2);
    part("m-00002-of-00002.gguf", Metadata::default(), 1, all / 2, all);
    part("joined.gguf", source.metadata().clone(), 0, 0, all);
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    bench.write("cat.gguf", [read("m-00001-of-00002.gguf"), read("m-00002-of-00002.gguf")].concat());
    plan(&bench, "m-00001-of-00002.gguf").code(2).names("is part 1 of 2").names("--merge");
    plan(&bench, "m-00002-of-00002.gguf").code(2).names("is part 2 of 2").names("--merge");
    plan(&bench, "cat.gguf").code(2).names("concatenated").names("--merge");
    assert!(Checkpoint::open(&bench.path("joined.gguf")).is_ok());
}

#[test]
fn tensors_that_the_graph_has_no_place_for_are_named() {
    let bench = bench();
    let shapes = Shapes::tiny(ArchKind::Llama);
    let with = |name: &str, dims: &[u64]| {
        let mut tensors = shapes.tensors(GgmlType::F16);
        tensors.push(tensor(name, dims));
        write(&bench, "m.gguf", &shapes.metadata(None), &tensors);
        bench.path("m.gguf")
    };
    let refused = |name: &str, dims: &[u64]| {
        with(name, dims);
        plan(&bench, "m.gguf").code(2)
    };
    for name in ["mm.0.weight", "blk.0.attn_q_norm.weight", "blk.2.ffn_up.weight", "output.bias"] {
        refused(name, &[64]).names("m.gguf").names(name).names("does not support");
    }
    refused("blk.1.ffn_up.bias", &[64]).names("blk.1.ffn_up.bias").names("[512]");
    for (name, width) in [("blk.1.ffn_up.bias", 512), ("rope_freqs.weight", 32)] {
        assert!(Checkpoint::open(&with(name, &[width])).is_ok(), "{name}");
    }
}

#[test]
fn a_tensor_without_elements_and_a_key_without_a_name_are_refused() {
    let bench = bench();
    let header = |tensors: u64, keys: u64| {
        [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
    };
    let mut zero = header(1, 0);
    zero.extend(1u64.to_le_bytes());
    zero.extend(b"a");
    zero.extend(2u32.to_le_bytes());
    zero.extend([4u64, 0].iter().flat_map(|n| n.to_le_bytes()));
    zero.extend(0u32.to_le_bytes());
    zero.extend(0u64.to_le_bytes());
    zero.resize(zero.len() + 64, 0);
    bench.write("zero.gguf", &zero);
    let mut empty = header(0, 1);
    empty.extend(0u64.to_le_bytes());
    empty.extend(8u32.to_le_bytes());
    empty.extend(1u64.to_le_bytes());
    empty.extend(b"x");
    empty.resize(empty.len() + 64, 0);
    bench.write("empty-key.gguf", &empty);
    plan(&bench, "zero.gguf").code(2).names("zero.gguf").names("[4, 0]");
    plan(&bench, "empty-key.gguf").code(2).names("empty-key.gguf").names("empty key name");
}
