//! A scripted engine for tests: costs, logits, crashes, hangs and greed as its artifact says, in virtual time.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, Row, RunConfig, Session, SessionInfo, Token};
use autotune_core::space::{Config, WeightPlan};

/// Bytes are tokens; one more ends the text.
const END: Token = 256;
const VOCABULARY: usize = 257;
/// Text behind this marker in a prompt is what the mock answers with when it "knows" the task.
const MARKER: &str = "# answer: ";

/// What a mock does beyond answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// Nothing special.
    #[default]
    Behave,
    /// Abort while loading.
    CrashOnLoad,
    /// Abort at the first decode.
    CrashOnDecode,
    /// Never come back from the first decode.
    Hang,
    /// Allocate until stopped.
    Greed,
    /// Refuse to load with an error.
    RefuseLoad,
    /// Pretend to need twice the memory that was predicted.
    Underestimated,
    /// Be faster or slower, by up to a third, than anything else about the candidate would tell, and from call to call by up to a fifth.
    Moody,
    /// Give NaN in place of a logit once a text is longer than 32 tokens.
    NanLogits,
}

/// A mock's artifact: a JSON file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MockArtifact {
    /// Scripted peak memory, in bytes.
    pub peak_bytes: u64,
    /// Virtual microseconds per prompt token.
    pub prompt_us: f64,
    /// Virtual microseconds per decode step, whatever its rows.
    pub step_us: f64,
    /// Virtual microseconds per row of a decode step.
    pub row_us: f64,
    /// Standard deviation of the noise on the logits; 0 is the reference.
    pub noise: f64,
    /// Fraction of the tasks that it forgets, 0 to 1.
    pub forgets: f64,
    /// Scripted power, in watts; 0: not measurable.
    #[serde(default)]
    pub watts: f64,
    /// What else it does.
    #[serde(default)]
    pub script: Script,
}

/// A mock in place of a checkpoint: what its candidates cost, by rules simple enough to check by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MockModel {
    /// Marks the file as a mock.
    pub mock: u32,
    /// Peak memory at 16 bits, in bytes; other types take their share.
    pub peak_bytes_f16: u64,
    /// Layers.
    pub layers: u32,
    /// KV heads of each layer.
    pub kv_heads: u32,
    /// FFN width of each layer.
    pub ffn: u32,
    /// Elements of a head; 0: unknown.
    #[serde(default)]
    pub head_dim: u32,
    /// Power of each thread, in watts; 0: not measurable.
    #[serde(default)]
    pub thread_watts: f64,
    /// What happens to candidates whose canonical description contains a text (a type, `threads=2`), the first that matches.
    #[serde(default)]
    pub scripts: Vec<(String, Script)>,
}

impl MockModel {
    /// Average bits per weight of a configuration.
    fn bits(config: &Config) -> f64 {
        let of = |name: &str| match name.trim_start_matches("IQ").trim_start_matches('Q').chars().next() {
            _ if matches!(name, "F16" | "BF16") => 16.0,
            Some(digit) => f64::from(digit.to_digit(10).unwrap_or(4)),
            None => 4.0,
        };
        match &config.weights {
            WeightPlan::Preset(name) => of(name),
            WeightPlan::PerGroup(groups) if groups.is_empty() => 16.0,
            WeightPlan::PerGroup(groups) => {
                groups.iter().map(|(_, t)| of(t)).sum::<f64>() / groups.len() as f64
            }
        }
    }

    /// Peak memory of a configuration, in bytes.
    #[must_use]
    pub fn peak_bytes(&self, config: &Config) -> u64 {
        let kept = config.keep_ffn * (1.0 - f64::from(config.drop_layers) / f64::from(self.layers));
        let kv = u64::from(config.batch * config.context)
            * (config.kv_k.row_bytes(64) + config.kv_v.row_bytes(64));
        (self.peak_bytes_f16 as f64 * Self::bits(config) / 16.0 * kept) as u64 + kv
    }

