//! Whole studies of a tiny model, as a user runs them: gradients, recovery, packed artifacts and all rungs of the torch engine; probes of what choices cost.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Output};

use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, GgmlType};
use autotune::store::{Store, TrialRecord};
use autotune::study::sensitivity::Sensitivities;

const SPACE: &str = r#"
batch = 2
context = { from = "workload" }
threads = 1

[weights]
attn = ["INT8", "INT8_DYN"]
ffn = "INT4"
embd = "INT8"

[kv]
k = "f32"
v = "f32"

[prune]
keep_ffn = 0.75
"#;

/// The command, which starts the torch engine's program that lies beside it.
fn program() -> std::path::PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_autotune-torch")).with_file_name("autotune");
    assert!(program.is_file(), "build the command first: cargo build --release -p autotune");
    program
}

fn autotune(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(folder).env("XDG_CACHE_HOME", folder.join("home")).args(args).output().unwrap()
}

/// The trials of a study of the folder's `tiny.gguf` over its `space.toml`.
fn tuned(folder: &Path, own: &[&str]) -> Vec<TrialRecord> {
    let model = ["tune", "--model", "tiny.gguf", "--budget", "2GB", "--space", "space.toml"];
    let limits = ["--task-limit", "2", "--timing-cap", "1s", "--trials", "4", "--sandbox", "auto"];
    let said = autotune(folder, &[&model[..], &limits[..], own].concat());
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
    let store = Store::open_existing(&folder.join("results/autotune.db")).unwrap();
    store.trials(store.study(None).unwrap().id).unwrap().to_vec()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_study_of_the_torch_engine_prunes_trains_packs_and_grades() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    Shapes::tiny(ArchKind::Llama).write(&at("tiny.gguf"), GgmlType::F16, 3, None).unwrap();
    std::fs::write(at("space.toml"), SPACE).unwrap();
    let own = ["--engine", "torch", "--workload", "64:8:2", "--importance", "gradient", "--recover", "1s"];
    let trials = tuned(folder.path(), &own);
    let names: Vec<Option<&str>> = trials.iter().map(|t| t.origin.preset_name()).collect();
    assert_eq!(names, [Some("BF16"), Some("INT8_DYN"), None, None]);
    for trial in &trials {
        assert_eq!(trial.state.to_string(), "complete", "{:?}", trial.failure);
        let artifact = trial.artifact.as_ref().unwrap();
        assert!(artifact.path.ends_with(".torch.gguf") && at("results").join(&artifact.path).is_file());
        for metric in ["request_latency_p50_ms", "peak_memory_bytes", "kl_mean", "pass_at_1"] {
            assert!(trial.value(metric).is_some(), "{metric}");
        }
        let trained = trial.value("recovery_s");
        assert_eq!(trained.is_some(), trial.origin.preset_name().is_none(), "{trained:?}");
    }
    // Both pruned trials share one training.
    let of = |i: usize, metric: &str| trials[i].value(metric).unwrap();
    assert_eq!(of(2, "recovery_s"), of(3, "recovery_s"));
    assert!(of(2, "recovery_steps") >= 1.0);
    assert_eq!(std::fs::read_dir(at("results/cache")).unwrap().count(), 1);
}

const FEW_BITS: &str = r#"
batch = 1
context = { from = "workload" }
threads = 1

[weights]
attn = ["Q8_0", "Q6_K"]
ffn = "Q4_0"
embd = "Q8_0"

[kv]
k = "f16"
v = "f16"
"#;

#[test]
fn candidates_of_few_bits_are_trained_on_what_the_reference_writes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    Shapes::tiny(ArchKind::Llama).write(&at("tiny.gguf"), GgmlType::F16, 3, None).unwrap();
    std::fs::write(at("space.toml"), FEW_BITS).unwrap();
    let code = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n\n\n";
    std::fs::write(at("code.txt"), code.repeat(16)).unwrap();
    let workload = ["--workload", "64:8:1", "--calibration", "code.txt"];
    let recovery = ["--recover", "1s", "--recover-on", "generated"];
    let trials = tuned(folder.path(), &[workload, recovery].concat());
    assert_eq!(trials.len(), 4);
    let mut trained = Vec::new();
    for trial in &trials {
        assert_eq!(trial.state.to_string(), "complete", "{:?}", trial.failure);
        match trial.value("recovery_s") {
            Some(seconds) => trained.push(seconds),
            None => assert!(trial.origin.preset_name().is_some(), "only presets stay as they are"),
        }
    }
    // Candidates that differ in the types of more bits share one training.
    assert!(trained.len() == 2 && trained[0] == trained[1], "{trained:?}");
    let cache = std::fs::read_dir(at("results/cache")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_dir(cache.join("recovered")).unwrap().count(), 1);
    let generated =
        std::fs::read_dir(&cache).unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
    let generated: Vec<String> = generated.filter(|name| name.starts_with("generated-")).collect();
    assert_eq!(generated.len(), 1, "{generated:?}");
    let written = std::fs::read_to_string(cache.join(&generated[0])).unwrap();
    assert!(
        written.ends_with(&code.repeat(16)) && written.len() > 16 * code.len() + 1000,
        "{}",
        written.len()
    );
}

