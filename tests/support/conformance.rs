//! What every engine must do, whatever it runs: load or say why not, keep its sequences apart, refuse what it cannot do without ending
//! the process. The mock is always tried; llama.cpp where it is compiled in and the demo model is there, and torch in the tests of its crate.
//!
//! Who includes this gives `subjects`, `require`, and `ROOT`, the way from its package to the workspace.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use autotune::engine::draw::Draws;
use autotune::engine::generate::{Prompt, generate};
use autotune::engine::mock::{MockArtifact, Script};
use autotune::engine::{
    Device, Engine, EngineError, EngineKind, FlashAttention, Row, RunConfig, Session, Token,
};
use autotune::logits::argmax;
use autotune::space::KvType;

use super::{require, subjects};

/// An engine with an artifact that it runs.
pub struct Subject {
    pub engine: Box<dyn Engine>,
    pub artifact: PathBuf,
    pub folder: tempfile::TempDir,
}

impl Subject {
    fn load(&self, run: &RunConfig) -> Box<dyn Session> {
        self.engine.load(&self.artifact, run).unwrap()
    }
}

pub fn mock() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("mock.json");
    let content = MockArtifact {
        peak_bytes: 1000,
        prompt_us: 1.0,
        step_us: 10.0,
        row_us: 1.0,
        noise: 0.5,
        forgets: 0.0,
        watts: 0.0,
        script: Script::Behave,
    };
    std::fs::write(&artifact, serde_json::to_string(&content).unwrap()).unwrap();
    Subject { engine: EngineKind::Mock.open().unwrap(), artifact, folder }
}

pub fn llama() -> Option<Subject> {
    let Ok(engine) = EngineKind::LlamaCpp.open() else {
        require::skip("llama", "llama.cpp is not compiled in");
        return None;
    };
    let Some(artifact) = demo_model() else {
        require::skip("demo-model", "there is none (`make setup`, or AUTOTUNE_DEMO_MODEL)");
        return None;
    };
    Some(Subject { engine, artifact, folder: tempfile::tempdir().unwrap() })
}

pub fn demo_model() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("AUTOTUNE_DEMO_MODEL").filter(|v| !v.is_empty()) {
        return Some(path.into());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(super::ROOT).join(".deps/models");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
    found.sort();
    found.into_iter().next()
}

/// Settings under which results do not depend on what shares a call.
fn run() -> RunConfig {
    RunConfig {
        threads: 1,
        sequences: 4,
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
    }
}

/// A text decoded in two calls may differ from one call by the order of float sums.
const SPLIT_TOLERANCE: f32 = 0.05;
const TEXT: &str = "def add(a, b):\n    return a + b\n";

fn rows(tokens: &[Token], sequence: u32) -> Vec<Row> {
    let row = |(i, &token)| Row { token, position: i as u32, sequence, logits: i + 1 == tokens.len() };
    tokens.iter().enumerate().map(row).collect()
}

/// Decodes a text into a sequence from its begin, and returns the logits behind it.
fn read(session: &mut dyn Session, text: &str, sequence: u32) -> Vec<f32> {
    let tokens = session.tokenize(text, true).unwrap();
    session.decode(&rows(&tokens, sequence)).unwrap();
    session.logits(tokens.len() - 1).unwrap().to_vec()
}

#[test]
fn what_does_not_load_is_named() {
    for subject in subjects() {
        let path = |name: &str| subject.folder.path().join(name);
        std::fs::write(path("text"), "this is a letter, not a model").unwrap();
        std::fs::write(path("empty"), "").unwrap();
        let whole = std::fs::read(&subject.artifact).unwrap();
        std::fs::write(path("half"), &whole[..whole.len() / 2]).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        for name in ["missing", "text", "empty", "half", "folder"] {
            let error = subject.engine.load(&path(name), &run()).err();
            let named = matches!(&error, Some(EngineError::Load { path: p, detail }) if p.ends_with(name) && !detail.is_empty());
            assert!(named, "{} {name}: {error:?}", subject.engine.name());
        }
        assert!(!subject.engine.version().is_empty());
    }
}

