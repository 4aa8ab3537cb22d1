//! Folders of Hugging Face whose fields and tensors must all be accounted for: carried over, or refused by name.

use std::path::{Path, PathBuf};

use autotune::model::gguf::{Gguf, MetaValue};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::bench::Bench;

/// Tensors by name, with their shape (rows first) and F16 bytes.
type Stored = Vec<(String, Vec<usize>, Vec<u8>)>;

/// A folder on its way: the recorded model `llama-biases`, or another, changed.
struct Folder<'b> {
    bench: &'b Bench,
    path: PathBuf,
}

impl<'b> Folder<'b> {
    fn new(bench: &'b Bench, model: &str) -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transformers");
        let path = bench.path("hf");
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(data.join(model).join(name), path.join(name)).unwrap();
        }
        std::fs::copy(data.join("tokenizer.json"), path.join("tokenizer.json")).unwrap();
        Self { bench, path }
    }

    fn json(&self, name: &str) -> Value {
        std::fs::read_to_string(self.path.join(name)).map_or(json!({}), |t| serde_json::from_str(&t).unwrap())
    }

    fn set(self, file: &str, key: &str, value: Value) -> Self {
        let mut json = self.json(file);
        json[key] = value;
        self.write(file, &json.to_string())
    }

    fn config(self, key: &str, value: Value) -> Self {
        self.set("config.json", key, value)
    }

    fn write(self, file: &str, text: &str) -> Self {
        std::fs::write(self.path.join(file), text).unwrap();
        self
    }

    /// Rewrites the weights; a tensor without bytes is dropped.
    fn tensors(self, change: impl Fn(&mut Stored)) -> Self {
        let all = self.read_tensors();
        self.save(all, change, "model.safetensors")
    }

    fn read_tensors(&self) -> Stored {
        let bytes = std::fs::read(self.path.join("model.safetensors")).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        read.iter().map(|(n, v)| (n.to_owned(), v.shape().to_vec(), v.data().to_vec())).collect()
    }

    fn save(self, mut all: Stored, change: impl Fn(&mut Stored), file: &str) -> Self {
        change(&mut all);
        let views =
            all.iter().map(|(n, s, d)| (n.clone(), TensorView::new(Dtype::F16, s.clone(), d).unwrap()));
        safetensors::serialize_to_file(views, None, &self.path.join(file)).unwrap();
        self
    }

    /// Converts; what was written.
    #[track_caller]
    fn converted(&self) -> Gguf {
        let out = self.bench.path("out.gguf");
        let _ = std::fs::remove_file(&out);
        self.bench.run(&["convert", "hf", "--out", "out.gguf"]).code(0);
        Gguf::open(&out).unwrap()
    }

    /// Converting is refused with exit code 2 and everything named; nothing is left behind.
    #[track_caller]
    fn refused(&self, named: &[&str]) {
        let out = self.bench.path("out.gguf");
        let _ = std::fs::remove_file(&out);
        let said = self.bench.run(&["convert", "hf", "--out", "out.gguf"]).code(2);
        for name in named {
            assert!(said.stderr.contains(name), "`{name}` is not in:\n{}", said.stderr);
        }
        assert!(!out.exists(), "something was written");
    }
}

fn bench() -> Bench {
    Bench::new(json!([]))
}

#[test]
fn biases_of_every_projection_are_carried_over() {
    let bench = bench();
    let gguf = Folder::new(&bench, "llama-biases").converted();
    for role in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        assert!(gguf.tensor(&format!("blk.1.{role}.bias")).is_some(), "{role}");
    }
    let architecture = |gguf: &Gguf| gguf.metadata().get("general.architecture").cloned();
    assert_eq!(architecture(&gguf), Some(MetaValue::Str("llama".into())));
    let qwen2 = Folder::new(&bench, "qwen2").converted();
    assert_eq!(architecture(&qwen2), Some(MetaValue::Str("qwen2".into())));
}

#[test]
fn biases_against_the_configuration_are_refused() {
    let bench = bench();
    let folder = || Folder::new(&bench, "llama-biases");
    folder()
        .config("attention_bias", json!(false))
        .refused(&["attention_bias is false", "_proj.bias` is there"]);
    folder().config("mlp_bias", json!(false)).refused(&["mlp_bias is false", "mlp."]);
    let without = |all: &mut Stored| all.retain(|t| !t.0.contains("mlp.") || !t.0.ends_with("bias"));
    folder().tensors(without).refused(&["mlp_bias is true", "is missing"]);
    // Unsaid, the tensors count.
    let gguf = folder().config("mlp_bias", Value::Null).converted();
    assert!(gguf.tensor("blk.0.ffn_up.bias").is_some());
}

#[test]
fn tensors_without_a_place_are_refused_and_buffers_are_not() {
    let bench = bench();
    let with = |name: &'static str| {
        Folder::new(&bench, "qwen2").tensors(move |all| all.push((name.to_owned(), vec![8], vec![0; 16])))
    };
    for name in [
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.input_layernorm.bias",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.0.mlp.down_proj.weight_scale",
        "vision_tower.patch_embedding.weight",
    ] {
        with(name).refused(&[name, "no place"]);
    }
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.attn.masked_bias"] {
        let gguf = with(name).converted();
        assert_eq!(gguf.tensors().len(), 2 + 2 * 12, "{name}");
    }
}

