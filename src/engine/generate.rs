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

/// Continues every prompt greedily, `slots` at a time, and hands each finished generation to `done`; `done` returning false stops.
///
/// Prompts are processed alone (in chunks of `chunk` tokens), then join the batch. Greedy text may depend on the batch on some
/// settings; with one KV stream per sequence and flash attention off it did not (docs/ARCHITECTURE.md).
///
/// # Errors
/// A decode call failed.
pub fn generate(
    session: &mut dyn Session,
    prompts: &[Prompt],
    slots: u32,
    chunk: u32,
    mut done: impl FnMut(Generation) -> bool,
) -> Result<(), EngineError> {
    let mut waiting = 0..prompts.len();
    let mut active: Vec<Option<Slot>> = (0..slots.max(1)).map(|_| None).collect();
    session.forget(None);
    loop {
        for (sequence, place) in active.iter_mut().enumerate() {
            while place.is_none() {
                let Some(prompt) = waiting.next() else { break };
                let slot = begin(session, &prompts[prompt], prompt, sequence as u32, chunk)?;
                match settle(session, prompts, slot) {
                    Settled::Going(slot) => *place = Some(slot),
                    Settled::Finished(generation) => {
                        session.forget(Some(sequence as u32));
                        if !done(generation) {
                            return Ok(());
                        }
                    }
                }
            }
        }
        let mut rows = Vec::new();
        for (sequence, slot) in active.iter().enumerate() {
            if let Some(slot) = slot {
                rows.push(Row {
                    token: slot.next,
                    position: slot.position,
                    sequence: sequence as u32,
                    logits: true,
                });
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        session.decode(&rows)?;
        for (index, row) in rows.iter().enumerate() {
            let next = argmax(session.logits(index)?);
            let place = &mut active[row.sequence as usize];
            let Some(mut slot) = place.take() else { continue };
            slot.position += 1;
            slot.next = next;
            match settle(session, prompts, slot) {
                Settled::Going(slot) => *place = Some(slot),
                Settled::Finished(generation) => {
                    session.forget(Some(row.sequence));
                    if !done(generation) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Processes a prompt in sequence `sequence`; the slot's next token is the first one generated.
fn begin(
    session: &mut dyn Session,
    prompt: &Prompt,
    index: usize,
    sequence: u32,
    chunk: u32,
) -> Result<Slot, EngineError> {
    let mut tokens = session.tokenize(&prompt.text, true)?;
    let room = session.info().context.saturating_sub(prompt.max_tokens).max(1) as usize;
    if tokens.len() > room {
        // What lies next to the cursor matters most: cut the front.
        tokens.drain(..tokens.len() - room);
    }
    if tokens.is_empty() {
        return Err(EngineError::Misuse(format!("the prompt of {} has no tokens", prompt.id)));
    }
    let last = tokens.len() - 1;
    let mut next = 0;
    for (c, part) in tokens.chunks(chunk.max(1) as usize).enumerate() {
        let start = c * chunk.max(1) as usize;
        let rows: Vec<Row> = part
            .iter()
            .enumerate()
            .map(|(i, &token)| Row {
                token,
                position: (start + i) as u32,
                sequence,
                logits: start + i == last,
            })
            .collect();
        session.decode(&rows)?;
        if start + part.len() == tokens.len() {
            next = argmax(session.logits(rows.len() - 1)?);
        }
    }
    Ok(Slot { prompt: index, position: tokens.len() as u32, next, bytes: Vec::new(), tokens: 0 })
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
