//! `autotune export --to`: what lies in the folder, and that the model in it is the one that was measured.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/fake_study.rs"]
mod fake_study;
#[path = "support/require.rs"]
mod require;

use std::path::Path;

use assert_cmd::Command;
use autotune::model::GgmlType;
use autotune::model::gguf::{Gguf, MetaArray, MetaValue, Metadata};
use autotune::model::gguf::{GgufWriter, TensorDecl};
use autotune::report::Analysis;
use autotune::report::handover::{Facts, SourceFacts, check_sums, damaged_tensors, stamp, stamped};
use autotune::store::{DATABASE_FILE, Store};
use predicates::prelude::*;

/// A GGUF of two tensors with the metadata that a source has.
fn model(path: &Path) {
    let mut m = Metadata::default();
    let text = |t: &str| MetaValue::Str(t.to_owned());
    m.set("general.architecture", text("llama"));
    m.set("general.name", text("Tiny Coder"));
    m.set("general.license", text("apache-2.0"));
    m.set("general.organization", text("Example"));
    m.set("llama.context_length", MetaValue::U32(2048));
    m.set("tokenizer.chat_template", text("{% for m in messages %}{{ m }}{% endfor %}"));
    m.set("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::from_strings(&["a", "ü", "<s>"])));
    let decls = [
        TensorDecl { name: "token_embd.weight".into(), dims: vec![32, 3], ty: GgmlType::Q8_0 },
        TensorDecl { name: "output_norm.weight".into(), dims: vec![5], ty: GgmlType::F32 },
    ];
    let mut w = GgufWriter::create(path, &m, &decls).unwrap();
    w.write(&(0..102).collect::<Vec<u8>>()).unwrap();
    w.write(&[7; 20]).unwrap();
    w.finish(false).unwrap();
}

/// A results folder whose trials 5 (Q4_K_M) and 9 have artifacts.
fn results() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = fake_study::store(&folder.path().join(DATABASE_FILE));
    fake_study::fill(&store, "smollm2", 32, 90);
    std::fs::create_dir(folder.path().join("artifacts")).unwrap();
    for number in [5, 24] {
        model(&folder.path().join(format!("artifacts/{number}.gguf")));
    }
    folder
}

fn export(folder: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("autotune").unwrap();
    command.arg("export").args(args).arg("--results").arg(folder.path()).current_dir(folder.path());
    command
}

#[test]
fn the_folder_holds_model_figures_commands_and_sums() {
    let folder = results();
    export(&folder, &["--trial", "24", "--to", "best"])
        .assert()
        .success()
        .stdout(predicate::str::contains("best/SHA256SUMS"))
        .stdout(predicate::str::contains("llama-server -m best/smollm2-24.gguf -c 4096 -np 4"))
        .stdout(predicate::str::contains("llama-cli -m best/smollm2-24.gguf -c 1024"));
    let best = folder.path().join("best");
    let mut names: Vec<String> =
        std::fs::read_dir(&best).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["Modelfile", "README.md", "SHA256SUMS", "smollm2-24.gguf", "trial.json"]);
    assert_eq!(check_sums(&best).unwrap(), 4);
    let readme = std::fs::read_to_string(best.join("README.md")).unwrap();
    for text in [
        "Tiny Coder: weights attn Q5_K, embd Q4_K, ffn Q4_K, nothing pruned",
        "**Compared with Q4_K_M: 1.31 × faster",
        "| | this file | Q4_K_M | Q8_0 |",
        "| request latency (median) | 1218 ms [1193 to 1242], n = 12 | 1600 ms [1568 to 1632], n = 12 |",
        "| pass@1 | 28.9 % [19.5 to 38.3], n = 90 |",
        "| licence of the source | apache-2.0 |",
        "llama-server -m smollm2-24.gguf -c 4096 -np 4 -t 2",
        "llama-cli -m smollm2-24.gguf",
        "sha256sum --check SHA256SUMS",
        "seed 7",
    ] {
        assert!(readme.contains(text), "`{text}` is not in:\n{readme}");
    }
    insta::assert_snapshot!(std::fs::read_to_string(best.join("Modelfile")).unwrap(), @r#"
    # ollama create smollm2-24 -f Modelfile
    # The server that was measured: OLLAMA_NUM_PARALLEL=4 OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve
    FROM ./smollm2-24.gguf
    PARAMETER num_ctx 1024
    PARAMETER num_thread 2
    PARAMETER num_batch 512
    PARAMETER temperature 0
    LICENSE """apache-2.0"""
    "#);
    let trial: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(best.join("trial.json")).unwrap()).unwrap();
    assert_eq!(trial["number"], 24);
    // The system's own tool agrees.
    let checked =
        std::process::Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&best).output();
    if let Ok(checked) = checked {
        assert!(checked.status.success(), "{checked:?}");
    }
    // Twice into the same folder is no error; into another's is.
    export(&folder, &["--trial", "24", "--to", "best"]).assert().success();
    export(&folder, &["--trial", "5", "--to", "best"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("name a new or an empty folder"));
    export(&folder, &["--trial", "5"]).assert().code(2);
    export(&folder, &["--trial", "5", "--to", "a", "--out", "b"]).assert().code(2);
}

