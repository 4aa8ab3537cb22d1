//! Fuzzes every parser of data that we did not write: `cargo run --release --example fuzz -- TARGET EXECUTIONS [SEED]`.
//!
//! Mutates valid inputs (bit flips, interesting integers, cuts, copies, splices, dictionary words) and hands them to the parser. A panic, an
//! arithmetic overflow (the release profile checks them) or an allocation beyond the limit ends the process with the input's seed: the run is
//! reproducible. Memory is bounded by `RLIMIT_AS`, so that an unbounded allocation aborts in place of filling the machine. There is no coverage
//! feedback: cargo-fuzz needs a nightly compiler, and these grammars are shallow enough for seeds that cover them.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::exit)]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use autotune::model::gguf::{MetaArray, MetaValue, TensorDecl, header_bytes, parse_header};
use autotune::model::synthetic::Shapes;
use autotune::model::{ArchKind, GgmlType};
use autotune::quality::tasks;
use autotune::space::{Candidate, Config, ModelFacts, SpaceFacts, parse_space};
use autotune::worker::protocol::{Job, Message};
use nix::sys::resource::{Resource, setrlimit};

/// Address space of a run, in bytes: far over what any input of a few kilobytes may cost.
const MEMORY: u64 = 2 << 30;
/// Inputs grow no longer than this, in bytes.
const LONGEST: usize = 64 << 10;

/// xorshift64*: portable and fast; a fuzzer needs no better.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }
}

struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Vec<&'static [u8]>,
    run: fn(&[u8]) -> bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.first().map_or("all", String::as_str);
    let executions: u64 = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let seed: u64 = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).unwrap();
    let targets = [gguf(), safetensors(), space(), task_lines(), protocol(), candidate()];
    let mut found = false;
    for target in targets.iter().filter(|t| wanted == "all" || wanted == t.name) {
        found = true;
        fuzz(target, executions, seed);
    }
    if !found {
        eprintln!("`{wanted}` is no target; use all, {}", targets.map(|t| t.name).join(", "));
        std::process::exit(2);
    }
}

thread_local! {
    static CASE: Cell<u64> = const { Cell::new(0) };
}

fn fuzz(target: &Target, executions: u64, seed: u64) {
    let name = target.name;
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("PANIC in {name}, case {} of seed {seed}: {info}", CASE.get());
        std::process::exit(1);
    }));
    let (begun, mut accepted, mut slowest) = (Instant::now(), 0u64, 0.0f64);
    let mut input = Vec::new();
    for case in 0..executions {
        CASE.set(case);
        // Each case has a generator of its own, so that it can be made again alone.
        let mut random =
            Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (case + 1).wrapping_mul(0xD134_2543_DE82_EF95));
        mutate(&mut random, target, &mut input);
        let one = (case % 64 == 0).then(Instant::now);
        accepted += u64::from((target.run)(black_box(&input)));
        slowest = slowest.max(one.map_or(0.0, |t| t.elapsed().as_secs_f64()));
    }
    let _ = std::panic::take_hook();
    println!(
        "{name}: {executions} executions, seed {seed}, {accepted} accepted ({:.1} %), {:.0} s, slowest sampled {:.1} ms, peak resident {} kB",
        100.0 * accepted as f64 / executions as f64,
        begun.elapsed().as_secs_f64(),
        slowest * 1e3,
        peak_kb()
    );
}

fn peak_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("?");
    line.trim().trim_end_matches(" kB").to_owned()
}

