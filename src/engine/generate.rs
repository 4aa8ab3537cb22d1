//! Greedy generation for many prompts on one session: slots are refilled as sequences end.

use serde::{Deserialize, Serialize};

use super::{EngineError, Row, Session, Token, argmax};

/// What to continue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Caller's identifier.
    pub id: String,
    /// The text to continue.
    pub text: String,
    /// Texts that end the continuation; they stay in it, for the caller to cut.
    pub stop: Vec<String>,
    /// Tokens to generate at most.
    pub max_tokens: u32,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model's end token.
    End,
    /// A stop text.
    Stop,
    /// The token limit or a full context.
    Length,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The prompt's identifier.
    pub id: String,
    /// The continuation, stop text included.
    pub text: String,
    /// Tokens generated.
    pub tokens: u32,
    /// Why it ended.
    pub finish: Finish,
}

/// One sequence in flight.
struct Slot {
    prompt: usize,
    position: u32,
    next: Token,
    bytes: Vec<u8>,
    tokens: u32,
}

/// Slots are refilled when one in so many is free.
const REFILL: usize = 4;

/// Continues every prompt greedily, `slots` at a time, and hands each finished generation to `done`; `done` returning false stops.
///
/// Free slots are filled together: their prompts share decode calls of up to `call` tokens. Greedy text may depend on what shares a
/// call on some settings; with one KV stream per sequence and flash attention off it did not (docs/ARCHITECTURE.md).
///
/// # Errors
/// A decode call failed.
pub fn generate(
    session: &mut dyn Session,
    prompts: &[Prompt],
    slots: u32,
    call: u32,
    mut done: impl FnMut(Generation) -> bool,
) -> Result<(), EngineError> {
    let mut waiting = 0..prompts.len();
    let mut active: Vec<Option<Slot>> = (0..slots.max(1)).map(|_| None).collect();
    session.forget(None);
    loop {
        // Short prompts are cheaper together: free slots wait until a quarter of them is free.
        let free = active.iter().filter(|place| place.is_none()).count();
        let enough = free == active.len() || free * REFILL >= active.len();
        let mut begun = Vec::new();
        for (sequence, place) in active.iter().enumerate() {
            if enough
                && place.is_none()
                && let Some(prompt) = waiting.next()
            {
                begun.push((sequence, prompt, prompt_tokens(session, &prompts[prompt])?));
            }
        }
        let mut moved = prefill(session, &begun, call)?;
        if begun.is_empty() {
            moved = step(session, &mut active)?;
        }
        if moved.is_empty() {
            return Ok(());
        }
        for (sequence, slot) in moved {
            match settle(session, prompts, slot) {
                Settled::Going(slot) => active[sequence] = Some(slot),
                Settled::Finished(generation) => {
                    session.forget(Some(sequence as u32));
                    if !done(generation) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Decodes one token of every active sequence; the slots come back with their next tokens.
fn step(session: &mut dyn Session, active: &mut [Option<Slot>]) -> Result<Vec<(usize, Slot)>, EngineError> {
    let mut taken: Vec<(usize, Slot)> =
        active.iter_mut().enumerate().filter_map(|(sequence, s)| Some((sequence, s.take()?))).collect();
    let rows: Vec<Row> = taken
        .iter()
        .map(|(sequence, slot)| Row {
            token: slot.next,
            position: slot.position,
            sequence: *sequence as u32,
            logits: true,
        })
        .collect();
    if rows.is_empty() {
        return Ok(taken);
    }
    session.decode(&rows)?;
    for (index, (_, slot)) in taken.iter_mut().enumerate() {
        slot.next = argmax(session.logits(index)?);
        slot.position += 1;
    }
    Ok(taken)
}

/// The tokens of a prompt, its front cut off where it would not leave room for the answer: what lies next to the cursor matters most.
fn prompt_tokens(session: &dyn Session, prompt: &Prompt) -> Result<Vec<Token>, EngineError> {
    let mut tokens = session.tokenize(&prompt.text, true)?;
    let room = session.info().context.saturating_sub(prompt.max_tokens).max(1) as usize;
    if tokens.len() > room {
        tokens.drain(..tokens.len() - room);
    }
    if tokens.is_empty() {
        return Err(EngineError::Misuse(format!("the prompt of {} has no tokens", prompt.id)));
    }
    Ok(tokens)
}

/// Processes prompts into their sequences, as many tokens a call as it takes; each slot's next token is the first one generated.
fn prefill(
    session: &mut dyn Session,
    begun: &[(usize, usize, Vec<Token>)],
    call: u32,
) -> Result<Vec<(usize, Slot)>, EngineError> {
    let mut slots = Vec::new();
    let all: Vec<(usize, Row)> = begun
        .iter()
        .enumerate()
        .flat_map(|(which, (sequence, _, tokens))| {
            tokens.iter().enumerate().map(move |(i, &token)| {
                let logits = i + 1 == tokens.len();
                (which, Row { token, position: i as u32, sequence: *sequence as u32, logits })
            })
        })
        .collect();
    for part in all.chunks(call.max(1) as usize) {
        let rows: Vec<Row> = part.iter().map(|(_, row)| *row).collect();
        session.decode(&rows)?;
        for (index, (which, row)) in part.iter().enumerate() {
            if row.logits {
                let (sequence, prompt, tokens) = &begun[*which];
                let next = argmax(session.logits(index)?);
                let slot = Slot {
                    prompt: *prompt,
                    position: tokens.len() as u32,
                    next,
                    bytes: Vec::new(),
                    tokens: 0,
                };
                slots.push((*sequence, slot));
            }
        }
    }
    Ok(slots)
}

enum Settled {
    Going(Slot),
    Finished(Generation),
}

/// Takes the slot's next token into its text and tells whether the sequence goes on.
fn settle(session: &dyn Session, prompts: &[Prompt], mut slot: Slot) -> Settled {
    let prompt = &prompts[slot.prompt];
    let finish = if session.is_end(slot.next) {
        Some(Finish::End)
    } else {
        let before = slot.bytes.len();
        slot.bytes.extend(session.piece(slot.next));
        slot.tokens += 1;
        let longest = prompt.stop.iter().map(String::len).max().unwrap_or(0);
        let tail = &slot.bytes[before.saturating_sub(longest)..];
        if prompt.stop.iter().any(|s| !s.is_empty() && contains(tail, s.as_bytes())) {
            Some(Finish::Stop)
        } else if slot.tokens >= prompt.max_tokens || slot.position + 1 >= session.info().context {
            Some(Finish::Length)
        } else {
            None
        }
    };
    match finish {
        None => Settled::Going(slot),
        Some(finish) => Settled::Finished(Generation {
            id: prompt.id.clone(),
            text: String::from_utf8_lossy(&slot.bytes).into_owned(),
            tokens: slot.tokens,
            finish,
        }),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
