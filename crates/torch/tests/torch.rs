//! The torch engine against llama.cpp, and what must not load libtorch.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../../../tests/support/require.rs"]
mod require;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use autotune::compress::convert::convert;
use autotune::compress::torch::{base_config, pack};
use autotune::compress::{Builder, Importance, make_reference};
use autotune::engine::generate::{Prompt, generate};
use autotune::engine::llama::LlamaCpp;
use autotune::engine::{Device, Engine, EngineError, FlashAttention, Row, RunConfig, Session, Token};
use autotune::model::gguf::Gguf;
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, Architecture, Checkpoint, GgmlType};
use autotune::report::handover::torchscript;
use autotune::space::{Candidate, Config, KvType, Value};

use autotune_torch::Torch;

/// Largest accepted difference of the logits of two engines on the same F32 weights, relative to the largest logit.
const ENGINES_AGREE: f32 = 1e-3;
const TEXT: &str =
    "def add(a, b):\n    return a + b\n\n\nclass Stack:\n    def __init__(self):\n        self.items = []\n";

fn run() -> RunConfig {
    RunConfig {
        // Two threads that wait for each other in turns are slower than one on a machine that does anything else.
        threads: 1,
        sequences: 10,
        context: 256,
        batch_tokens: 256,
        ubatch: 256,
        max_outputs: 0,
        kv_k: KvType::F32,
        kv_v: KvType::F32,
        flash: FlashAttention::Off,
        repack: false,
        gpu_layers: 0,
        device: Device::Cpu,
    }
}

fn demo_model() -> Option<PathBuf> {
    let path = match std::env::var_os("AUTOTUNE_DEMO_MODEL").filter(|v| !v.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        }
    };
    if !path.is_file() {
        require::skip("demo-model", "there is none (`make setup`, or AUTOTUNE_DEMO_MODEL)");
        return None;
    }
    Some(path)
}

/// The demo model's float reference, in a folder that goes with the test.
fn floats() -> Option<(tempfile::TempDir, PathBuf)> {
    let demo = demo_model()?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("floats.gguf");
    make_reference(&Gguf::open(&demo).unwrap(), &path, 1, 2).unwrap();
    Some((folder, path))
}

/// The logits behind every token of a text.
fn logits(session: &mut dyn Session, text: &str) -> Vec<Vec<f32>> {
    let tokens = session.tokenize(text, true).unwrap();
    let row = |(i, &token): (usize, &Token)| Row { token, position: i as u32, sequence: 1, logits: true };
    session.forget(None);
    session.decode(&tokens.iter().enumerate().map(row).collect::<Vec<_>>()).unwrap();
    (0..tokens.len()).map(|i| session.logits(i).unwrap().to_vec()).collect()
}

/// The largest difference of logits, relative to the largest logit.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let all = |rows: &[Vec<f32>]| rows.concat();
    let (a, b) = (all(a), all(b));
    let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0f32, f32::max) / largest
}

fn load(engine: &dyn Engine, path: &Path) -> Box<dyn Session> {
    engine.load(path, &run()).unwrap()
}

/// Greedy text of twenty prompts.
fn greedy(session: &mut dyn Session) -> BTreeMap<String, String> {
    let topics = [
        "adds two numbers",
        "reverses a string",
        "counts words",
        "sorts a list",
        "finds the largest number",
        "checks for primes",
        "computes a factorial",
        "merges two dicts",
        "reads a file",
        "flattens a list",
        "removes duplicates",
        "checks a palindrome",
        "converts celsius",
        "sums even numbers",
        "counts vowels",
        "finds the median",
        "splits a path",
        "parses an integer",
        "joins strings",
        "rotates a list",
    ];
    let prompts: Vec<Prompt> = topics
        .iter()
        .enumerate()
        .map(|(i, topic)| Prompt {
            id: format!("{i:02}"),
            text: format!("# A function that {topic}.\ndef f{i}("),
            max_tokens: 16,
            ..Prompt::default()
        })
        .collect();
    let mut all = BTreeMap::new();
    generate(session, &prompts, 10, 256, |g| {
        all.insert(g.id, g.text);
        true
    })
    .unwrap();
    assert_eq!(all.len(), topics.len());
    all
}

