//! Space files and presets as the rest of the house sees them.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use autotune::space::{
    Config, LoadedSpace, ModelFacts, ParamKind, SpaceFacts, Value, load_preset, load_space, parse_space,
    preset_names,
};
use proptest::prelude::*;

/// SmolLM2-135M on two cores, with the default workload of 512 + 128 tokens and four requests.
const FACTS: SpaceFacts = SpaceFacts {
    usable_threads: 2,
    model: Some(ModelFacts {
        layers: 30,
        heads: 9,
        kv_heads: 3,
        ffn: 1536,
        context_max: 8192,
        head_dim: 64,
        duplicated_embedding: false,
    }),
    workload_context_tokens: 640,
    workload_requests: 4,
    device_layers: 0,
    block_caches: true,
};

fn show(loaded: &LoadedSpace) -> String {
    let mut text = String::new();
    for param in &loaded.space.params {
        let levels: Vec<String> = param.levels.iter().map(Value::to_string).collect();
        let kind = if param.kind == ParamKind::Ordinal { "ordinal" } else { "categorical" };
        text += &format!("{} ({kind}): {}\n", param.name, levels.join(" "));
    }
    for note in &loaded.notes {
        text += &format!("note {note}\n");
    }
    text
}

/// Everything that a loaded space promises.
fn check(loaded: &LoadedSpace) {
    let space = &loaded.space;
    assert!(!space.params.is_empty());
    for (i, param) in space.params.iter().enumerate() {
        assert!(!param.levels.is_empty(), "{}", param.name);
        assert!(space.params[..i].iter().all(|p| p.name != param.name), "{} twice", param.name);
        for (j, level) in param.levels.iter().enumerate() {
            assert!(!param.levels[..j].contains(level), "{}: {level} twice", param.name);
            // One parameter at a time: its level beside the first of all the others.
            let mut point = vec![0; space.params.len()];
            point[i] = j;
            let candidate = space.candidate(&point).expect("the point lies in the space");
            assert!(Config::from_candidate(&candidate).is_ok(), "{}", candidate.canonical_json());
            assert_eq!(space.point(&candidate), Some(point));
        }
    }
}

fn error(text: &str) -> String {
    parse_space(text, "x.toml", &FACTS).expect_err("the text is wrong").to_string()
}