/// One to eight mutations of a seed; one input in 64 is noise from the start.
fn mutate(random: &mut Random, target: &Target, input: &mut Vec<u8>) {
    input.clear();
    if random.below(64) == 0 {
        for _ in 0..random.below(200) {
            input.push(random.next() as u8);
        }
    } else {
        input.extend(&target.seeds[random.below(target.seeds.len())]);
    }
    for _ in 0..=random.below(8) {
        let at = random.below(input.len());
        match random.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 => {
                let end = (at + random.below(40)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                let end = (at + random.below(400)).min(input.len());
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 => {
                let word = target.words[random.below(target.words.len())];
                let end = if random.below(2) == 0 { (at + word.len()).min(input.len()) } else { at };
                input.splice(at..end, word.iter().copied());
            }
            6 => {
                // Integers at the edges, little endian, of 4 or 8 bytes.
                let edge =
                    [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, u64::MAX / 2, 1 << 40, 1 << 32]
                        [random.below(10)];
                let width = if random.below(2) == 0 { 4 } else { 8 };
                for (i, byte) in edge.to_le_bytes().into_iter().take(width).enumerate() {
                    if let Some(place) = input.get_mut(at + i) {
                        *place = byte;
                    }
                }
            }
            7 => {
                let other = &target.seeds[random.below(target.seeds.len())];
                let from = random.below(other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => {
                let byte = input.get(at).copied().unwrap_or(b'[');
                input.splice(at..at, std::iter::repeat_n(byte, random.below(300)));
            }
        }
        input.truncate(LONGEST);
    }
}

fn gguf() -> Target {
    let seed = |alignment: Option<u32>, ty: GgmlType| {
        let shapes = Shapes::tiny(ArchKind::Llama);
        let mut m = shapes.metadata(None);
        // A vocabulary of hundreds would be all that is ever mutated.
        let keys: Vec<String> =
            m.iter().map(|(k, _)| k.to_owned()).filter(|k| k.starts_with("tokenizer.ggml")).collect();
        keys.iter().for_each(|k| m.remove(k));
        m.set("tokenizer.ggml.tokens", MetaValue::Array(MetaArray::from_strings(&["a", "b"])));
        m.set("f", MetaValue::Array(MetaArray::from_f32(&[1.0, f32::NAN])));
        if let Some(alignment) = alignment {
            m.set("general.alignment", MetaValue::U32(alignment));
        }
        let mut decls: Vec<TensorDecl> = shapes.tensors(ty);
        decls.truncate(4);
        header_bytes(&m, &decls, u64::from(alignment.unwrap_or(32)))
    };
    Target {
        name: "gguf",
        seeds: vec![
            seed(None, GgmlType::F16),
            seed(Some(64), GgmlType::Q4_K),
            seed(Some(32), GgmlType::Q8_0),
        ],
        words: vec![
            b"GGUF",
            b"\x03\0\0\0",
            b"general.alignment",
            b"\x09\0\0\0",
            b"\x08\0\0\0",
            b"split.count",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        ],
        // The file claims to be longer than the header, as real ones are.
        run: |input| parse_header(input, input.len() as u64 + (1 << 20)).is_ok(),
    }
}

thread_local! {
    /// Where the checkpoint lies that is opened over and over: in memory, where that is to be had.
    static FOLDER: tempfile::TempDir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
}

fn safetensors() -> Target {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 7);
        bytes
    };
    let embed = r#"{"model.embed_tokens.weight":{"dtype":"F16","shape":[4,8],"data_offsets":[0,64]}}"#;
    let two = r#"{"__metadata__":{"format":"pt"},"model.norm.weight":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},"lm_head.weight":{"dtype":"BF16","shape":[2,8],"data_offsets":[32,64]}}"#;
    let odd = r#"{"x":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"model.norm.weight":{"dtype":"F8_E4M3","shape":[0,3],"data_offsets":[8,8]}}"#;
    Target {
        name: "safetensors",
        seeds: vec![file(embed, 64), file(two, 64), file(odd, 8)],
        words: vec![
            b"\"dtype\":",
            b"\"data_offsets\":[0,18446744073709551615]",
            b"\"shape\":[4294967296,4294967296]",
            b"model.layers.0.self_attn.q_proj.weight",
            b"-1",
            b"1e99",
            b"{}",
            b"null",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        ],
        // The file is mapped as a checkpoint is; every tensor is looked at.
        run: |input| {
            FOLDER.with(|folder| {
                std::fs::write(folder.path().join("model.safetensors"), input).unwrap();
                autotune::model::hf::Shards::open(folder.path()).is_ok_and(|all| {
                    all.iter().map(|(_, t)| black_box(all.bytes(t)).len()).sum::<usize>() > 0
                })
            })
        },
    }
}

fn space() -> Target {
    Target {
        name: "space",
        seeds: ["laptop", "mobile", "edge", "desktop", "server", "smoke"]
            .iter()
            .map(|name| {
                std::fs::read(format!("{}/search-spaces/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap()
            })
            .collect(),
        words: vec![
            b"[weights]",
            b"from = \"host\"",
            b"at_least = ",
            b"1e308",
            b"-1",
            b"nan",
            b"\"\"\"",
            b"levels = 99999999",
            b"[[",
            b"\"IQ2_S\"",
            b"up_to = 0",
            b"split = \"depth\"",
        ],
        run: |input| {
            let Ok(text) = std::str::from_utf8(input) else { return false };
            let facts = SpaceFacts {
                usable_threads: 4,
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
            parse_space(text, "x.toml", &facts)
                .is_ok_and(|loaded| loaded.space.params.iter().all(|p| !p.levels.is_empty()))
        },
    }
}

fn task_lines() -> Target {
    let data =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mock_tasks.jsonl")).unwrap();
    let mut seeds: Vec<Vec<u8>> = data.lines().take(3).map(|l| l.as_bytes().to_vec()).collect();
    seeds.push(br#"{"task_id": 2, "text": "Write a function to add.", "code": "def add(a, b):\r\n    return a + b", "test_list": ["assert add(1, 2) == 3"], "test_setup_code": "", "challenge_test_list": []}"#.to_vec());
    seeds.push(br#"{"task_id": "JavaScript/0", "prompt": "const f = (x) => {\n", "declaration": "const f = (x) => {\n", "canonical_solution": "  return x;\n}\n", "test": "const t = () => { console.assert(f(1) === 1) }\nt()\n", "example_test": ""}"#.to_vec());
    seeds.push(br#"{"name": "HumanEval_0_f", "language": "js", "prompt": "function f(x){\n", "tests": "const assert = require('node:assert');", "stop_tokens": ["\nfunction "]}"#.to_vec());
    Target {
        name: "tasks",
        seeds,
        words: vec![
            b"\"task_id\"",
            b"null",
            b"\\u0000",
            b"\\ud800",
            b"[[[[[[[[",
            b"1e999",
            b"\"stop_tokens\":[]",
            b"{}",
            b"\"test_list\":[1]",
        ],
        run: |input| std::str::from_utf8(input).is_ok_and(|text| tasks::parse_line(text).is_ok()),
    }
}

fn protocol() -> Target {
    let seeds: [&[u8]; 8] = [
        br#"{"message":"progress","body":{"what":"tensors","done":3,"total":9}}"#,
        br#"{"message":"done","body":{"peak_rss_bytes":123,"anonymous_bytes":1,"file_bytes":2,"scripted_peak_bytes":null}}"#,
        br#"{"message":"failed","body":{"error":"no","machine":true}}"#,
        br#"{"message":"generated","body":{"id":"a","text":"x","tokens":3,"finish":"stop"}}"#,
        br#"{"message":"measured","body":{"ttft_ms":[1.0,2.5],"latency_ms":[3.0],"step_ms":[],"prompt_ms":[1e3],"pass_ms":[9.0],"slots":4}}"#,
        br#"{"message":"exercised","body":{"id":"a","prompt_tokens":3,"tokens":[1,2],"rows":2,"not_finite":0,"round_trip":true,"error":null}}"#,
        br#"{"job":"build","request":{"kind":"mock","model":"a","config":{"weights":{"Preset":"Q4_0"},"keep_kv_heads":1.0,"keep_ffn":1.0,"drop_layers":0,"kv_k":"f16","kv_v":"f16","batch":1,"context":1024,"threads":1,"ubatch":512,"repack":true},"out":"b"}}"#,
        br#"{"job":"exercise","engine":"mock","artifact":"a","run":{"threads":1,"sequences":1,"context":64,"batch_tokens":16,"ubatch":16,"max_outputs":0,"kv_k":"f16","kv_v":"f16","flash":"off","repack":false,"gpu_layers":0},"exercises":[]}"#,
    ];
    Target {
        name: "protocol",
        seeds: seeds.iter().map(|s| s.to_vec()).collect(),
        words: vec![
            b"\"message\"",
            b"\"body\"",
            b"null",
            b"-1",
            b"1e400",
            b"18446744073709551616",
            b"[[[[[[[[",
            b"\"job\"",
            b"\\u0000",
            b"{\"a\":",
        ],
        run: |input| {
            let message = serde_json::from_slice::<Message>(input).is_ok();
            serde_json::from_slice::<Job>(input).is_ok() || message
        },
    }
}

fn candidate() -> Target {
    Target {
        name: "candidate",
        seeds: vec![
            br#"{"batch":4,"kv.k":"q8_0","kv.v":"q8_0","prune.keep_ffn":0.95,"prune.drop_layers":1,"repack":true,"threads":2,"weights.attn":"Q5_K"}"#.to_vec(),
            br#"{"weights.preset":"Q4_K_M","context":1024,"ubatch":512}"#.to_vec(),
            br#"{"weights.ffn.early":"Q8_0","weights.ffn.middle":"Q4_K","weights.ffn.late":"IQ4_NL"}"#.to_vec(),
        ],
        words: vec![b"null", b"-1", b"0", b"1e400", b"4294967296", b"\"weights.attn\"", b"\"kv.k\":", b"1.0000001", b"true"],
        run: |input| {
            serde_json::from_slice::<Candidate>(input).is_ok_and(|c| Config::from_candidate(&c).is_ok())
        },
    }
}
