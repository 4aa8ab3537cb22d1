//! `autotune simulate` as its users run it.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

const SPACE: &str = "[weights]\nattn = ['Q4', 'Q6', 'Q8']\nffn = ['Q4', 'Q6', 'Q8']\n[run]\nbatch = [1, 2, 4]\nkeep = [0.9, 1.0]\nrepack = [true, false]\n";
const OBJECTIVES: &str = "latency_ms:min,quality:max,memory_bytes:min";

struct Folder(tempfile::TempDir);

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new(space: &str, table: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("s.toml"), space).unwrap();
        std::fs::write(folder.path("t.csv"), table).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn simulate(&self, args: &[&str]) -> Said {
        let output = assert_cmd::Command::cargo_bin("autotune")
            .unwrap()
            .current_dir(self.0.path())
            .args(["simulate", "--space", "s.toml", "--table", "t.csv"])
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.simulate(&[args, &["--objectives", OBJECTIVES, "--json"]].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }
}

/// All 108 points but those that `keep` refuses, columns in an order of their own.
fn table(keep: impl Fn(usize) -> bool, end: &str) -> String {
    let mut text = format!(
        "quality,run.repack,weights.ffn,note,run.batch,run.keep,weights.attn,memory_bytes,latency_ms{end}"
    );
    let mut row = 0;
    for (a, attn) in ["Q4", "Q6", "Q8"].iter().enumerate() {
        for (f, ffn) in ["Q4", "Q6", "Q8"].iter().enumerate() {
            for batch in [1.0, 2.0, 4.0] {
                for kept in ["0.90", "1"] {
                    for repack in ["True", "False"] {
                        row += 1;
                        if !keep(row) {
                            continue;
                        }
                        let bits = (4 + 2 * a) as f64 + 2.0 * (4 + 2 * f) as f64;
                        let keep: f64 = kept.parse().unwrap();
                        let memory =
                            1e7 * bits * keep * if repack == "True" { 1.1 } else { 1.0 } + 2e7 * batch;
                        let latency =
                            bits * keep * if repack == "True" { 4.0 } else { 5.0 } / f64::sqrt(batch);
                        let quality = 0.8 - 0.3 / bits * 12.0 + 0.01 * a as f64 - (1.0 - keep);
                        let _ = write!(
                            text,
                            "{quality:.6},{repack},{ffn},\"row, {row}\",{batch},{kept},{attn},{memory},{latency:.4}{end}"
                        );
                    }
                }
            }
        }
    }
    text
}