#[test]
fn text_survives_its_tokens() {
    for subject in subjects() {
        let session = subject.load(&run());
        for text in [
            TEXT,
            "",
            " ",
            "\n\n\t x",
            "naïve – 日本語 🦀",
            "let s = `${a}`;\r\n",
            "<|im_end|> is text here",
            "a\0b",
        ] {
            let tokens = session.tokenize(text, false).unwrap();
            assert!(tokens.iter().all(|&t| t >= 0 && (t as usize) < session.info().vocabulary));
            let bytes: Vec<u8> = tokens.iter().flat_map(|&t| session.piece(t)).collect();
            assert_eq!(String::from_utf8_lossy(&bytes), text, "{}", subject.engine.name());
            assert!(!tokens.iter().any(|&t| session.is_end(t)), "text cannot end a generation");
        }
        let last = session.info().vocabulary as Token;
        for none in [-1, last, Token::MAX, Token::MIN] {
            assert!(session.piece(none).is_empty() && !session.is_end(none));
        }
        assert!((0..last).any(|t| session.is_end(t)), "some token ends a generation");
    }
}

#[test]
fn logits_are_finite_whole_and_repeatable() {
    for subject in subjects() {
        let mut session = subject.load(&run());
        let first = read(session.as_mut(), TEXT, 0);
        assert_eq!(first.len(), session.info().vocabulary);
        assert!(first.iter().all(|v| v.is_finite()));
        assert!(first.iter().any(|v| *v != first[0]), "they tell tokens apart");
        session.forget(None);
        assert_eq!(read(session.as_mut(), TEXT, 0), first, "again");
        assert_eq!(read(session.as_mut(), TEXT, 3), first, "in another sequence");
        let mut other = subject.load(&run());
        assert_eq!(read(other.as_mut(), TEXT, 1), first, "in another session");
        assert_ne!(read(other.as_mut(), "import os\n", 2), first, "of another text");
    }
}

#[test]
fn forgetting_frees_a_sequence_and_leaves_the_others() {
    for subject in subjects() {
        let mut session = subject.load(&run());
        let kept = "function twice(x) {\n";
        read(session.as_mut(), kept, 0);
        let first = read(session.as_mut(), TEXT, 1);
        // Not forgotten: position 0 is taken.
        let tokens = session.tokenize(TEXT, true).unwrap();
        assert!(session.decode(&rows(&tokens, 1)).is_err());
        session.forget(Some(1));
        assert_eq!(read(session.as_mut(), TEXT, 1), first);
        // The other sequence goes on where it was.
        let begun = session.tokenize(kept, true).unwrap();
        let row = Row { token: begun[0], position: begun.len() as u32, sequence: 0, logits: true };
        session.decode(&[row]).unwrap();
        let gone_on = session.logits(0).unwrap().to_vec();
        let mut other = subject.load(&run());
        read(other.as_mut(), kept, 0);
        other.decode(&[row]).unwrap();
        assert_eq!(other.logits(0).unwrap(), gone_on);
        // What was never there is forgotten without a word.
        session.forget(Some(2));
        session.forget(Some(99));
        session.forget(None);
        assert_eq!(read(session.as_mut(), TEXT, 0), first);
    }
}

#[test]
fn a_truncated_sequence_goes_on_from_where_it_was_cut() {
    for subject in subjects() {
        let mut session = subject.load(&run());
        let tokens = session.tokenize(TEXT, true).unwrap();
        let first = read(session.as_mut(), TEXT, 1);
        read(session.as_mut(), "import os\n", 0);
        let cut = tokens.len() as u32 / 2;
        session.truncate(1, cut).unwrap();
        // Another way first, then back, then the same way again.
        let strange = session.tokenize("#", false).unwrap()[0];
        let row = Row { token: strange, position: cut, sequence: 1, logits: true };
        session.decode(&[row]).unwrap();
        session.truncate(1, cut).unwrap();
        session.decode(&rows(&tokens, 1)[cut as usize..]).unwrap();
        let again = session.logits(tokens.len() - 1 - cut as usize).unwrap().to_vec();
        let worst = again.iter().zip(&first).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < SPLIT_TOLERANCE, "{}: {worst}", subject.engine.name());
        // Cutting behind the end cuts nothing, and the neighbour is untouched.
        session.truncate(1, 10_000).unwrap();
        let taken = session.tokenize("import os\n", true).unwrap();
        assert!(session.decode(&rows(&taken, 0)).is_err(), "its neighbour still holds its text");
        assert!(session.truncate(99, 0).is_err());
    }
}