#[test]
fn the_model_keeps_its_data_and_gains_its_facts() {
    let folder = results();
    export(&folder, &["--trial", "24", "--out", "one.gguf"]).assert().success();
    let before = Gguf::open(&folder.path().join("artifacts/24.gguf")).unwrap();
    let after = Gguf::open(&folder.path().join("one.gguf")).unwrap();
    assert_eq!(before.tensors().len(), after.tensors().len());
    for (a, b) in before.tensors().iter().zip(after.tensors()) {
        assert_eq!((&a.name, &a.dims, a.ty), (&b.name, &b.dims, b.ty));
        assert_eq!(before.bytes(a), after.bytes(b), "{}", a.name);
    }
    let m = after.metadata();
    for (key, value) in before.metadata().iter().filter(|(key, _)| *key != "general.name") {
        assert_eq!(m.get(key), Some(value), "{key}");
    }
    let text = |key: &str| m.get(key).and_then(MetaValue::as_str).unwrap_or_default();
    assert!(
        text("general.name").starts_with("Tiny Coder (autotune trial 24: attn Q5_K"),
        "{}",
        text("general.name")
    );
    assert_eq!(text("autotune.source.name"), "Tiny Coder");
    assert_eq!(text("general.base_model.0.name"), "Tiny Coder");
    assert_eq!(text("autotune.study"), "smollm2");
    assert_eq!(text("autotune.pruning"), "none");
    assert!(text("autotune.candidate").contains("\"kv.k\":\"q8_0\""), "{}", text("autotune.candidate"));
    assert_eq!(m.get("autotune.trial"), Some(&MetaValue::U64(24)));
    assert!(matches!(m.get("autotune.measured.pass_at_1"), Some(MetaValue::F64(v)) if *v > 0.0));
}

#[test]
fn one_wrong_byte_in_the_tensors_of_an_exported_file_is_found() {
    let folder = results();
    export(&folder, &["--trial", "24", "--out", "one.gguf"]).assert().success();
    let path = folder.path().join("one.gguf");
    assert_eq!(damaged_tensors(&Gguf::open(&path).unwrap()).unwrap(), None);
    // A file that says nothing of its tensors passes.
    assert_eq!(
        damaged_tensors(&Gguf::open(&folder.path().join("artifacts/24.gguf")).unwrap()).unwrap(),
        None
    );
    let place = usize::try_from(Gguf::open(&path).unwrap().tensors()[0].range.start).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (stated, found) = damaged_tensors(&Gguf::open(&path).unwrap()).unwrap().unwrap();
    assert_ne!(stated, found);
    let mut validate = Command::cargo_bin("autotune").unwrap();
    let arguments = ["validate", path.to_str().unwrap(), "--tier", "edge"];
    validate.args(arguments).assert().code(6).stderr(predicate::str::contains("changed or damaged"));
}

#[test]
fn stamping_twice_says_the_same() {
    let folder = results();
    let store = Store::open_existing(&folder.path().join(DATABASE_FILE)).unwrap();
    let study = store.study(None).unwrap();
    let analysis = Analysis::load(&store, study.id).unwrap();
    let trial = analysis.trial(24).unwrap();
    let facts = Facts::new(&analysis, trial, "gguf").unwrap();
    let source = Gguf::open(&folder.path().join("artifacts/24.gguf")).unwrap();
    let once = stamped(source.metadata(), &facts);
    assert_eq!(stamped(&once, &facts), once);
    assert_eq!(SourceFacts::of(&once).license.as_deref(), Some("apache-2.0"));
    assert_eq!(SourceFacts::of(&once).context, Some(2048));
    // An interrupted copy leaves nothing.
    let out = folder.path().join("no/such/folder/x.gguf");
    assert!(stamp(&source, &once, &out).is_err());
    assert!(!out.exists());
}

