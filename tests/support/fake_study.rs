//! A seeded study built through the store's own doors: presets, found candidates, and every kind of ending.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use autotune::space::{Candidate, Value};
use autotune::store::{
    Added, Artifact, EndState, Failure, FinishedRung, NewGeneration, NewMeasurement, NewStudy, NewTrial,
    Origin, Rung, Store, StudyId, StudyState, WorkerIdentity,
};
use jiff::Timestamp;

/// A small generator of our own, so that the study never changes with a dependency (Steele's SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[(self.unit() * from.len() as f64) as usize % from.len()]
    }
}

/// Name, peak in MB, latency in ms, KL, Pass@1.
const PRESETS: &[(&str, f64, f64, f64, f64)] = &[
    ("F16", 345.0, 2480.0, 0.0004, 0.31),
    ("Q8_0", 224.0, 1510.0, 0.0045, 0.31),
    ("Q6_K", 220.0, 1620.0, 0.010, 0.30),
    ("Q5_K_M", 194.0, 1890.0, 0.072, 0.26),
    ("Q4_K_M", 196.0, 1600.0, 0.056, 0.27),
    ("Q4_0", 230.0, 1130.0, 0.264, 0.19),
    ("Q3_K_M", 226.0, 1240.0, 0.129, 0.22),
    ("Q2_K", 214.0, 1250.0, 0.427, 0.11),
];

pub const BUDGET: u64 = 300_000_000;

pub fn new_study(name: &str, budget_bytes: u64) -> NewStudy {
    NewStudy {
        name: name.into(),
        command: "autotune --budget 300MB --model SmolLM2-135M-Instruct.Q4_1.gguf --seed 7".into(),
        settings_json: r#"{"trials":40,"workload":{"prompt":512,"output":128,"requests":4}}"#.into(),
        space_json: r#"{"name":"laptop","params":[{"name":"kv.k","levels":["f16","q8_0"]}]}"#.into(),
        seed: 7,
        budget_bytes,
        model_path: "/models/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
        model_hash: "5a3bd1e2c4f60789".into(),
        engine: "llama.cpp".into(),
        objectives_json: r#"[{"metric":"request_latency_p50_ms","direction":"min","log":true},
            {"metric":"peak_memory_bytes","direction":"min"},{"metric":"pass_at_1","direction":"max"}]"#
            .into(),
        host_fingerprint: "zen3-2c-8g".into(),
        host_json: r#"{"cpu":{"model":"AMD EPYC (Zen 3)","physical_cores":2,"isa":["avx2","fma"]},"ram_bytes":8000000000}"#
            .into(),
        versions_json: r#"{"autotune":"0.1.0","llama.cpp":"0.6.0-dev"}"#.into(),
    }
}