#[test]
fn a_known_text_is_scored_without_changing_what_is_generated() {
    for subject in subjects() {
        let name = subject.engine.name();
        let answers = |known: Option<&str>, draws| {
            let prompt = Prompt {
                id: "p".into(),
                text: "def add(a, b):\n    # answer: return a + b".into(),
                max_tokens: 12,
                known: known.map(str::to_owned),
                draws,
                ..Prompt::default()
            };
            let mut all = Vec::new();
            generate(subject.load(&run()).as_mut(), &[prompt], 2, 16, |g| {
                all.push(g);
                true
            })
            .unwrap();
            all
        };
        let plain = &answers(None, None)[0];
        assert!(plain.foreseen.is_none());
        let known = format!("{}\n    pass\n", plain.text);
        let scored = answers(Some(&known), None).remove(0);
        assert_eq!(scored.text, plain.text, "{name}");
        let foreseen = scored.foreseen.unwrap();
        assert!(foreseen.tokens >= foreseen.likeliest && foreseen.nll > 0.0, "{name}: {foreseen:?}");
        assert!(
            u64::from(plain.tokens) <= foreseen.likeliest + 2,
            "the greedy text is foreseen: {foreseen:?}"
        );
        // Drawn answers come behind the greedy one, and at almost no temperature they are the greedy one.
        let cold = Draws { samples: 2, temperature: 1e-3, top_p: 1.0, seed: 1 };
        let drawn = answers(Some(&known), Some(cold));
        let texts: Vec<(u32, &str)> = drawn.iter().map(|g| (g.sample, g.text.as_str())).collect();
        assert_eq!(texts, [(0, plain.text.as_str()), (1, &plain.text), (2, &plain.text)], "{name}");
    }
}

#[test]
fn a_prefix_is_kept_and_copied_instead_of_computed_again() {
    for subject in subjects() {
        let mut session = subject.load(&run());
        let whole = read(session.as_mut(), TEXT, 0);
        let tokens = session.tokenize(TEXT, true).unwrap();
        let half = tokens.len() / 2;
        let rest: Vec<Row> = rows(&tokens, 3).split_off(half);
        session.copy(0, 3).unwrap();
        session.truncate(3, half as u32).unwrap();
        session.decode(&rest).unwrap();
        let end = rest.len() - 1;
        let close = |found: &[f32]| {
            let worst = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Cached rows are the same; only the shape of the matrix product differs.
            assert!(worst < 0.05, "{}: {worst}", subject.engine.name());
        };
        close(session.logits(end).unwrap());
        // A second time, over what was kept; the source goes on where it was.
        session.truncate(3, half as u32).unwrap();
        session.decode(&rest).unwrap();
        close(session.logits(end).unwrap());
        let next = Row { token: tokens[0], position: tokens.len() as u32, sequence: 0, logits: true };
        session.decode(&[next]).unwrap();
        assert!(session.copy(0, 4).is_err() && session.copy(9, 0).is_err());
        assert!(session.truncate(9, 0).is_err());
    }
}

#[test]
fn what_cannot_be_decoded_is_refused_and_changes_nothing() {
    for subject in subjects() {
        let name = subject.engine.name();
        let mut session = subject.load(&RunConfig { max_outputs: 4, ..run() });
        let first = read(session.as_mut(), TEXT, 0);
        session.forget(None);
        let token = session.tokenize("a", false).unwrap()[0];
        let row = Row { token, position: 0, sequence: 0, logits: true };
        let vocabulary = session.info().vocabulary as Token;
        let context = session.info().context;
        let many = |n: u32, logits| (0..n).map(|i| Row { position: i, logits, ..row }).collect::<Vec<Row>>();
        let refused: [(&str, Vec<Row>); 11] = [
            ("no rows", vec![]),
            ("more rows than a call takes", many(65, false)),
            ("more logits than were reserved", many(5, true)),
            ("a token below the vocabulary", vec![Row { token: -1, ..row }]),
            ("a token above the vocabulary", vec![Row { token: vocabulary, ..row }]),
            ("a sequence that is none", vec![Row { sequence: 4, ..row }]),
            ("a position outside the context", vec![Row { position: context, ..row }]),
            ("a position far outside", vec![Row { position: u32::MAX, ..row }]),
            ("a position that does not follow", vec![row, Row { position: 5, ..row }]),
            ("a first position that is not the first", vec![Row { position: 7, ..row }]),
            ("one wrong row among good ones", vec![row, Row { sequence: 9, ..row }]),
        ];
        for (what, rows) in refused {
            let error = session.decode(&rows).err();
            assert!(matches!(error, Some(EngineError::Decode { .. })), "{name}, {what}: {error:?}");
            let logits = session.logits(0).err();
            assert!(matches!(logits, Some(EngineError::Misuse(_))), "{name}, {what}: {logits:?}");
        }
        assert_eq!(read(session.as_mut(), TEXT, 0), first, "{name}");
        for index in [0, 1_000_000, usize::MAX] {
            assert!(matches!(session.logits(index), Err(EngineError::Misuse(_))), "{name}: row {index}");
        }
    }
}

