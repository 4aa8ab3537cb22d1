//! `autotune score codebleu` from outside, and the CodeBLEU library on shared and shipped data.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/require.rs"]
mod require;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use autotune::quality::codebleu;
use autotune::quality::codebleu::{Language, Mode, References, Weights};
use predicates::prelude::*;
use serde_json::{Value, json};

/// Components agree with the published package to this.
const PARITY: f64 = 1e-6;

fn command() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("autotune"))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn shared_rows() -> Option<Vec<Value>> {
    let name = "codebleu/reference.jsonl";
    let path = std::env::var_os("AUTOTUNE_DATA").map(|folder| PathBuf::from(folder).join(name));
    let Some(path) = path.filter(|path| path.exists()) else {
        require::skip("parity-data", format_args!("AUTOTUNE_DATA names no folder with {name}"));
        return None;
    };
    Some(lines(&path))
}

fn graded_rows() -> Vec<Value> {
    lines(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/codebleu_graded.jsonl"))
}

fn text<'v>(row: &'v Value, key: &str) -> &'v str {
    row[key].as_str().unwrap()
}

fn references(row: &Value) -> Vec<&str> {
    row["references"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect()
}

fn language(row: &Value) -> Language {
    text(row, "lang").parse().unwrap()
}

#[test]
fn published_mode_equals_the_package_on_every_shared_row() {
    let Some(rows) = shared_rows() else { return };
    assert!(rows.len() > 400, "{} rows", rows.len());
    for row in &rows {
        let references = References::new(language(row), Mode::Published, &references(row)).unwrap();
        let score = references.score(text(row, "prediction"), &Weights::default());
        let scores = &row["scores"];
        for (name, got) in [
            ("ngram_match", score.ngram),
            ("weighted_ngram_match", score.weighted_ngram),
            ("syntax_match", score.syntax),
            ("dataflow_match", score.dataflow.unwrap()),
            ("codebleu", score.total),
        ] {
            let wanted = scores[name].as_f64().unwrap();
            assert!((got - wanted).abs() < PARITY, "{} {name}: {got}, published {wanted}", row["id"]);
        }
    }
}

/// Share of pairs of answers that a score puts in the order of their grades; an undecided pair counts half.
fn order_accuracy(scored: &[(u64, f64)]) -> f64 {
    let mut right = 0.0;
    let mut all = 0.0;
    for (i, (better, high)) in scored.iter().enumerate() {
        for (worse, low) in &scored[..i] {
            if better != worse {
                let (high, low) = if better > worse { (high, low) } else { (low, high) };
                right += if (high - low).abs() < 1e-9 { 0.5 } else { f64::from(u8::from(high > low)) };
                all += 1.0;
            }
        }
    }
    right / all
}

fn scored(rows: &[Value], mode: Mode) -> Vec<(u64, f64)> {
    let score = |row: &Value| {
        let references = References::new(language(row), mode, &references(row)).unwrap();
        (row["grade"].as_u64().unwrap(), references.score(text(row, "prediction"), &Weights::default()).total)
    };
    rows.iter().map(score).collect()
}

#[test]
fn sound_scores_order_graded_answers_better_than_published_ones() {
    let rows = graded_rows();
    assert!(rows.len() >= 50);
    let published: Vec<Value> = rows.iter().filter(|row| language(row).is_published()).cloned().collect();
    // Over all tasks at once, so that the levels of different tasks and languages have to agree as well.
    let sound = order_accuracy(&scored(&published, Mode::Sound));
    let package = order_accuracy(&scored(&published, Mode::Published));
    println!("pairs in order: sound {sound:.3}, published {package:.3}");
    assert!(sound > 0.98 && package < 0.9 && sound > package, "sound {sound}, published {package}");
    // Within each task no pair is out of order, also for the languages that the package lacks.
    for task in rows.chunk_by(|a, b| a["references"] == b["references"]) {
        let accuracy = order_accuracy(&scored(task, Mode::Sound));
        assert_eq!(accuracy, 1.0, "{}", task[0]["lang"]);
    }
}

#[test]
fn every_graded_kind_is_scored_as_its_name_says() {
    for row in graded_rows() {
        let total = codebleu::score(language(&row), text(&row, "prediction"), &references(&row)).total;
        let (low, high) = match text(&row, "kind") {
            "identical" | "reformatted" => (1.0, 1.0),
            "renamed" => (0.95, 1.0),
            "one detail wrong" => (0.7, 0.95),
            "half wrong" => (0.25, 0.6),
            "unrelated" => (0.0, 0.25),
            "prose" => (0.0, 0.05),
            "empty" => (0.0, 0.0),
            kind => panic!("unknown kind {kind}"),
        };
        assert!(
            (low..=high).contains(&(total - 1e-12).max(0.0)) || total == high,
            "{} {}: {total}",
            row["lang"],
            row["kind"]
        );
    }
}

/// Answers that take long or break recursion elsewhere.
fn hostile() -> Vec<(Language, String)> {
    let loops: String = (0..40).map(|i| format!("{}for i{i} in range(n):\n", " ".repeat(i))).collect();
    let blocks = |open: &str| format!("{}{}", open.repeat(40), "}".repeat(40));
    let deep = |n: usize, open: &str, close: &str| format!("{}x{}", open.repeat(n), close.repeat(n));
    vec![
        (Language::Python, format!("{loops}{}x = x + i0\n", " ".repeat(40))),
        (Language::JavaScript, blocks("while (x < n) { x = x + 1;")),
        (Language::Java, format!("void f() {{ {} }}", blocks("for (int i = 0; i < n; i++) { s += i;"))),
        (Language::Go, format!("func f() {{ {} }}", blocks("for i := 0; i < n; i++ { s += i; "))),
        (Language::Rust, format!("fn f() {{ {} }}", blocks("while x < n { x += 1; "))),
        (Language::Python, deep(100_000, "(", ")")),
        (Language::Python, "(".repeat(100_000)),
        (Language::JavaScript, deep(100_000, "[", "]")),
        (Language::Java, deep(100_000, "(", ")")),
        (Language::C, deep(20_000, "{", "}")),
        (Language::Ruby, deep(20_000, "[", "]")),
        (Language::Python, "'".repeat(50_001)),
        (Language::C, "/*".repeat(50_000)),
        (Language::Python, (0..2_000).map(|i| format!("if c: x = {i}\nuse(x)\n")).collect()),
        (Language::Python, format!("{} = {}\n", "a, ".repeat(5_000), "b, ".repeat(5_000))),
    ]
}

#[test]
fn hostile_answers_are_scored_on_a_small_stack() {
    let grade = || {
        for (language, source) in hostile() {
            for mode in [Mode::Sound, Mode::Published] {
                let references = References::new(language, mode, &["x = 1", &source]).unwrap();
                let score = references.score(&source, &Weights::default());
                assert!((0.0..=1.0 + 1e-12).contains(&score.total), "{language} {mode:?}: {score:?}");
                if mode == Mode::Sound {
                    assert!(score.total > 0.999, "{language}: an answer equals itself, {score:?}");
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(grade).unwrap().join().unwrap();
}

#[test]
fn prints_one_object_a_line_and_the_mean_on_stderr() {
    let input = format!(
        "{}\n\n{}\n",
        json!({"prediction": "x = 1", "references": ["x = 1"], "task": 7}),
        json!({"prediction": "", "references": ["x = 1", "y = 2"]})
    );
    let output =
        command().args(["score", "codebleu", "--lang", "python", "-"]).write_stdin(input).assert().success();
    let stdout = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let rows: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["codebleu"].as_f64(), rows[1]["codebleu"].as_f64()), (Some(1.0), Some(0.0)));
    assert_eq!(rows[0]["dataflow"], Value::Null, "a literal does not flow from a variable");
    assert_eq!(rows[0]["syntax_valid"], true);
    let stderr = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_eq!(stderr, "mean CodeBLEU 0.5000 over 2 pairs\n");
}

#[test]
fn published_scores_an_empty_answer_a_quarter_and_the_weights_count() {
    let pair = json!({"prediction": "", "references": ["x = 1"]}).to_string();
    let score = |extra: &[&str]| -> Value {
        let mut command = command();
        command.args(["score", "codebleu", "--lang", "python", "--published"]).args(extra).arg("-");
        let output = command.write_stdin(pair.clone()).assert().success().get_output().stdout.clone();
        serde_json::from_slice(&output).unwrap()
    };
    assert_eq!(score(&[])["codebleu"], 0.25);
    assert_eq!(score(&["--weights", "0.4,0.3,0.2,0.1"])["codebleu"], 0.1);
}

#[test]
fn wrong_input_is_named_with_its_place() {
    let run = |args: &[&str], input: &str| {
        let mut command = command();
        command.args(["score", "codebleu"]).args(args).arg("-").write_stdin(input.to_owned()).assert()
    };
    let good = r#"{"prediction": "x", "references": ["x"]}"#;
    run(&["--lang", "cobol"], good).code(2).stderr(
        predicate::str::contains("unknown language \"cobol\"")
            .and(predicate::str::contains("c_sharp, php, ruby")),
    );
    run(&["--lang", "tsx", "--published"], good).code(2).stderr(predicate::str::contains("no language tsx"));
    for weights in ["1,2,3", "1,1,1,-1", "0,0,0,0", "NaN,1,1,1", "1,1,1,1,1"] {
        run(&["--lang", "python", &format!("--weights={weights}")], good)
            .code(2)
            .stderr(predicate::str::contains("four finite numbers"));
    }
    run(&["--lang", "python"], &format!("{good}\n{{\"prediction\": \"x\"\n"))
        .code(2)
        .stderr(predicate::str::contains("-:2:").and(predicate::str::contains("references")));
    run(&["--lang", "python"], r#"{"prediction": "x", "references": []}"#)
        .code(2)
        .stderr(predicate::str::contains("-:1: no reference"));
    run(&["--lang", "python"], r#"{"prediction": "x"}"#)
        .code(2)
        .stderr(predicate::str::contains("missing field"));
    command()
        .args(["score", "codebleu", "--lang", "python", "no/such/file.jsonl"])
        .assert()
        .code(2)
        .stderr(predicate::str::contains("no/such/file.jsonl"));
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let pair = json!({"prediction": "x = 1", "references": ["x = 1"]}).to_string();
    let mut child = Process::new(assert_cmd::cargo::cargo_bin!("autotune"))
        .args(["score", "codebleu", "--lang", "python", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    writeln!(stdin, "{pair}").unwrap();
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("\"codebleu\":1.0"), "{first}");
    drop(stdout);
    // The command ends by itself; it may do so before all was written.
    let _ = (0..1_000).try_for_each(|_| writeln!(stdin, "{pair}"));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn an_empty_input_is_worth_a_warning() {
    command()
        .args(["score", "codebleu", "--lang", "go", "-"])
        .write_stdin("\n")
        .assert()
        .success()
        .stdout("")
        .stderr(predicate::str::contains("no pairs"));
}

/// Pieces that grammars, comment strippers and tokenizers stumble over.
const PIECES: &[&str] = &[
    "def f(a, b):\n",
    "    return a + b\n",
    "x = 1\n",
    "for i in range(3):\n",
    "if (x) {",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "'",
    "\"\"\"",
    "/*",
    "*/",
    "//",
    "#",
    "\\",
    "\n",
    "\t",
    " ",
    "é",
    "\u{1c}",
    "\u{2028}",
    "\u{0}",
    "var x = y;",
    "let z = x + 1;",
    "x := y",
    "$a = $b;",
    "<?php ",
    "fn f<'a>(x: &'a str) {",
    "`${x}`",
    "lambda q: q",
    "else",
    "case 1:",
    "\r\n",
    "😀",
    ";",
    ",",
];

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn any_text_scores_between_0_and_1_and_equals_itself(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..25),
        others in proptest::collection::vec(proptest::sample::select(PIECES), 0..25),
        language in proptest::sample::select(Language::ALL.to_vec()),
    ) {
        let (source, other) = (pieces.concat(), others.concat());
        let itself = codebleu::score(language, &source, &[&source]);
        proptest::prop_assert!((itself.total - 1.0).abs() < 1e-12, "{:?}", itself);
        for mode in [Mode::Sound, Mode::Published] {
            let Ok(references) = References::new(language, mode, &[&other, &source]) else { continue };
            let score = references.score(&source, &Weights::default());
            let dataflow = score.dataflow.unwrap_or(0.0);
            for value in [score.total, score.ngram, score.weighted_ngram, score.syntax, dataflow] {
                proptest::prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{:?} {:?}", mode, score);
            }
        }
    }
}

#[test]
fn a_better_reference_can_only_help() {
    let weights = Weights::default();
    let prediction = "def f(a):\n    return a * 2\n";
    let bad = "class A:\n    pass\n";
    let total = |references: &[&str]| {
        References::new(Language::Python, Mode::Sound, references).unwrap().score(prediction, &weights).total
    };
    assert_eq!(total(&[bad, prediction]), 1.0);
    assert!(total(&[bad]) < 0.3);
}