#[test]
fn both_engines_give_the_same_logits_and_text() {
    let Some((folder, half)) = floats() else { return };
    // F32 for both: llama.cpp multiplies F16 weights with rounded activations.
    let hf = folder.path().join("hf");
    let f32 = folder.path().join("f32.gguf");
    convert(&half, &hf, Some(GgmlType::F32)).unwrap();
    convert(&hf, &f32, None).unwrap();
    let mut llama = load(&LlamaCpp::new(), &f32);
    let mut torch = load(&Torch, &f32);
    let mut folder = load(&Torch, &hf);
    for text in [TEXT, "const x = [1, 2, 3].map((n) => n * 10_000);\n", "naïve – 日本語 🦀\t12345"] {
        let expected = logits(llama.as_mut(), text);
        assert_eq!(llama.tokenize(text, true).unwrap(), torch.tokenize(text, true).unwrap(), "{text}");
        for session in [&mut torch, &mut folder] {
            let worst = difference(&expected, &logits(session.as_mut(), text));
            assert!(worst < ENGINES_AGREE, "{worst}: {text}");
        }
    }
    let expected = greedy(llama.as_mut());
    assert_eq!(greedy(torch.as_mut()), expected);
}

#[test]
fn qwen2_and_unequal_layers_run_as_in_llama_cpp() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [ArchKind::Llama, ArchKind::Qwen2] {
        let path = folder.path().join(format!("{}.gguf", kind.name()));
        Shapes::tiny(kind).write(&path, GgmlType::F32, 7, None).unwrap();
        let hf = folder.path().join(kind.name());
        convert(&path, &hf, None).unwrap();
        // Heads and channels gone from some layers: the graph `deci`.
        let whole = Gguf::open(&path).unwrap();
        let importance = Importance::magnitude(&whole, &Architecture::read(&whole).unwrap()).unwrap();
        let builder = Builder::new(&whole, &folder.path().join("cache"), 1, None).unwrap();
        let pruned = folder.path().join(format!("{}-pruned.gguf", kind.name()));
        let kept = |name: &str| (name.to_owned(), Value::Real(0.75));
        let float = |role: &str| (format!("weights.{role}"), Value::Text("F32".into()));
        let candidate =
            [kept("prune.keep_kv_heads"), kept("prune.keep_ffn"), float("attn"), float("ffn"), float("embd")]
                .into_iter()
                .fold(Candidate::default(), |c, (name, value)| c.with(&name, value));
        let config = Config::from_candidate(&candidate).unwrap();
        builder.with_importance(importance).build(&config, &pruned).unwrap();
        assert_eq!(Architecture::read(&Gguf::open(&pruned).unwrap()).unwrap().kind, ArchKind::Deci);
        let llama = |path: &Path| logits(load(&LlamaCpp::new(), path).as_mut(), TEXT);
        let script = folder.path().join(format!("{}.pt", kind.name()));
        for path in [&path, &pruned] {
            torchscript::write(&Checkpoint::open(path).unwrap(), &script).unwrap();
            let mut session = load(&Torch, path);
            let tokens = session.tokenize(TEXT, true).unwrap();
            let worst = difference(&logits(session.as_mut(), TEXT), &script_logits(&script, &tokens));
            assert!(worst < ENGINES_AGREE, "{}: {worst}", path.display());
        }
        for (path, expected) in [(&path, llama(&path)), (&hf, llama(&path)), (&pruned, llama(&pruned))] {
            let worst = difference(&expected, &logits(load(&Torch, path).as_mut(), TEXT));
            assert!(worst < ENGINES_AGREE, "{} {}: {worst}", kind.name(), path.display());
        }
    }
}

/// The logits of a TorchScript archive behind every token.
fn script_logits(path: &Path, tokens: &[Token]) -> Vec<Vec<f32>> {
    let module = tch::CModule::load(path).unwrap();
    let tokens: Vec<i64> = tokens.iter().map(|t| i64::from(*t)).collect();
    let input = tch::Tensor::from_slice(&tokens).unsqueeze(0);
    let logits = tch::no_grad(|| module.forward_ts(&[input]).unwrap());
    Vec::<Vec<f32>>::try_from(logits.squeeze_dim(0)).unwrap()
}