#[test]
fn a_full_context_is_an_error() {
    for subject in subjects() {
        let name = subject.engine.name();
        let mut session = subject.load(&run());
        let context = session.info().context;
        assert!(context >= 256);
        let token = session.tokenize("x", false).unwrap()[0];
        let row = |position| Row { token, position, sequence: 2, logits: false };
        for begin in (0..context).step_by(64) {
            session.decode(&(begin..context.min(begin + 64)).map(row).collect::<Vec<_>>()).unwrap();
        }
        let error = session.decode(&[row(context)]).unwrap_err();
        assert!(matches!(error, EngineError::Decode { .. }), "{name}: {error}");
        // Its neighbours have room, and so has it when it was emptied.
        read(session.as_mut(), TEXT, 0);
        session.forget(Some(2));
        read(session.as_mut(), TEXT, 2);
        // A prompt longer than the context keeps its end, and a generation ends with the context.
        let prompt =
            |text: String, max_tokens| Prompt { id: "p".into(), text, max_tokens, ..Prompt::default() };
        for prompt in [prompt("x = 1\n".repeat(400), 20), prompt(TEXT.into(), 10_000)] {
            let mut ended = 0;
            generate(session.as_mut(), &[prompt], 4, 64, |g| {
                ended += 1;
                g.tokens <= context
            })
            .unwrap();
            assert_eq!(ended, 1, "{name}");
        }
    }
}

/// Greedy texts, `slots` sequences at a time.
fn texts(subject: &Subject, run: &RunConfig, slots: u32) -> BTreeMap<String, String> {
    let bodies = [
        "return a + b",
        "return max(xs)",
        "return s.upper()",
        "return n % 2 == 0",
        "return xs[::-1]",
        "return len(s)",
    ];
    let prompts: Vec<Prompt> = bodies
        .iter()
        .enumerate()
        .map(|(i, body)| Prompt {
            id: format!("{i}"),
            text: format!("def f{i}(a, b):\n    # answer: {body}\n"),
            stop: vec!["\ndef".into()],
            max_tokens: 16 + 3 * i as u32,
            ..Prompt::default()
        })
        .collect();
    let mut session = subject.load(run);
    let mut all = BTreeMap::new();
    generate(session.as_mut(), &prompts, slots, 64, |g| {
        all.insert(g.id, g.text);
        true
    })
    .unwrap();
    assert_eq!(all.len(), prompts.len());
    all
}

#[test]
fn greedy_text_does_not_depend_on_what_shares_a_call() {
    for subject in subjects() {
        // Only llama.cpp repacks.
        let repacks = subject.engine.name() == "llama.cpp";
        for repack in [false, true].into_iter().filter(|on| !on || repacks) {
            let run = RunConfig { repack, ..run() };
            let alone = texts(&subject, &run, 1);
            for slots in [2, 4] {
                let together = texts(&subject, &run, slots);
                assert_eq!(together, alone, "{}, {slots} slots, repack {repack}", subject.engine.name());
            }
        }
    }
}

#[test]
fn time_goes_forward() {
    for subject in subjects() {
        let mut session = subject.load(&run());
        let before = session.now();
        let logits = read(session.as_mut(), TEXT, 0);
        assert!(session.now() > before);
        assert!((argmax(&logits) as usize) < session.info().vocabulary);
    }
}