    /// The artifact of a configuration.
    #[must_use]
    pub fn artifact(&self, config: &Config) -> MockArtifact {
        let bits = Self::bits(config);
        let pruned = (1.0 - config.keep_ffn) + f64::from(config.drop_layers) / f64::from(self.layers);
        let loss = 0.5f64.powf(bits - 3.0) + 2.0 * pruned;
        let speed = f64::from(config.threads).sqrt();
        let described = format!("{config:?}");
        let script = self.scripts.iter().find(|(text, _)| described.contains(text)).map(|(_, s)| *s);
        let factor = if script == Some(Script::Underestimated) { 2 } else { 1 };
        let mood = match script {
            Some(Script::Moody) => 1.0 + (2.0 * unit(hash(described.as_bytes())) - 1.0) / 3.0,
            _ => 1.0,
        };
        MockArtifact {
            peak_bytes: factor * self.peak_bytes(config),
            prompt_us: mood * 20.0 / speed,
            step_us: mood * 100.0 * bits / speed,
            row_us: mood * 50.0 / speed,
            noise: 6.0 * loss.min(1.0),
            forgets: loss.min(1.0),
            watts: self.thread_watts * f64::from(config.threads),
            script: script.unwrap_or_default(),
        }
    }
}

/// The scripted engine.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mock;

impl Engine for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn version(&self) -> String {
        "mock 1".to_owned()
    }

    fn load(&self, artifact: &Path, run: &RunConfig) -> Result<Box<dyn Session>, EngineError> {
        let fail = |detail: String| EngineError::Load { path: artifact.display().to_string(), detail };
        let text = std::fs::read_to_string(artifact).map_err(|e| fail(e.to_string()))?;
        let script: MockArtifact = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        match script.script {
            Script::CrashOnLoad => std::process::abort(),
            Script::RefuseLoad => return Err(fail("scripted refusal".to_owned())),
            _ => {}
        }
        let info = SessionInfo {
            vocabulary: VOCABULARY,
            parameters: 1,
            weight_bytes: script.peak_bytes,
            trained_context: 1 << 20,
            context: run.context,
            buffers: Vec::new(),
        };
        Ok(Box::new(MockSession {
            script,
            info,
            texts: vec![Vec::new(); run.sequences as usize],
            rows: Vec::new(),
            most_rows: run.batch_tokens.max(1) as usize,
            most_outputs: if run.max_outputs == 0 { usize::MAX } else { run.max_outputs as usize },
            logits: vec![0.0; VOCABULARY],
            clock: Duration::ZERO,
        }))
    }
}

struct MockSession {
    script: MockArtifact,
    info: SessionInfo,
    texts: Vec<Vec<u8>>,
    /// Sequence and length of its text at each row of the last call; none where the row did not request logits.
    rows: Vec<Option<(usize, usize)>>,
    most_rows: usize,
    most_outputs: usize,
    logits: Vec<f32>,
    clock: Duration,
}

/// SplitMix64: a portable hash of a number.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x5EED, |h, &b| mix(h ^ u64::from(b)))
}

/// A number in [0, 1) from a hash.
fn unit(h: u64) -> f64 {
    (h >> 11) as f64 / (1u64 << 53) as f64
}

impl MockSession {
    /// What a real engine would refuse, before anything is changed.
    fn check(&self, rows: &[Row]) -> Result<(), String> {
        if rows.is_empty() || rows.len() > self.most_rows {
            return Err(format!("a call takes 1 to {} rows", self.most_rows));
        }
        let outputs = rows.iter().filter(|r| r.logits).count();
        if outputs > self.most_outputs {
            return Err(format!("{outputs} rows request logits, at most {} may", self.most_outputs));
        }
        let mut lengths: Vec<usize> = self.texts.iter().map(Vec::len).collect();
        for row in rows {
            if !(0..=END).contains(&row.token) {
                return Err(format!("token {} of a vocabulary of {VOCABULARY}", row.token));
            }
            let Some(length) = lengths.get_mut(row.sequence as usize) else {
                return Err(format!("sequence {} of {}", row.sequence, self.texts.len()));
            };
            if row.position as usize != *length || row.position >= self.info.context {
                return Err(format!(
                    "position {} after {length} tokens of {}",
                    row.position, self.info.context
                ));
            }
            *length += 1;
        }
        Ok(())
    }