#[cfg(feature = "llama")]
mod logits {
    use std::path::PathBuf;

    use autotune::engine::{Device, EngineKind, FlashAttention, Row, RunConfig, Session, Token};
    use autotune::space::KvType;

    use super::*;

    pub const PROMPT: &str = "def add(a, b):\n    return";

    /// The demo model, and a copy of it under its full metadata.
    pub fn stamped_demo(folder: &tempfile::TempDir) -> Option<(PathBuf, PathBuf)> {
        let Some(demo) = std::env::var_os("AUTOTUNE_DEMO_MODEL").map(PathBuf::from).filter(|p| p.exists())
        else {
            crate::require::skip("demo-model", "AUTOTUNE_DEMO_MODEL names no file");
            return None;
        };
        let store = Store::open_existing(&folder.path().join(DATABASE_FILE)).unwrap();
        let analysis = Analysis::load(&store, store.study(None).unwrap().id).unwrap();
        let facts = Facts::new(&analysis, analysis.trial(24).unwrap(), "gguf").unwrap();
        let source = Gguf::open(&demo).unwrap();
        let out = folder.path().join("stamped.gguf");
        stamp(&source, &stamped(source.metadata(), &facts), &out).unwrap();
        Some((demo, out))
    }

    /// Tokens of the prompt, and the logits behind each.
    pub fn of(path: &Path) -> (Vec<Token>, Vec<Vec<f32>>) {
        let run = RunConfig {
            threads: 1,
            sequences: 1,
            context: 256,
            batch_tokens: 64,
            ubatch: 64,
            max_outputs: 0,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            flash: FlashAttention::Off,
            repack: false,
            gpu_layers: 0,
            device: Device::Cpu,
        };
        let mut session: Box<dyn Session> = EngineKind::LlamaCpp.open().unwrap().load(path, &run).unwrap();
        let tokens = session.tokenize(PROMPT, true).unwrap();
        let rows: Vec<Row> = tokens
            .iter()
            .enumerate()
            .map(|(i, &token)| Row { token, position: i as u32, sequence: 0, logits: true })
            .collect();
        session.decode(&rows).unwrap();
        (tokens, (0..rows.len()).map(|i| session.logits(i).unwrap().to_vec()).collect())
    }
}

/// The engine sees no difference: the logits are bit for bit those of the artifact.
#[cfg(feature = "llama")]
#[test]
fn the_stamped_model_gives_the_same_logits() {
    let folder = results();
    let Some((demo, out)) = logits::stamped_demo(&folder) else { return };
    let (ours, theirs) = (logits::of(&out), logits::of(&demo));
    assert!(theirs.1.iter().flatten().all(|l| l.is_finite()) && theirs.1.len() > 5);
    let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|l| l.to_bits()).collect::<Vec<u32>>();
    assert_eq!(ours.0, theirs.0);
    assert!(bits(&ours.1) == bits(&theirs.1));
}

/// `llama-debug` of the llama.cpp that is embedded (docs/src/user/resume-and-export.md tells how to build it) writes the logits of a prompt's last token.
#[cfg(feature = "llama")]
#[test]
fn stock_llama_cpp_gives_the_same_logits() {
    let folder = results();
    let Some((_, out)) = logits::stamped_demo(&folder) else { return };
    let said = std::process::Command::new("llama-debug")
        .args(["--save-logits", "--no-repack", "-fa", "off", "-t", "1", "-c", "256", "-p", logits::PROMPT])
        .args(["--logits-output-dir", "said", "-m"])
        .arg(&out)
        .current_dir(folder.path())
        .output();
    let Ok(said) = said else {
        require::skip("llama-debug", "there is none on the PATH");
        return;
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let words = |name: &str| -> Vec<[u8; 4]> {
        let bytes = std::fs::read(folder.path().join("said").join(name)).unwrap();
        bytes.as_chunks().0.to_vec()
    };
    let (tokens, rows) = logits::of(&out);
    let theirs: Vec<i32> = words("llamacpp-stamped-tokens.bin").into_iter().map(i32::from_le_bytes).collect();
    assert_eq!(tokens, theirs);
    let theirs: Vec<f32> = words("llamacpp-stamped.bin").into_iter().map(f32::from_le_bytes).collect();
    let ours = rows.last().unwrap();
    let bits = |row: &[f32]| row.iter().map(|l| l.to_bits()).collect::<Vec<u32>>();
    assert!(bits(ours) == bits(&theirs), "{:?} and {:?}", &ours[..4], &theirs[..4.min(theirs.len())]);
}
