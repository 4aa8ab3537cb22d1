//! Exercises of a loaded artifact: texts that break fragile models, long generations, and whether every logit on the way is a number.

use serde::{Deserialize, Serialize};

use super::{EngineError, Row, Session, Token};
use autotune_core::logits::argmax;

/// One exercise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercise {
    /// Caller's identifier.
    pub id: String,
    /// The prompt; may be empty.
    pub text: String,
    /// Repeat the text until prompt and output fill the context.
    pub fill: bool,
    /// Tokens to generate.
    pub tokens: u32,
    /// Go on behind the model's end token.
    pub past_end: bool,
}

/// How an exercise went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercised {
    /// The exercise's identifier.
    pub id: String,
    /// Tokens of the prompt, as they were decoded.
    pub prompt_tokens: u32,
    /// The tokens generated, greedily.
    pub tokens: Vec<Token>,
    /// Rows of logits that were looked at.
    pub rows: u64,
    /// Rows that held a NaN or an infinity.
    pub not_finite: u64,
    /// Whether the prompt's tokens give its text again (a leading space, which some tokenizers add, is no difference).
    pub round_trip: bool,
    /// Why it ended early, when the engine failed.
    pub error: Option<String>,
}

/// Does one exercise in sequence 0, which is forgotten before and after. `call` is the number of tokens that one decode call takes.
/// A failure of the engine is a result, not an error.
pub fn exercise(session: &mut dyn Session, exercise: &Exercise, call: u32) -> Exercised {
    let mut result = Exercised { id: exercise.id.clone(), ..Exercised::default() };
    session.forget(None);
    if let Err(error) = attempt(session, exercise, call, &mut result) {
        result.error = Some(error.to_string());
    }
    session.forget(None);
    result
}

fn attempt(
    session: &mut dyn Session,
    exercise: &Exercise,
    call: u32,
    result: &mut Exercised,
) -> Result<(), EngineError> {
    let context = session.info().context;
    let mut tokens = session.tokenize(&exercise.text, true)?;
    let bytes: Vec<u8> =
        session.tokenize(&exercise.text, false)?.iter().flat_map(|token| session.piece(*token)).collect();
    let text = exercise.text.as_bytes();
    result.round_trip = bytes == text || bytes.strip_prefix(b" ") == Some(text);
    if exercise.fill {
        let room = context.saturating_sub(exercise.tokens).max(1) as usize;
        tokens = tokens.iter().copied().cycle().take(if tokens.is_empty() { 0 } else { room }).collect();
    }
    result.prompt_tokens = tokens.len() as u32;
    if tokens.is_empty() {
        return Ok(());
    }
    let mut next = 0;
    for (c, part) in tokens.chunks(call.max(1) as usize).enumerate() {
        let start = c * call.max(1) as usize;
        let rows: Vec<Row> = part
            .iter()
            .enumerate()
            .map(|(i, &token)| {
                let position = start + i;
                let logits = position + 1 == tokens.len();
                Row { token, position: position as u32, sequence: 0, logits }
            })
            .collect();
        session.decode(&rows)?;
        if rows.last().is_some_and(|r| r.logits) {
            next = look(session, rows.len() - 1, result)?;
        }
    }
    let mut position = tokens.len() as u32;
    while (result.tokens.len() as u32) < exercise.tokens {
        if session.is_end(next) && !exercise.past_end {
            break;
        }
        result.tokens.push(next);
        if position >= context || result.tokens.len() as u32 == exercise.tokens {
            break;
        }
        session.decode(&[Row { token: next, position, sequence: 0, logits: true }])?;
        next = look(session, 0, result)?;
        position += 1;
    }
    Ok(())
}

/// Looks at one row of logits; returns the likeliest token.
fn look(session: &mut dyn Session, row: usize, result: &mut Exercised) -> Result<Token, EngineError> {
    let logits = session.logits(row)?;
    result.rows += 1;
    result.not_finite += u64::from(logits.iter().any(|l| !l.is_finite()));
    Ok(argmax(logits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::{MockArtifact, Script};
    use crate::{Device, EngineKind, FlashAttention, RunConfig};
    use autotune_core::space::KvType;

    fn session(script: Script) -> Box<dyn Session> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let artifact = MockArtifact {
            peak_bytes: 1000,
            prompt_us: 1.0,
            step_us: 10.0,
            row_us: 1.0,
            noise: 0.0,
            forgets: 0.0,
            watts: 0.0,
            script,
        };
        std::fs::write(&path, serde_json::to_string(&artifact).unwrap()).unwrap();
        let run = RunConfig {
            threads: 1,
            sequences: 1,
            context: 64,
            batch_tokens: 16,
            ubatch: 16,
            max_outputs: 0,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            flash: FlashAttention::Off,
            repack: false,
            gpu_layers: 0,
            device: Device::Cpu,
        };
        EngineKind::Mock.open().unwrap().load(&path, &run).unwrap()
    }

    fn of(text: &str, fill: bool, tokens: u32) -> Exercise {
        Exercise { id: "x".into(), text: text.into(), fill, tokens, past_end: true }
    }

    #[test]
    fn a_sound_model_passes_all() {
        let mut s = session(Script::Behave);
        let long = exercise(s.as_mut(), &of("def f():", false, 40), 16);
        assert_eq!((long.tokens.len(), long.not_finite, long.rows, long.error.as_deref()), (40, 0, 40, None));
        assert!(long.round_trip);
        let full = exercise(s.as_mut(), &of("x = 1\n", true, 4), 16);
        assert_eq!((full.prompt_tokens, full.tokens.len(), full.error), (60, 4, None));
        let empty = exercise(s.as_mut(), &of("", false, 4), 16);
        assert_eq!((empty.prompt_tokens, empty.error), (0, None));
    }

    #[test]
    fn logits_that_are_no_numbers_are_counted() {
        let mut s = session(Script::NanLogits);
        let long = exercise(s.as_mut(), &of("def f():", false, 40), 16);
        assert!(long.not_finite > 0 && long.not_finite < long.rows, "{long:?}");
    }

    #[test]
    fn what_the_engine_refuses_is_a_result() {
        let mut s = session(Script::Behave);
        let over = exercise(s.as_mut(), &of(&"x".repeat(65), false, 4), 16);
        assert!(over.error.unwrap().contains("position 64"));
    }
}