#[test]
fn laptop_fits_two_cores_and_a_small_model() {
    let loaded = load_preset("laptop", &FACTS).unwrap();
    check(&loaded);
    insta::assert_snapshot!(show(&loaded), @r"
    weights.attn (ordinal): Q4_0 IQ4_NL Q4_K Q5_K Q6_K Q8_0
    weights.ffn (ordinal): Q3_K Q4_0 IQ4_NL Q4_K Q5_K Q6_K Q8_0
    weights.embd (ordinal): Q4_0 Q4_K Q6_K Q8_0
    kv.k (ordinal): q8_0 f16
    kv.v (ordinal): q4_0 q8_0 f16
    prune.keep_kv_heads (ordinal): 0.95 1
    prune.keep_ffn (ordinal): 0.9 0.95 1
    prune.drop_layers (ordinal): 2 1 0
    batch (ordinal): 1 2 4
    context (ordinal): 768
    threads (ordinal): 1 2
    ubatch (ordinal): 128 512
    repack (categorical): false true
    ");
}

#[test]
fn server_on_a_laptop_says_what_it_leaves_out() {
    let loaded = load_preset("server", &FACTS).unwrap();
    check(&loaded);
    insta::assert_snapshot!(show(&loaded), @r"
    weights.attn (ordinal): Q6_K Q8_0 BF16 F16
    weights.ffn (ordinal): Q5_K Q6_K Q8_0 BF16 F16
    weights.embd (ordinal): Q8_0 F16
    kv.k (ordinal): q8_0 bf16 f16
    kv.v (ordinal): q8_0 bf16 f16
    prune.keep_kv_heads (ordinal): 0.95 1
    prune.keep_ffn (ordinal): 0.95 1
    prune.drop_layers (ordinal): 1 0
    batch (ordinal): 1 2 4
    context (ordinal): 8192
    threads (ordinal): 1 2
    ubatch (ordinal): 128 512 1024
    repack (categorical): false true
    note `batch`: 8 left out: the workload sends 4 requests at once
    note `context`: 32768 left out: the model was made for contexts up to 8192 tokens
    note `threads`: 16 left out: this process may use 2 threads
    note `threads`: 8 left out: this process may use 2 threads
    note `threads`: 4 left out: this process may use 2 threads
    ");
}

#[test]
fn every_preset_loads_for_every_ordinary_machine_and_model() {
    let models = [
        None,
        Some(ModelFacts {
            layers: 2,
            heads: 4,
            kv_heads: 2,
            ffn: 128,
            context_max: 1024,
            head_dim: 16,
            duplicated_embedding: false,
        }),
        FACTS.model,
        Some(ModelFacts {
            layers: 36,
            heads: 16,
            kv_heads: 2,
            ffn: 11_008,
            context_max: 32_768,
            head_dim: 128,
            duplicated_embedding: true,
        }),
        Some(ModelFacts {
            layers: 28,
            heads: 28,
            kv_heads: 4,
            ffn: 18_944,
            context_max: 0,
            head_dim: 128,
            duplicated_embedding: false,
        }),
    ];
    for name in preset_names() {
        for model in models {
            for usable_threads in [1, 2, 6, 7, 16, 256] {
                for workload_requests in [1, 3, 64] {
                    let facts = SpaceFacts { usable_threads, model, workload_requests, ..FACTS };
                    let loaded = load_preset(name, &facts).unwrap_or_else(|e| panic!("{name}: {e}"));
                    check(&loaded);
                    assert_eq!(loaded.space.name, name);
                    assert!(!loaded.space.description.is_empty());
                }
            }
        }
    }
    assert_eq!(load_preset("smoke", &FACTS).unwrap().space.size(), 8);
}

#[test]
fn levels_are_derived_from_host_model_and_workload() {
    let text = r#"
        batch = { from = "workload" }
        context = { from = "workload", at_least = 2000 }
        threads = { from = "host" }
        prune.keep_kv_heads = { from = "model", at_least = 0.9, levels = 4 }
        prune.keep_ffn = { from = "model" }
        prune.drop_layers = { from = "model", up_to = 2 }
    "#;
    let facts = SpaceFacts { usable_threads: 12, workload_requests: 6, ..FACTS };
    let loaded = parse_space(text, "derived.toml", &facts).unwrap();
    check(&loaded);
    insta::assert_snapshot!(show(&loaded), @r"
    prune.keep_kv_heads (ordinal): 0.9 0.9333333333333333 0.9666666666666667 1
    prune.keep_ffn (ordinal): 0.9 0.95 1
    prune.drop_layers (ordinal): 2 1 0
    batch (ordinal): 1 2 4 6
    context (ordinal): 2048
    threads (ordinal): 1 2 4 8 12
    ");
    // 90 KV groups: every derived fraction is a whole number of them.
    for level in &loaded.space.params[0].levels {
        let kept = level.as_f64().unwrap() * 90.0;
        assert!((kept - kept.round()).abs() < 1e-9, "{level}");
    }
}

#[test]
fn the_depth_splits_into_thirds() {
    let split = parse_space(
        "weights = { split = 'depth', attn = 'Q8_0', ffn = ['Q4_K', 'F16'], embd = 'F16' }",
        "s",
        &FACTS,
    );
    insta::assert_snapshot!(show(&split.unwrap()), @r"
    weights.attn.early (ordinal): Q8_0
    weights.attn.middle (ordinal): Q8_0
    weights.attn.late (ordinal): Q8_0
    weights.ffn.early (ordinal): Q4_K F16
    weights.ffn.middle (ordinal): Q4_K F16
    weights.ffn.late (ordinal): Q4_K F16
    weights.embd (ordinal): F16
    ");
    let by_hand = "[weights]\nsplit = 'depth'\nattn = 'Q8_0'\nffn = { early = 'F16', middle = ['Q4_K', 'Q6_K'], late = 'Q8_0' }";
    insta::assert_snapshot!(show(&parse_space(by_hand, "s", &FACTS).unwrap()), @r"
    weights.attn.early (ordinal): Q8_0
    weights.attn.middle (ordinal): Q8_0
    weights.attn.late (ordinal): Q8_0
    weights.ffn.early (ordinal): F16
    weights.ffn.middle (ordinal): Q4_K Q6_K
    weights.ffn.late (ordinal): Q8_0
    ");
    let flat = SpaceFacts { model: Some(ModelFacts { layers: 2, ..FACTS.model.unwrap() }), ..FACTS };
    insta::assert_snapshot!(show(&parse_space("weights = { split = 'depth', attn = 'Q8_0' }", "s", &flat).unwrap()), @r"
    weights.attn (ordinal): Q8_0
    note `weights.attn`: the split over the depth left out: the model has 2 layers
    ");
}

#[test]
fn fractions_that_keep_the_same_units_are_one_level() {
    let loaded = parse_space("prune.keep_kv_heads = [1, 0.999, 0.5, 0.001]", "s", &FACTS).unwrap();
    insta::assert_snapshot!(show(&loaded), @r"
    prune.keep_kv_heads (ordinal): 0.5 1
    note `prune.keep_kv_heads`: 0.999 left out: it keeps 90 of 90 units, as another level does
    note `prune.keep_kv_heads`: 0.001 left out: nothing would be kept
    ");
    assert_eq!(loaded.space.params[0].levels.last(), Some(&Value::Real(1.0)), "1 is read as 1.0");
}

#[test]
fn errors_name_the_place_the_value_and_the_remedy() {
    let all = [
        "",
        "batch = ",
        "description = 7",
        "threds = [1]",
        "keep_ffn = [0.9]",
        "[weights]\n# a remark\nffn = ['Q4_K', 'q5_k']",
        "[weights]\nfnn = ['Q4_K']",
        "kv = 'f16'",
        "[kv]\nk = ['F16']",
        "[prune]\nkeep_ffn = [1.0, 1.5]",
        "batch = [1, 2,\n  2]",
        "batch = []",
        "batch = 2.5",
        "threads = { from = 'model' }",
        "threads = { upto = 4, from = 'host' }",
        "threads = { up_to = 4 }",
        "ubatch = { from = 'host' }",
        "weights.split = 'breadth'",
        "weights.ffn = { early = 'F16' }",
        "weights.ffn = { early = 'F16', midle = 'F16' }",
        "\n\nthreads = [4, 8]",
        "context = [512, 16384]",
        "repack = 'yes'",
    ]
    .map(error)
    .join("\n");
    insta::assert_snapshot!(all, @r#"
    x.toml declares no parameter; known: weights.attn, weights.ffn, weights.embd, weights.tie, kv.k, kv.v, prune.keep_kv_heads, prune.keep_ffn, prune.drop_layers, batch, context, threads, ubatch, repack, gpu_layers
    x.toml:1:9: not valid TOML: string values must be quoted, expected literal string
    x.toml:1: `description` has the value `7`, but takes a text in quotes
    x.toml:1: unknown key `threds` (did you mean `threads`?); known: weights.attn, weights.ffn, weights.embd, weights.tie, kv.k, kv.v, prune.keep_kv_heads, prune.keep_ffn, prune.drop_layers, batch, context, threads, ubatch, repack, gpu_layers, name, description, weights.split
    x.toml:1: unknown key `keep_ffn` (did you mean `prune.keep_ffn`?); known: weights.attn, weights.ffn, weights.embd, weights.tie, kv.k, kv.v, prune.keep_kv_heads, prune.keep_ffn, prune.drop_layers, batch, context, threads, ubatch, repack, gpu_layers, name, description, weights.split
    x.toml:3: `weights.ffn` has the value `'q5_k'` (did you mean `Q5_K`?), but takes IQ2_S, Q2_K, IQ3_XXS, Q3_K, IQ3_S, Q4_0, NF4, IQ4_NL, Q4_K, INT4, Q4_1, Q5_0, Q5_K, Q5_1, Q6_K, INT8_DYN, INT8, Q8_0, SPARSE24, BF16, F16, F32
    x.toml:2: unknown key `weights.fnn` (did you mean `weights.ffn`?); known: weights.attn, weights.ffn, weights.embd, weights.tie, kv.k, kv.v, prune.keep_kv_heads, prune.keep_ffn, prune.drop_layers, batch, context, threads, ubatch, repack, gpu_layers, name, description, weights.split
    x.toml:1: `kv` has the value `'f16'`, but takes a table of parameters
    x.toml:2: `kv.k` has the value `'F16'` (did you mean `f16`?), but takes q4_0, q8_0, bf16, f16, f32
    x.toml:2: `prune.keep_ffn` has the value `1.5`, but takes a number over 0 and up to 1
    x.toml:2: `batch` has the value `2`, but takes each level once
    x.toml:1: `batch` has the value `[]`, but takes from 1 to 64 levels
    x.toml:1: `batch` has the value `2.5`, but takes an integer from 1 to 16777216
    x.toml:1: `threads.from` has the value `'model'`, but takes "host"
    x.toml:1: unknown key `upto` (did you mean `up_to`?); known: from, up_to
    x.toml:1: `threads` has the value `{ up_to = 4 }`, but takes a list of levels, or { from = "host" }
    x.toml:1: `ubatch` has the value `{ from = 'host' }`, but takes a list of levels: an integer from 1 to 16777216
    x.toml:1: `weights.split` has the value `'breadth'`, but takes "depth" or "none"
    x.toml:1: `weights.ffn` has the value `{ early = 'F16' }`, but takes levels for each of early, middle and late
    x.toml:1: unknown key `weights.ffn.midle` (did you mean `middle`?); known: early, middle, late
    x.toml:3: `threads` has no level left: 8: this process may use 2 threads; 4: this process may use 2 threads
    x.toml:1: `context` has no level left: 16384: the model was made for contexts up to 8192 tokens; 512: one request takes 640 tokens
    x.toml:1: `repack` has the value `'yes'`, but takes true or false
    "#);
}

#[test]
fn a_model_is_needed_only_where_levels_come_from_it() {
    let facts = SpaceFacts { model: None, ..FACTS };
    assert!(parse_space("prune.keep_ffn = [0.9, 1.0]", "s", &facts).is_ok());
    let refused = parse_space("prune.keep_ffn = { from = 'model' }", "s", &facts).unwrap_err();
    insta::assert_snapshot!(refused, @"s:1: `prune.keep_ffn` takes its levels from the model, but none is known here; list the levels instead");
}

#[test]
fn specs_are_presets_then_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "description = 'mine'\nbatch = [1, 2]").unwrap();
    let loaded = load_space(path.to_str().unwrap(), &FACTS).unwrap();
    assert_eq!((loaded.space.name.as_str(), loaded.space.size()), ("mine", 2));
    assert_eq!(load_space("laptop", &FACTS).unwrap().space.name, "laptop");

    let text = |spec: &str| load_space(spec, &FACTS).unwrap_err().to_string();
    insta::assert_snapshot!(text("labtop"), @"`labtop` is neither a preset nor a file (did you mean `laptop`?); presets: laptop, mobile, edge, desktop, server, torch, torch-gpu, smoke");
    insta::assert_snapshot!(text("no/such.toml"), @"cannot read the space file no/such.toml");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(load_space(path.to_str().unwrap(), &FACTS).is_err(), "no text");
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    assert!(load_space(path.to_str().unwrap(), &FACTS).is_err(), "too large");
    assert!(load_space(folder.path().to_str().unwrap(), &FACTS).is_err(), "a folder");
}

/// Where there is a GPU, layers on it are a parameter of the spaces that ask for it.
#[test]
fn layers_go_to_a_gpu_where_there_is_one() {
    let levels = |text: &str, device_layers| {
        let loaded = parse_space(text, "x", &SpaceFacts { device_layers, ..FACTS }).unwrap();
        show(&loaded)
    };
    let derived = "threads = 1\ngpu_layers = { from = \"host\" }";
    assert_eq!(levels(derived, 0), "threads (ordinal): 1\n");
    assert_eq!(levels(derived, 31), "threads (ordinal): 1\ngpu_layers (ordinal): 0 15 31\n");
    let listed = "threads = 1\ngpu_layers = [0, 10, 99]";
    insta::assert_snapshot!(levels(listed, 31), @r"
    threads (ordinal): 1
    gpu_layers (ordinal): 0 10
    note `gpu_layers`: 99 left out: the model has 31 layers to put on a GPU
    ");
    insta::assert_snapshot!(levels(listed, 0), @r"
    threads (ordinal): 1
    note `gpu_layers`: 99 left out: this engine finds no GPU here
    note `gpu_layers`: 10 left out: this engine finds no GPU here
    ");
}

fn any_facts() -> impl Strategy<Value = SpaceFacts> {
    let edge = || prop_oneof![0u32..40, Just(u32::MAX), any::<u32>()];
    let model =
        (edge(), edge(), edge(), edge(), edge()).prop_map(|(layers, heads, kv_heads, ffn, context_max)| {
            ModelFacts {
                layers,
                heads,
                kv_heads,
                ffn,
                context_max,
                head_dim: heads,
                duplicated_embedding: false,
            }
        });
    (edge(), proptest::option::of(model), edge(), edge()).prop_map(|(threads, model, tokens, requests)| {
        SpaceFacts {
            usable_threads: threads,
            model,
            workload_context_tokens: tokens,
            workload_requests: requests,
            device_layers: threads / 2,
            block_caches: threads % 2 == 0,
        }
    })
}

/// Lines that are nearly right: known and unknown keys with all kinds of values.
fn any_line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "weights.attn",
        "weights.ffn",
        "weights.embd",
        "weights.split",
        "weights.ffn.late",
        "kv.k",
        "kv.v",
        "kv",
        "prune.keep_kv_heads",
        "prune.keep_ffn",
        "prune.drop_layers",
        "batch",
        "context",
        "threads",
        "ubatch",
        "repack",
        "name",
        "description",
        "zebra",
    ]);
    let word = prop::sample::select(vec![
        "'Q8_0'",
        "'Q4_K'",
        "'F16'",
        "'f16'",
        "'q4_0'",
        "0.5",
        "0.999",
        "1.0",
        "1",
        "2",
        "4",
        "0",
        "-1",
        "nan",
        "inf",
        "1e400",
        "99999999999999999999",
        "0x10",
        "1_000",
        "true",
        "false",
        "'depth'",
        "1979-05-27",
        "[]",
        "''",
    ]);
    let from = prop::sample::select(vec!["host", "model", "workload", "moon"]);
    let option =
        prop::sample::select(vec!["", ", up_to = 5", ", at_least = 0.5", ", at_least = 9", ", levels = 7"]);
    let value = prop_oneof![
        word.clone().prop_map(str::to_owned),
        prop::collection::vec(word, 1..5).prop_map(|words| format!("[{}]", words.join(", "))),
        (from, option).prop_map(|(from, option)| format!("{{ from = '{from}'{option} }}")),
        Just("{ early = 'F16', middle = 'Q8_0', late = ['Q4_K', 'Q8_0'] }".to_owned()),
    ];
    (key, value).prop_map(|(key, value)| format!("{key} = {value}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}", facts in any_facts()) {
        if let Ok(loaded) = parse_space(&text, "x.toml", &facts) {
            check(&loaded);
        }
    }

    #[test]
    fn what_loads_keeps_its_promises(lines in prop::collection::vec(any_line(), 1..4), facts in any_facts()) {
        match parse_space(&lines.join("\n"), "x.toml", &facts) {
            Ok(loaded) => check(&loaded),
            Err(error) => prop_assert!(error.to_string().starts_with("x.toml"), "{error}"),
        }
    }

    #[test]
    fn deep_nesting_is_refused(depth in 1usize..5_000, close in any::<bool>()) {
        let text = format!("batch = {}{}", "[".repeat(depth), if close { "]".repeat(depth) } else { String::new() });
        prop_assert!(parse_space(&text, "x.toml", &FACTS).is_err());
    }
}

#[test]
fn tying_is_searched_only_where_the_embedding_is_stored_twice() {
    let text = "threads = [1]\n[weights]\ntie = [true, false]\nembd = [\"Q8_0\"]\n";
    for duplicated_embedding in [false, true] {
        let model = ModelFacts { duplicated_embedding, ..FACTS.model.unwrap() };
        let loaded = parse_space(text, "t.toml", &SpaceFacts { model: Some(model), ..FACTS }).unwrap();
        let tie = loaded.space.params.iter().find(|p| p.name == "weights.tie");
        assert_eq!(
            tie.map(|p| p.levels.clone()),
            duplicated_embedding.then(|| vec![Value::Bool(false), Value::Bool(true)])
        );
    }
    assert!(Config::from_candidate(&autotune::space::Candidate::default()).is_ok_and(|c| !c.tie));
}