/// Opens a store whose clock ticks a second at each look.
pub fn store(path: &Path) -> Store {
    let seconds = AtomicI64::new(1_790_000_000);
    Store::open(path)
        .unwrap()
        .with_clock(move || Timestamp::from_second(seconds.fetch_add(1, Ordering::Relaxed)).unwrap())
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

struct Truth {
    peak: f64,
    latency: f64,
    kl: f64,
    pass: f64,
}

fn preset(name: &str) -> Candidate {
    Candidate::default()
        .with("weights.preset", text(name))
        .with("kv.k", text("f16"))
        .with("kv.v", text("f16"))
        .with("batch", Value::Int(1))
        .with("threads", Value::Int(2))
}

fn found(random: &mut Random) -> (Candidate, Truth) {
    let types = [
        ("Q8_0", 1.0, 1.0, 0.004),
        ("Q6_K", 0.95, 1.05, 0.01),
        ("Q5_K", 0.8, 1.2, 0.05),
        ("Q4_K", 0.75, 1.05, 0.06),
        ("Q4_0", 0.8, 0.75, 0.25),
        ("IQ4_NL", 0.8, 0.85, 0.18),
    ];
    let (attn, ffn, embd) = (random.pick(&types), random.pick(&types), random.pick(&types));
    let kv = random.pick(&[("f16", 1.0, 0.0), ("q8_0", 0.97, 0.0005), ("q4_0", 0.95, 0.06)]);
    let threads = *random.pick(&[1i64, 2]);
    let batch = *random.pick(&[1i64, 2, 4]);
    let keep_ffn = *random.pick(&[1.0, 1.0, 1.0, 0.92, 0.85]);
    let keep_heads = *random.pick(&[1.0, 1.0, 0.89]);
    let repack = random.unit() < 0.5;
    let jitter = || 1.0;
    let mut noise = |share: f64| jitter() + (random.unit() - 0.5) * share;
    let kl = attn.3 * 0.3 + ffn.3 * 0.5 + embd.3 * 0.2 + kv.2 + (1.0 - keep_ffn) * 1.5 + (1.0 - keep_heads);
    let truth = Truth {
        peak: 210e6 * (0.25 * attn.1 + 0.55 * ffn.1 * keep_ffn + 0.2 * embd.1) * kv.1 * noise(0.01)
            + batch as f64 * 4e6
            + if repack { 30e6 } else { 0.0 },
        latency: 1450.0
            * (0.25 * attn.2 + 0.6 * ffn.2 * keep_ffn + 0.15 * embd.2)
            * (if threads == 1 { 1.7 } else { 1.0 })
            * (if repack { 0.94 } else { 1.06 })
            / (1.0 + 0.05 * batch as f64)
            * noise(0.06),
        kl: kl * noise(0.2),
        pass: (0.31 * (-2.2 * kl).exp() * noise(0.1)).max(0.0),
    };
    let candidate = Candidate::default()
        .with("weights.attn", text(attn.0))
        .with("weights.ffn", text(ffn.0))
        .with("weights.embd", text(embd.0))
        .with("kv.k", text(kv.0))
        .with("kv.v", text(kv.0))
        .with("batch", Value::Int(batch))
        .with("threads", Value::Int(threads))
        .with("prune.keep_ffn", Value::Real(keep_ffn))
        .with("prune.keep_kv_heads", Value::Real(keep_heads))
        .with("repack", Value::Bool(repack));
    (candidate, truth)
}

fn rung(rung: Rung, seconds: u64) -> FinishedRung {
    FinishedRung::new(rung, Timestamp::from_second(1_790_000_000).unwrap(), Duration::from_secs(seconds))
}

fn climb(store: &Store, study: StudyId, new: NewTrial, truth: &Truth, tasks: usize, random: &mut Random) {
    let worker = WorkerIdentity::current();
    let Added::New(number) = store.add_trial(study, &new).unwrap() else { return };
    let mut live = store.claim(study, number, &worker).unwrap().unwrap();
    let fail = |kind: &str, text: &str| Failure { kind: kind.into(), text: text.into() };
    let is_preset = live.record().origin.preset_name().is_some();
    let ending = if is_preset { 99 } else { number % 17 };
    if ending == 5 {
        let why = fail("over_budget", "predicted peak of 330 MB is over the budget of 300 MB");
        store.end_trial(live, EndState::Infeasible, Some(&why)).unwrap();
        return;
    }
    let mut built = rung(Rung::Built, 2);
    built.artifact = Some(Artifact {
        path: format!("artifacts/{number}.gguf"),
        bytes: (truth.peak * 0.55) as u64,
        hash: format!("{number:016x}"),
        sha256: None,
    });
    store.finish_rung(&mut live, &built).unwrap();
    if ending == 11 {
        let why = fail("crash", "the worker died of signal 11 <b>while decoding</b> & left \"nothing\"");
        store.end_trial(live, EndState::Failed, Some(&why)).unwrap();
        return;
    }
    let mut measured = rung(Rung::Measured, 5);
    let interval = |name: &str, unit: &str, v: f64, share: f64, n| {
        NewMeasurement::interval(name, unit, v, v * (1.0 - share), v * (1.0 + share), n)
    };
    measured.measurements = vec![
        interval("request_latency_p50_ms", "ms", truth.latency, 0.02, 12),
        interval("ttft_p50_ms", "ms", truth.latency * 0.35, 0.02, 12),
        interval("decode_tokens_per_s", "tokens/s", 160_000.0 / truth.latency, 0.02, 12),
        NewMeasurement::exact("peak_memory_bytes", "bytes", truth.peak),
        NewMeasurement::exact("load_ms", "ms", 180.0),
    ];
    store.finish_rung(&mut live, &measured).unwrap();
    if truth.peak > BUDGET as f64 {
        let why = fail("over_budget", "measured peak is over the budget of 300 MB");
        store.end_trial(live, EndState::Infeasible, Some(&why)).unwrap();
        return;
    }
    let mut diverged = rung(Rung::Diverged, 9);
    diverged.measurements = vec![
        interval("kl_mean", "nats", truth.kl, 0.05, 2044),
        interval("top1_agreement", "", (1.0 - truth.kl).max(0.0), 0.01, 2044),
    ];
    store.finish_rung(&mut live, &diverged).unwrap();
    if ending == 14 {
        let why = fail("cannot_win", "the paired test against trial 2 says that it cannot reach the front");
        store.end_trial(live, EndState::Stopped, Some(&why)).unwrap();
        return;
    }
    let mut graded = rung(Rung::Graded, 20);
    let mut passed = 0;
    for task in 0..tasks {
        // Hard tasks are hard for all: verdicts of two trials are paired.
        let hard = (task as f64 + 0.5) / tasks as f64;
        let good = hard + (random.unit() - 0.5) * 0.1 < truth.pass;
        passed += usize::from(good);
        graded.generations.push(NewGeneration {
            task: format!("warmup/{task}"),
            sample: 0,
            completion: "    return x\n".into(),
            verdict: if good { "passed" } else { "wrong" }.into(),
            detail: if good { "" } else { "AssertionError" }.into(),
            codebleu_json: None,
        });
    }
    let n = tasks.max(1) as f64;
    let pass = if tasks == 0 { truth.pass } else { passed as f64 / n };
    let error = 1.96 * (pass * (1.0 - pass) / 90.0).sqrt();
    graded.measurements =
        vec![NewMeasurement::interval("pass_at_1", "", pass, (pass - error).max(0.0), pass + error, 90)];
    if ending == 16 {
        graded.measurements.clear();
    }
    store.finish_rung(&mut live, &graded).unwrap();
    if ending == 16 {
        // As earlier versions stored what was no number; the store takes none by now.
        let database = rusqlite::Connection::open(store.path()).unwrap();
        let row = "INSERT INTO measurement (trial_id, rung, metric, unit, value, samples, raw) \
                   VALUES (?1, 'graded', 'pass_at_1', '', 'nan', 1, x'')";
        database.execute(row, [live.record().id.0]).unwrap();
    }
    store.end_trial(live, EndState::Complete, None).unwrap();
}

/// Fills a store with a study of the presets and `n` found candidates; `tasks` generations for each graded trial.
pub fn fill(store: &Store, name: &str, n: usize, tasks: usize) -> StudyId {
    let study = store.create_study(&new_study(name, BUDGET)).unwrap();
    let mut random = Random(7);
    for &(preset_name, peak, latency, kl, pass) in PRESETS {
        let truth = Truth { peak: peak * 1e6, latency, kl, pass };
        let new = NewTrial {
            candidate: preset(preset_name),
            origin: Origin::preset(preset_name),
            predicted: predictions(&truth, &mut random),
        };
        climb(store, study, new, &truth, tasks, &mut random);
    }
    let mut made = 0;
    while made < n {
        let (candidate, truth) = found(&mut random);
        // Beyond the space's size further candidates differ in a parameter that changes nothing.
        let candidate = if n > 500 { candidate.with("nonce", Value::Int(made as i64)) } else { candidate };
        let predicted = predictions(&truth, &mut random);
        let new = NewTrial { candidate, origin: Origin::sampler("autotune"), predicted };
        climb(store, study, new, &truth, tasks, &mut random);
        made += 1;
    }
    store
        .save_note(
            study,
            "warning.source",
            "The source is already quantized (Q4_1): it was rescaled to serve as a float reference.",
        )
        .unwrap();
    store.save_note(study, "reference", "trial 1").unwrap();
    store.set_study_state(study, StudyState::Finished, Some("40 trials")).unwrap();
    study
}

fn predictions(truth: &Truth, random: &mut Random) -> Vec<NewMeasurement> {
    vec![
        NewMeasurement::exact(
            "predicted_peak_memory_bytes",
            "bytes",
            truth.peak * (0.97 + 0.06 * random.unit()),
        ),
        NewMeasurement::exact("predicted_latency_ms", "ms", truth.latency * (0.8 + 0.5 * random.unit())),
    ]
}