/// It used to be told after a minute of preparation, and to leave a study behind.
#[test]
fn a_device_that_is_not_there_leaves_no_study_behind() {
    let folder = tempfile::tempdir().unwrap();
    Shapes::tiny(ArchKind::Llama).write(&folder.path().join("tiny.gguf"), GgmlType::F16, 3, None).unwrap();
    let tune =
        ["tune", "--engine", "torch", "--device", "cuda:99", "--model", "tiny.gguf", "--budget", "2GB"];
    let output = autotune(folder.path(), &tune);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("there is no device cuda:99"), "{}", text(&output.stderr));
    assert!(!folder.path().join("results").exists());
}

#[test]
fn a_processor_is_not_asked_for_what_only_a_gpu_multiplies() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    Shapes::tiny(ArchKind::Llama).write(&at("tiny.gguf"), GgmlType::F16, 3, None).unwrap();
    std::fs::write(at("space.toml"), SPACE.replace("\"INT4\"", "[\"INT4\", \"NF4\"]")).unwrap();
    let tune = [
        "tune",
        "--model",
        "tiny.gguf",
        "--budget",
        "2GB",
        "--engine",
        "torch",
        "--workload",
        "64:8:2",
        "--space",
    ];
    let said = autotune(folder.path(), &[&tune[..], &["space.toml"]].concat());
    let error = text(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{error}");
    assert!(error.contains("weights.ffn has the type NF4") && error.contains("--device cuda:0"), "{error}");
    let said = autotune(folder.path(), &[&tune[..], &["torch-gpu"]].concat());
    assert!(text(&said.stderr).contains("is for --device cuda:0"), "{}", text(&said.stderr));
}

const LLAMA_SPACE: &str = r#"
batch = [1, 2]
threads = 1

[weights]
attn = ["F16", "Q8_0"]
ffn = ["Q4_0", "Q8_0"]
embd = "Q8_0"

[kv]
k = ["f16", "q8_0"]

[prune]
keep_ffn = [1.0, 0.75]
"#;

#[test]
fn a_study_probes_what_each_choice_costs_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    Shapes::tiny(ArchKind::Llama).write(&at("tiny.gguf"), GgmlType::F16, 3, None).unwrap();
    std::fs::write(at("space.toml"), LLAMA_SPACE).unwrap();
    let model = ["tune", "--model", "tiny.gguf", "--budget", "2GB", "--space", "space.toml"];
    let limits = ["--workload", "64:8:2", "--task-limit", "2", "--timing-cap", "1s", "--trials", "10"];
    let said = autotune(folder.path(), &[&model[..], &limits[..]].concat());
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
    let store = Store::open_existing(&at("results/autotune.db")).unwrap();
    let id = store.study(None).unwrap().id;
    let kept = Sensitivities::known(&store, id).unwrap().unwrap();
    let names: Vec<&str> = kept.by.keys().map(String::as_str).collect();
    assert_eq!(names, ["kv.k", "prune.keep_ffn", "weights.attn", "weights.embd", "weights.ffn"]);
    let of = |name: &str| kept.by[name].iter().map(|c| c.kl).collect::<Vec<_>>();
    assert!(of("weights.attn").contains(&0.0) && of("kv.k").contains(&0.0), "{kept:?}");
    let (four, eight) = (of("weights.ffn")[0], of("weights.ffn")[1]);
    assert!(four > eight && eight > 0.0, "{kept:?}");
    let page = std::fs::read_to_string(at("reports/tiny.html")).unwrap();
    assert!(page.contains("Sensitivity of single choices"));
    // Another study of the model takes them from the cache, a resumed one from its own note.
    let file = std::fs::read_dir(at("results/cache")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::read_dir(file).unwrap().map(|e| e.unwrap().path());
    let file = file.into_iter().find(|p| p.to_string_lossy().contains("sensitivity")).unwrap();
    let probed: std::collections::BTreeMap<String, f64> =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(probed.len(), 6, "{probed:?}");
}