/// Largest accepted difference of the logits, relative to the largest logit, by type: to those of F32, and to those of a script that computes
/// with the same rounded weights in floats. INT8_DYN rounds activations to seven bits with one scale for all rows, and this model has
/// channels that are very loud; INT4 and NF4 lose what four bits lose (a mean divergence of about .35),
/// but their products must not add to it; SPARSE24 loses half of its weights, and a processor multiplies with the zeros.
const PACKED: [(&str, f32, f32); 6] = [
    ("BF16", 0.05, 0.01),
    ("INT8", 0.1, 0.01),
    ("INT8_DYN", 0.5, 0.5),
    ("INT4", 0.8, 0.05),
    ("NF4", 0.8, 0.05),
    ("SPARSE24", 2.0, 0.01),
];

#[test]
fn packed_types_are_near_the_floats_and_smaller() {
    let Some((folder, floats)) = floats() else { return };
    let reference = Gguf::open(&floats).unwrap();
    let expected = logits(load(&Torch, &floats).as_mut(), TEXT);
    let builder = Builder::new(&reference, &folder.path().join("cache"), 2, None).unwrap();
    let mut last = 0.0;
    for (ty, tolerance, kernel) in PACKED {
        let candidate = Candidate::default().with("weights.preset", Value::Text(ty.into()));
        let config = Config::from_candidate(&candidate).unwrap();
        let base = folder.path().join(format!("{ty}.base.gguf"));
        let out = folder.path().join(format!("{ty}.gguf"));
        builder.build(&base_config(&config, &reference).unwrap(), &base).unwrap();
        let artifact = match pack(&config, &Gguf::open(&base).unwrap(), &out).unwrap() {
            Some(_) => out,
            None => base,
        };
        let mut session = load(&Torch, &artifact);
        let worst = difference(&expected, &logits(session.as_mut(), TEXT));
        assert!(worst > 0.0 && worst < tolerance, "{ty}: {worst}");
        let bytes = std::fs::metadata(&artifact).unwrap().len();
        let script = folder.path().join("script.pt");
        torchscript::write(&Checkpoint::open(&artifact).unwrap(), &script).unwrap();
        let tokens = session.tokenize(TEXT, true).unwrap();
        let apart = difference(&logits(session.as_mut(), TEXT), &script_logits(&script, &tokens));
        // What our engine rounds and a script does not: activations of INT8_DYN, sums of bfloat16 in another order.
        eprintln!("{ty}: {worst:.3} off the floats, {apart:.3} off the script");
        assert!(apart < kernel, "{ty}: the script is {apart} off");
        if ty.starts_with("INT") || ty == "NF4" {
            assert!(bytes < reference.len() * 6 / 10, "{ty}: {bytes} of {}", reference.len());
        }
        last = worst;
    }
    assert!(last > 0.0);
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("tiny.gguf");
    Shapes::tiny(ArchKind::Llama).write(&gguf, GgmlType::F32, 7, None).unwrap();
    let broken = |name: &str, change: &dyn Fn(&Path)| {
        let path = folder.path().join(name);
        convert(&gguf, &path, None).unwrap();
        change(&path);
        match Torch.load(&path, &run()) {
            Err(EngineError::Load { detail, .. }) => detail,
            other => panic!("{name}: {:?}", other.err()),
        }
    };
    let config = |path: &Path, from: &str, to: &str| {
        let text = std::fs::read_to_string(path.join("config.json")).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path.join("config.json"), text.replace(from, to)).unwrap();
    };
    // Sheikh-2.5-Coder's own labels are no fault: the graph is llama's.
    for label in ["sheikh_coder", "minimax_m2"] {
        let path = folder.path().join(label);
        convert(&gguf, &path, None).unwrap();
        config(&path, "\"model_type\": \"llama\"", &format!("\"model_type\": \"{label}\""));
        assert_eq!(load(&Torch, &path).info().vocabulary, 320, "{label}");
    }
    let shard = broken("shard", &|p| {
        std::fs::remove_file(p.join("model.safetensors")).unwrap();
        let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}}"#;
        std::fs::write(p.join("model.safetensors.index.json"), index).unwrap();
    });
    assert!(
        shard.contains("model-00001-of-00002.safetensors: is missing") && shard.contains("2 tensors"),
        "{shard}"
    );
    let lfs = broken("lfs", &|p| {
        std::fs::write(
            p.join("model.safetensors"),
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        )
        .unwrap();
    });
    assert!(lfs.contains("pointer of Git LFS"), "{lfs}");
    let none = broken("none", &|p| std::fs::remove_file(p.join("model.safetensors")).unwrap());
    assert!(none.contains("no safetensors file"), "{none}");
    let shape = broken("shape", &|p| config(p, "\"intermediate_size\": 512", "\"intermediate_size\": 640"));
    assert!(shape.contains("[512, 256]") && shape.contains("[640, 256]"), "{shape}");
    let layers = broken("layers", &|p| config(p, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    assert!(layers.contains("`model.layers.2.self_attn.q_proj.weight` is missing"), "{layers}");
    let kind = broken("kind", &|p| config(p, "\"llama\"", "\"mamba\""));
    assert!(kind.contains("`mamba` is not known"), "{kind}");
    let tokens = broken("tokens", &|p| {
        let text = std::fs::read_to_string(p.join("tokenizer.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["model"]["vocab"]["one too many"] = 320.into();
        std::fs::write(p.join("tokenizer.json"), json.to_string()).unwrap();
    });
    assert!(tokens.contains("321 tokens, but the model's vocabulary has 320"), "{tokens}");
    let text = broken("text", &|p| std::fs::write(p.join("model.safetensors"), "no weights").unwrap());
    assert!(text.contains("is not a safetensors file"), "{text}");
    let no_tokenizer = broken("no-tokenizer", &|p| std::fs::remove_file(p.join("tokenizer.json")).unwrap());
    assert!(no_tokenizer.contains("tokenizer.json: cannot be read"), "{no_tokenizer}");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    Shapes::tiny(ArchKind::Llama).write(&path, GgmlType::F32, 7, None).unwrap();
    let run = RunConfig { device: Device::Cuda(99), ..run() };
    let error = Torch.load(&path, &run).err().unwrap().to_string();
    assert!(error.contains("there is no device cuda:99"), "{error}");
}

#[test]
fn only_the_torch_program_loads_libtorch() {
    let contains = |program: &str| {
        let bytes = std::fs::read(program).unwrap();
        // Needed libraries are named in the dynamic string table.
        bytes.windows(16).any(|w| w == b"libtorch_cpu.so\0")
    };
    assert!(contains(env!("CARGO_BIN_EXE_autotune-torch")));
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_autotune-torch")).with_file_name("autotune");
    if !program.is_file() {
        require::skip("autotune", "the command is not built (`cargo build --release`)");
        return;
    }
    assert!(!contains(program.to_str().unwrap()));
}

/// What Python makes of both exports: prints the logits behind the last token.
const PYTHON: &str = r#"
import sys
try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print("skipped:", error)
    sys.exit(0)
script, folder, tokens, text = sys.argv[1], sys.argv[2], [int(t) for t in sys.argv[3].split()], sys.argv[4]
ids = torch.tensor([tokens])
with torch.no_grad():
    a = torch.jit.load(script)(ids)[0, -1]
    b = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits[0, -1]
assert AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"] == tokens
for logits in (a, b):
    print(" ".join(repr(x) for x in logits.tolist()))
"#;

#[test]
fn pythons_torch_and_transformers_load_the_exports() {
    let Some((folder, floats)) = floats() else { return };
    let (script, hf) = (folder.path().join("script.pt"), folder.path().join("hf"));
    torchscript::write(&Checkpoint::open(&floats).unwrap(), &script).unwrap();
    convert(&floats, &hf, None).unwrap();
    let mut session = load(&Torch, &floats);
    let text = "def add(a, b):\n    return";
    let tokens = session.tokenize(text, false).unwrap();
    let expected = logits(session.as_mut(), text).pop().unwrap();
    let numbers: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    let python = std::process::Command::new("python3")
        .args(["-c", PYTHON])
        .args([&script, &hf])
        .args([numbers.join(" ").as_str(), text])
        .output();
    let Ok(said) = python else {
        require::skip("python", "there is no python3");
        return;
    };
    let out = String::from_utf8_lossy(&said.stdout);
    if out.starts_with("skipped") {
        require::skip("transformers", out);
        return;
    }
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(out.lines().count(), 2, "{out}");
    for line in out.lines() {
        let found: Vec<f32> = line.split(' ').map(|x| x.parse().unwrap()).collect();
        let worst = difference(std::slice::from_ref(&expected), &[found]);
        assert!(worst < ENGINES_AGREE, "{worst}");
    }
}