#[test]
fn candidates_come_in_order_with_objectives_and_the_hypervolume() {
    let folder = Folder::new(SPACE, &table(|_| true, "\n"));
    let said = folder.json(&["--trials", "20", "--seed", "3"]);
    assert_eq!(
        (said["rows"].as_u64(), said["fitting_rows"].as_u64(), said["exhausted"].as_bool()),
        (Some(108), Some(108), Some(false))
    );
    let trials = said["trials"].as_array().unwrap();
    let trace: Vec<f64> =
        said["hypervolume_trace"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!((trials.len(), trace.len()), (20, 20));
    assert!(trace.windows(2).all(|w| w[0] <= w[1]) && trace[19] > 0.0);
    assert!(trace[19] <= said["front_hypervolume"].as_f64().unwrap() * (1.0 + 1e-12));
    for name in ["latency_ms", "quality", "memory_bytes"] {
        assert!(said["reference_point"][name].is_f64(), "{name}");
    }
    let mut seen = HashSet::new();
    for (i, trial) in trials.iter().enumerate() {
        assert_eq!(trial["number"].as_u64(), Some(i as u64));
        assert!(seen.insert(trial["candidate"].to_string()), "asked twice");
        // The row's own values stand beside the candidate.
        let candidate = &trial["candidate"];
        let bits = |name: &str| candidate[name].as_str().unwrap()[1..].parse::<f64>().unwrap();
        let keep = candidate["run.keep"].as_f64().unwrap();
        let total = bits("weights.attn") + 2.0 * bits("weights.ffn");
        let repack = if candidate["run.repack"].as_bool().unwrap() { 4.0 } else { 5.0 };
        let latency = total * keep * repack / candidate["run.batch"].as_f64().unwrap().sqrt();
        assert!((trial["objectives"]["latency_ms"].as_f64().unwrap() - latency).abs() < 1e-3);
    }
}

#[test]
fn equal_calls_print_equal_candidates_and_seeds_differ() {
    let folder = Folder::new(SPACE, &table(|_| true, "\n"));
    for sampler in ["autotune", "nsga2", "anneal", "random"] {
        let ask = |seed: &str| {
            folder.json(&[
                "--trials",
                "12",
                "--sampler",
                sampler,
                "--seed",
                seed,
                "--noise",
                "latency_ms=0.03,quality=+0.01",
            ])["trials"]
                .clone()
        };
        assert_eq!(ask("1"), ask("1"), "{sampler}");
        assert_ne!(ask("1"), ask("2"), "{sampler}");
    }
}

#[test]
fn absent_rows_and_rows_over_the_budget_are_never_asked_and_the_end_is_told() {
    let folder = Folder::new(SPACE, &table(|row| row % 3 != 0, "\r\n"));
    for sampler in ["autotune", "nsga2", "anneal", "random"] {
        let said = folder.json(&[
            "--budget",
            "180MB",
            "--budget-column",
            "memory_bytes",
            "--sampler",
            sampler,
            "--trials",
            "200",
        ]);
        let fitting = said["fitting_rows"].as_u64().unwrap() as usize;
        assert!(said["rows"] == 72 && fitting > 5 && fitting < 72, "{said}");
        assert_eq!(said["exhausted"], true);
        let trials = said["trials"].as_array().unwrap();
        assert_eq!(trials.len(), fitting, "{sampler}");
        assert!(trials.iter().all(|t| t["objectives"]["memory_bytes"].as_f64().unwrap() <= 180e6));
        assert!((trials[fitting - 1]["share"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    }
    let said = folder.simulate(&["--objectives", "latency_ms:min", "--trials", "200"]);
    assert!(said.stderr.contains("exhausted: all 72 feasible rows were evaluated"), "{}", said.stderr);
    assert_eq!(said.stdout.lines().count(), 72);
}

#[test]
fn noise_is_measured_and_the_truth_is_reported() {
    let folder = Folder::new(SPACE, &table(|_| true, "\n"));
    let said = folder.json(&["--trials", "30", "--noise", "latency_ms=0.05", "--sampler", "random"]);
    let mut errors = Vec::new();
    for trial in said["trials"].as_array().unwrap() {
        let of = |what: &str, name: &str| trial[what][name].as_f64().unwrap();
        assert!((of("measured", "quality") - of("objectives", "quality")).abs() < 1e-12);
        errors.push(of("measured", "latency_ms") / of("objectives", "latency_ms") - 1.0);
    }
    let deviation = (errors.iter().map(|e| e * e).sum::<f64>() / 30.0).sqrt();
    assert!((0.03..0.08).contains(&deviation), "{deviation}");
}

#[test]
fn missing_values_are_failed_trials() {
    let whole = table(|_| true, "\n");
    let broken: String = whole
        .lines()
        .enumerate()
        .map(|(i, line)| match (i % 4, line.rsplit_once(',')) {
            (1, Some((rest, _))) => format!("{rest},NaN\n"),
            (2, Some((rest, _))) => format!("{rest},\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = Folder::new(SPACE, &broken);
    for sampler in ["autotune", "nsga2", "anneal", "random"] {
        let said = folder.json(&["--trials", "108", "--sampler", sampler]);
        let trials = said["trials"].as_array().unwrap();
        assert_eq!(trials.len(), 108, "{sampler}");
        let failed = trials
            .iter()
            .filter(|t| t["state"] == "failed" && t["objectives"]["latency_ms"].is_null())
            .count();
        assert_eq!(failed, 54, "{sampler}");
    }
}

#[test]
fn cheap_columns_help_and_lies_are_survived() {
    let with = |column: &dyn Fn(usize, f64) -> f64| -> String {
        let text = table(|_| true, "\n");
        let mut lines = text.lines();
        let mut out = format!("{},predicted_latency_ms\n", lines.next().unwrap());
        for (i, line) in lines.enumerate() {
            let latency: f64 = line.rsplit(',').next().unwrap().parse().unwrap();
            let _ = writeln!(out, "{line},{}", column(i, latency));
        }
        out
    };
    let honest = with(&|_, latency| 0.7 * latency);
    let lying = with(&|i, latency| 1000.0 / latency + (i * 37 % 11) as f64);
    for text in [honest, lying] {
        let folder = Folder::new(SPACE, &text);
        let said = folder.json(&["--trials", "40", "--cheap", "predicted_latency_ms"]);
        assert!(said["trials"][39]["share"].as_f64().unwrap() > 0.9, "{}", said["trials"][39]);
    }
}

#[test]
fn wrong_calls_are_told() {
    let good = table(|_| true, "\n");
    let folder = Folder::new(SPACE, &good);
    let cases: [(&[&str], &str); 13] = [
        (&["--objectives", "speed:min"], "has no column `speed`; it has quality, "),
        (&["--objectives", "latency_ms"], "expected COLUMN:min or COLUMN:max"),
        (&["--objectives", "latency_ms:min,latency_ms:max"], "named twice"),
        (&["--objectives", "note:min"], "`note` has `row, 1`, which is not a number"),
        (&["--objectives", "latency_ms:min", "--budget", "9MB"], "--budget-column"),
        (
            &["--objectives", "latency_ms:min", "--budget", "big", "--budget-column", "memory_bytes"],
            "--budget",
        ),
        (&["--objectives", "latency_ms:min", "--budget", "1", "--budget-column", "size"], "no column `size`"),
        (&["--objectives", "latency_ms:min", "--noise", "quality=0.1"], "unknown objective `quality`"),
        (&["--objectives", "latency_ms:min", "--noise", "latency_ms=-1"], "is negative"),
        (&["--objectives", "latency_ms:min", "--noise", "latency_ms"], "has no `=`"),
        (&["--objectives", "latency_ms:min", "--cheap", "oracle"], "no column `oracle`"),
        (&["--objectives", "latency_ms:min", "--sampler", "tpe"], "unknown sampler `tpe`"),
        (&["--objectives", "latency_ms:min", "--trials", "many"], "--trials"),
    ];
    for (args, part) in cases {
        let said = folder.simulate(args);
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains(part) && said.stdout.is_empty(), "{args:?}: {}", said.stderr);
    }
    let said =
        folder.simulate(&["--objectives", OBJECTIVES, "--budget", "1kB", "--budget-column", "memory_bytes"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("none of the 108 rows fits the budget 1kB"), "{}", said.stderr);

    let row = good.lines().nth(1).unwrap();
    let tables: [(&str, String, &str); 7] = [
        (SPACE, format!("{good}{row}\n"), "lines 2 and 110 are the same point"),
        (
            SPACE,
            good.replace(",Q6,\"row, 13", ",Q5,\"row, 13"),
            "`Q5` is not a level of `weights.ffn`, which has Q4, Q6, Q8",
        ),
        (SPACE, good.replace("run.batch", "batch_size"), "has no column `run.batch`"),
        (SPACE, format!("{good}1,2\n"), "line 110 has 2 cells where the header has 9"),
        (SPACE, String::new(), "is empty"),
        ("a = [1\n", good.clone(), "not TOML"),
        ("", good.clone(), "declares no parameter"),
    ];
    for (space, table, part) in tables {
        let said = Folder::new(space, &table).simulate(&["--objectives", OBJECTIVES]);
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(part), "`{part}` is not in {}", said.stderr);
    }
    std::fs::remove_file(folder.path("t.csv")).unwrap();
    let said = folder.simulate(&["--objectives", OBJECTIVES]);
    assert!(said.code == Some(2) && said.stderr.contains("t.csv: cannot be read"), "{}", said.stderr);
}

#[test]
fn half_a_million_rows_are_searched() {
    let mut space = String::new();
    for p in 0..6 {
        let _ = writeln!(space, "p{p} = [0, 1, 2, 3, 4, 5, 6, 7, 8]");
    }
    let mut text = String::from("p0,p1,p2,p3,p4,p5,latency_ms,loss\n");
    for n in 0..500_000usize {
        let levels: Vec<usize> = (0..6).map(|p| n / 9usize.pow(p) % 9).collect();
        let up: usize = levels.iter().enumerate().map(|(i, l)| l * (i + 1)).sum();
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{}",
            levels[0],
            levels[1],
            levels[2],
            levels[3],
            levels[4],
            levels[5],
            1 + up,
            (200 - up) * (200 - up)
        );
    }
    let folder = Folder::new(&space, &text);
    let said = folder.simulate(&["--objectives", "latency_ms:min,loss:min", "--trials", "3", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(said["rows"] == 500_000 && said["trials"].as_array().unwrap().len() == 3);
}

/// The landscape that `benches/search/record.py` measured of the demo model: 403 candidates, half of which fit.
#[test]
fn a_measured_landscape_is_searched_in_a_few_trials() {
    let measured = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/search/measured");
    let read = |name: &str| std::fs::read_to_string(measured.join(name)).unwrap();
    let folder = Folder::new(&read("space.toml"), &read("table.csv"));
    let reached = |sampler: &str, seed: &str, cheap: &[&str]| {
        let args = [
            "--objectives",
            "latency_ms:min,memory_bytes:min,kl:min:linear",
            "--budget",
            "161MB",
            "--budget-column",
            "memory_bytes",
            "--region",
            "latency_ms=1689",
            "--region",
            "kl=0.508",
            "--noise",
            "latency_ms=0.03",
            "--trials",
            "25",
            "--json",
            "--sampler",
            sampler,
            "--seed",
            seed,
        ];
        let said = folder.simulate(&[&args, cheap].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let found: Value = serde_json::from_str(&said.stdout).unwrap();
        found["trials"][24]["share"].as_f64().unwrap()
    };
    for seed in ["1", "2", "3"] {
        let random = reached("random", seed, &[]);
        let plain = reached("autotune", seed, &[]);
        let told = reached("autotune", seed, &["--cheap", "predicted_latency_ms,assumed_kl"]);
        assert!(plain > 0.9 && told > 0.9, "seed {seed}: {plain:.3} alone, {told:.3} with predictions");
        assert!(plain > random, "seed {seed}: {plain:.3} of ours, {random:.3} of random points");
    }
}