    /// What the mock would write next, when the text holds the marker. A prompt that was cut behind the marker's line, as graders cut
    /// trailing white space, has its line ended first.
    fn answer(&self, text: &[u8]) -> Option<Token> {
        let at = text.windows(MARKER.len()).rposition(|w| w == MARKER.as_bytes())? + MARKER.len();
        let Some(length) = text[at..].iter().position(|&b| b == b'\n') else { return Some(b'\n'.into()) };
        let end = at + length;
        let answer = &text[at..end];
        let written = text.len() - end - 1;
        if unit(hash(answer)) < self.script.forgets {
            return Some(if written < 4 { b' '.into() } else { END });
        }
        let full: Vec<u8> = [b"    ", answer, b"\n"].concat();
        Some(full.get(written).map_or(END, |&b| Token::from(b)))
    }
}

impl Session for MockSession {
    fn info(&self) -> &SessionInfo {
        &self.info
    }

    fn tokenize(&self, text: &str, _begin: bool) -> Result<Vec<Token>, EngineError> {
        Ok(text.bytes().map(Token::from).collect())
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        u8::try_from(token).map(|b| vec![b]).unwrap_or_default()
    }

    fn is_end(&self, token: Token) -> bool {
        token == END
    }

    fn decode(&mut self, rows: &[Row]) -> Result<(), EngineError> {
        match self.script.script {
            Script::CrashOnDecode => std::process::abort(),
            Script::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Script::Greed => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 8 << 20]);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            _ => {}
        }
        self.rows.clear();
        self.check(rows).map_err(|detail| EngineError::Decode { rows: rows.len(), detail })?;
        for row in rows {
            let sequence = row.sequence as usize;
            let text = &mut self.texts[sequence];
            text.push(u8::try_from(row.token).unwrap_or(0));
            self.rows.push(row.logits.then_some((sequence, text.len())));
        }
        let wanted = rows.iter().filter(|r| r.logits).count() as f64;
        let us = if wanted < rows.len() as f64 {
            self.script.prompt_us * rows.len() as f64
        } else {
            self.script.step_us + self.script.row_us * rows.len() as f64
        };
        let mood = match self.script.script {
            Script::Moody => 0.8 + 0.4 * unit(mix(self.clock.as_nanos() as u64)),
            _ => 1.0,
        };
        self.clock += Duration::from_secs_f64(mood * us * 1e-6);
        Ok(())
    }

    fn logits(&mut self, index: usize) -> Result<&[f32], EngineError> {
        let Some(&Some((sequence, length))) = self.rows.get(index) else {
            return Err(EngineError::Misuse(format!("row {index} did not request logits")));
        };
        let text = &self.texts[sequence][..length];
        let target = self.answer(text);
        let seed = hash(&text[text.len().saturating_sub(3)..]);
        for (i, logit) in self.logits.iter_mut().enumerate() {
            let base = 6.0 * unit(mix(seed ^ i as u64));
            let noise = self.script.noise * (2.0 * unit(mix(seed ^ 0xA0A0 ^ ((i as u64) << 20))) - 1.0);
            *logit = (base + noise) as f32;
        }
        if let Some(target) = target {
            self.logits[target as usize] = 20.0;
        }
        if self.script.script == Script::NanLogits && length > 32 {
            self.logits[7] = f32::NAN;
        }
        Ok(&self.logits)
    }

    fn forget(&mut self, sequence: Option<u32>) {
        match sequence {
            Some(s) => {
                if let Some(text) = self.texts.get_mut(s as usize) {
                    text.clear();
                }
            }
            None => self.texts.iter_mut().for_each(Vec::clear),
        }
    }

    fn truncate(&mut self, sequence: u32, length: u32) -> Result<(), EngineError> {
        let sequences = self.texts.len();
        let text = self
            .texts
            .get_mut(sequence as usize)
            .ok_or_else(|| EngineError::Misuse(format!("sequence {sequence} of {sequences}")))?;
        text.truncate(length as usize);
        Ok(())
    }

    fn copy(&mut self, from: u32, to: u32) -> Result<(), EngineError> {
        let text = self.texts.get(from as usize).cloned();
        match (text, self.texts.get_mut(to as usize)) {
            (Some(text), Some(place)) => {
                *place = text;
                Ok(())
            }
            _ => Err(EngineError::Misuse(format!("sequence {from} or {to} of {}", self.texts.len()))),
        }
    }

    fn now(&self) -> Duration {
        self.clock
    }

    fn scripted_peak_bytes(&self) -> Option<u64> {
        Some(self.script.peak_bytes)
    }

    fn scripted_joules(&self) -> Option<f64> {
        (self.script.watts > 0.0).then_some(self.script.watts * self.clock.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Prompt, generate};
    use crate::{Device, EngineKind, FlashAttention};
    use autotune_core::space::KvType;

    fn run() -> RunConfig {
        RunConfig {
            threads: 1,
            sequences: 2,
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

    fn session(forgets: f64) -> Box<dyn Session> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let artifact = MockArtifact {
            peak_bytes: 1000,
            prompt_us: 1.0,
            step_us: 10.0,
            row_us: 1.0,
            noise: 0.0,
            forgets,
            watts: 0.0,
            script: Script::Behave,
        };
        std::fs::write(&path, serde_json::to_string(&artifact).unwrap()).unwrap();
        EngineKind::Mock.open().unwrap().load(&path, &run()).unwrap()
    }

    fn prompts() -> Vec<Prompt> {
        (0..5)
            .map(|i| Prompt {
                id: format!("t{i}"),
                text: format!("def f(a):\n    # answer: return a + {i}\n"),
                stop: vec!["\ndef".into()],
                max_tokens: 64,
                ..Prompt::default()
            })
            .collect()
    }

    #[test]
    fn it_answers_every_prompt_through_refilled_slots() {
        let mut session = session(0.0);
        let mut texts = Vec::new();
        generate(session.as_mut(), &prompts(), 2, 16, |g| {
            texts.push((g.id, g.text));
            true
        })
        .unwrap();
        texts.sort();
        assert_eq!(texts.len(), 5);
        assert_eq!(texts[3], ("t3".to_owned(), "    return a + 3\n".to_owned()));
        assert!(session.now() > Duration::ZERO);
    }

    #[test]
    fn a_prompt_without_its_last_line_break_is_answered_too() {
        let mut session = session(0.0);
        let mut all = prompts();
        all.iter_mut().for_each(|p| p.text.truncate(p.text.trim_end().len()));
        generate(session.as_mut(), &all, 2, 16, |g| {
            assert!(g.text.starts_with("\n    return a + "), "{}", g.text);
            true
        })
        .unwrap();
    }

    #[test]
    fn it_forgets_what_it_is_told_to() {
        let mut session = session(1.0);
        generate(session.as_mut(), &prompts(), 2, 16, |g| {
            assert!(!g.text.contains("return"), "{}", g.text);
            true
        })
        .unwrap();
    }

    #[test]
    fn generation_stops_when_the_caller_has_enough() {
        let mut session = session(0.0);
        let mut n = 0;
        generate(session.as_mut(), &prompts(), 2, 16, |_| {
            n += 1;
            n < 2
        })
        .unwrap();
        assert_eq!(n, 2);
    }
}