#[test]
fn fields_that_change_the_model_are_refused_by_name() {
    let bench = bench();
    let with = |key: &str, value: Value| Folder::new(&bench, "qwen2").config(key, value);
    with("logit_scale", json!(0.0625)).refused(&["`logit_scale`: 0.0625"]);
    with("residual_multiplier", json!(0.22)).refused(&["residual_multiplier"]);
    with("partial_rotary_factor", json!(0.5)).refused(&["partial_rotary_factor"]);
    with("final_logit_softcapping", json!(30.0)).refused(&["final_logit_softcapping"]);
    with("hidden_act", json!("gelu")).refused(&["hidden_act", "gelu"]);
    with("rms_norm_eps", json!("small")).refused(&["rms_norm_eps", "a number"]);
    let quantized = json!({"quant_method": "awq", "bits": 4});
    with("quantization_config", quantized).refused(&["quantization_config", "awq"]);
    with("rope_scaling", json!({"rope_type": "spiral", "factor": 2.0}))
        .refused(&["rope_scaling", "`spiral`"]);
    with("logit_scale", json!(1.0)).converted();
    let window = with("sliding_window", json!(32)).config("use_sliding_window", json!(true));
    let window = window.config("layer_types", json!(["sliding_attention", "sliding_attention"]));
    let context = window.converted().metadata().get("qwen2.context_length").and_then(MetaValue::as_u64);
    assert_eq!(context, Some(32), "beyond its window the model attends to less");
}

#[test]
fn an_adapter_is_named_for_what_it_is() {
    let bench = bench();
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "owner/base"}"#;
    Folder::new(&bench, "qwen2")
        .write("adapter_config.json", config)
        .refused(&["LORA adapter", "owner/base"]);
}

#[test]
fn embeddings_said_to_be_tied_beside_another_output_matrix_are_refused() {
    let bench = bench();
    let untied = || Folder::new(&bench, "llama-untied");
    assert!(untied().converted().tensor("output.weight").is_some());
    untied()
        .config("tie_word_embeddings", json!(true))
        .refused(&["tie_word_embeddings is true", "lm_head.weight"]);
    let tied = || Folder::new(&bench, "qwen2");
    tied().config("tie_word_embeddings", json!(false)).refused(&["lm_head.weight"]);
    // The same matrix stored twice is one.
    let twice = tied().tensors(|all| {
        let (_, shape, bytes) = all.iter().find(|t| t.0 == "model.embed_tokens.weight").unwrap().clone();
        all.push(("lm_head.weight".to_owned(), shape, bytes));
    });
    assert!(twice.converted().tensor("output.weight").is_none());
}

#[test]
fn an_index_and_its_files_must_agree() {
    let bench = bench();
    const INDEX: &str = "model.safetensors.index.json";
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    // `split` of the tensors in the first file; the second holds those from `again` on.
    let sharded = |split: usize, again: usize| {
        let folder = Folder::new(&bench, "qwen2");
        let all = folder.read_tensors();
        let place = |i: usize| if i < split { first } else { second };
        let map: serde_json::Map<String, Value> =
            all.iter().enumerate().map(|(i, t)| (t.0.clone(), place(i).into())).collect();
        std::fs::remove_file(folder.path.join("model.safetensors")).unwrap();
        folder
            .save(all.clone(), |t| t.truncate(split), first)
            .save(all, |t| drop(t.drain(..again)), second)
            .write(INDEX, &json!({"weight_map": map}).to_string())
    };
    assert_eq!(sharded(5, 5).converted().tensors().len(), 26);
    sharded(5, 4).refused(&[second, "is also in", first]);
    sharded(5, 6).refused(&[second, "does not hold", INDEX]);
    let missing = sharded(5, 5);
    std::fs::remove_file(missing.path.join(second)).unwrap();
    missing.refused(&[second, "is missing"]);
    let folder = sharded(5, 5);
    std::fs::copy(folder.path.join(first), folder.path.join("model.safetensors")).unwrap();
    folder.refused(&["model.safetensors", "does not list it"]);
}

#[test]
fn ends_and_templates_are_carried_over() {
    let bench = bench();
    let key = |gguf: &Gguf, key: &str| gguf.metadata().get(&format!("tokenizer.{key}")).cloned();
    let number = |gguf: &Gguf, name: &str| key(gguf, &format!("ggml.{name}")).and_then(|v| v.as_u64());
    let ends = Folder::new(&bench, "qwen2")
        .config("eos_token_id", json!([257, 12]))
        .write("generation_config.json", r#"{"eos_token_id": [13, 257]}"#)
        .converted();
    assert_eq!(number(&ends, "eos_token_id"), Some(13), "what generate() stops at comes first");
    assert_eq!(number(&ends, "eot_token_id"), Some(12), "257 is known by its name");
    let many = json!([10, 11, 12, 13, 257]);
    Folder::new(&bench, "qwen2").config("eos_token_id", many).refused(&["no place for 13"]);

    let list = json!([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]);
    let text = |s: &str| Some(MetaValue::Str(s.into()));
    let listed = Folder::new(&bench, "qwen2").set("tokenizer_config.json", "chat_template", list).converted();
    assert_eq!(key(&listed, "chat_template"), text("plain"));
    assert_eq!(key(&listed, "chat_template.tool_use"), text("tools"));
    let file = Folder::new(&bench, "qwen2")
        .set("tokenizer_config.json", "chat_template", json!("older"))
        .write("chat_template.jinja", "newer")
        .converted();
    assert_eq!(key(&file, "chat_template"), text("newer"));
    Folder::new(&bench, "qwen2")
        .set("tokenizer_config.json", "chat_template", json!({"name": "x"}))
        .refused(&["chat_template"]);
    let decoder = json!({"260": {"content": "<fim>", "special": true}});
    let added = Folder::new(&bench, "qwen2")
        .set("tokenizer_config.json", "added_tokens_decoder", decoder)
        .converted();
    let tokens: Vec<String> = key(&added, "ggml.tokens").unwrap().as_array().unwrap().strings().collect();
    assert_eq!(tokens[260], "<fim>");
}
