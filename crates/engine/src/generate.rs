//! Generation for many prompts on one session: slots are refilled as sequences end.
//!
//! Each prompt is processed once: what is known to follow it is scored and forgotten, then it is continued greedily, then as often as
//! asked at random.

use serde::{Deserialize, Serialize};

use super::draw::{Chance, Draws};
use super::{EngineError, Row, Session, Token, check_finite};
use autotune_core::logits::{argmax, log_sum_exp};

/// What to continue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Caller's identifier.
    pub id: String,
    /// The text to continue.
    pub text: String,
    /// Texts that may end the continuation ([`generate_until`]); they stay in it, for the caller to cut.
    pub stop: Vec<String>,
    /// Tokens to generate at most.
    pub max_tokens: u32,
    /// A text known to follow, whose tokens are scored by teacher forcing.
    #[serde(default)]
    pub known: Option<String>,
    /// Continuations besides the greedy one.
    #[serde(default)]
    pub draws: Option<Draws>,
}

impl Prompt {
    /// Continuations that it asks for.
    #[must_use]
    pub fn samples(&self) -> u32 {
        1 + self.draws.map_or(0, |d| d.samples)
    }
}

/// How well the tokens of a known text were foreseen, each with all before it given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// Tokens scored.
    pub tokens: u64,
    /// Of them, those that were the likeliest.
    pub likeliest: u64,
    /// Sum of their negative log-likelihoods, in nats.
    #[serde(with = "autotune_core::units::any_number")]
    pub nll: f64,
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
    /// 0: the greedy continuation; the drawn ones follow.
    #[serde(default)]
    pub sample: u32,
    /// The continuation, stop text included.
    pub text: String,
    /// Tokens generated.
    pub tokens: u32,
    /// Why it ended.
    pub finish: Finish,
    /// With the greedy continuation: how well the known text was foreseen.
    #[serde(default)]
    pub foreseen: Option<Foreseen>,
}

/// One sequence in flight.
struct Slot {
    prompt: usize,
    /// Tokens of the prompt, and the last of them.
    length: u32,
    last: Token,
    sample: u32,
    /// None: greedy.
    chance: Option<Chance>,
    foreseen: Option<Foreseen>,
    position: u32,
    next: Token,
    bytes: Vec<u8>,
    tokens: u32,
}

impl Slot {
    /// The slot set back to its prompt for the next sample, its last prompt token to be decoded again; none after the last sample.
    fn again(self, prompt: &Prompt) -> Option<Self> {
        let sample = self.sample + 1;
        let draws = prompt.draws.filter(|_| sample < prompt.samples())?;
        Some(Self {
            sample,
            chance: Some(Chance::new(&draws, &prompt.id, sample)),
            foreseen: None,
            position: self.length - 1,
            next: self.last,
            bytes: Vec::new(),
            tokens: 0,
            ..self
        })
    }
}

/// A prompt that takes a sequence.
struct Begun {
    sequence: usize,
    prompt: usize,
    tokens: Vec<Token>,
    /// Tokens of the known text.
    known: Vec<Token>,
}

/// Slots are refilled when one in so many is free.
const REFILL: usize = 4;

/// [`generate_until`] with every stop text ending its continuation.
///
/// # Errors
/// A decode call failed.
pub fn generate(
    session: &mut dyn Session,
    prompts: &[Prompt],
    slots: u32,
    call: u32,
    done: impl FnMut(Generation) -> bool,
) -> Result<(), EngineError> {
    generate_until(session, prompts, slots, call, &|_, _| true, done)
}

/// Continues every prompt, greedily and then as its draws say, `slots` at a time, and passes each finished generation to `done`; `done`
/// returning false stops. A stop text ends a continuation where `ends` confirms it for the prompt and the text so far: inside a string
/// literal or brackets it means nothing.
///
/// Free slots are filled together: their prompts share decode calls of up to `call` tokens. Greedy text may depend on what shares a
/// call on some settings; with one KV stream per sequence and flash attention off it did not (docs/src/project/decisions/0009-batch-invariant-grading.md).
///
/// # Errors
/// A decode call failed.
pub fn generate_until(
    session: &mut dyn Session,
    prompts: &[Prompt],
    slots: u32,
    call: u32,
    ends: &dyn Fn(&Prompt, &str) -> bool,
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
                begun.push(begin(session, prompts, sequence, prompt)?);
            }
        }
        let mut moved = prefill(session, prompts, &begun, call)?;
        if begun.is_empty() {
            moved = step(session, prompts, &mut active)?;
        }
        if moved.is_empty() {
            return Ok(());
        }
        for (sequence, slot) in moved {
            match settle(session, prompts, ends, slot) {
                Settled::Going(slot) => active[sequence] = Some(slot),
                Settled::Finished(generation, slot) => {
                    if !done(generation) {
                        return Ok(());
                    }
                    let prompt = &prompts[slot.prompt];
                    match slot.again(prompt) {
                        Some(slot) => {
                            session.truncate(sequence as u32, slot.position)?;
                            active[sequence] = Some(slot);
                        }
                        None => session.forget(Some(sequence as u32)),
                    }
                }
            }
        }
    }
}

/// Decodes one token of every active sequence; the slots come back with their next tokens.
fn step(
    session: &mut dyn Session,
    prompts: &[Prompt],
    active: &mut [Option<Slot>],
) -> Result<Vec<(usize, Slot)>, EngineError> {
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
        let logits = session.logits(index)?;
        let (prompt, position) = (&prompts[slot.prompt], slot.position);
        check_finite(logits, || format!("after token {position} of the answer to {}", prompt.id))?;
        slot.next = choose(slot, logits);
        slot.position += 1;
    }
    Ok(taken)
}

fn choose(slot: &mut Slot, logits: &[f32]) -> Token {
    match &mut slot.chance {
        Some(chance) => chance.draw(logits),
        None => argmax(logits),
    }
}

/// A prompt's tokens, and those of the known text as they follow them.
fn begin(
    session: &dyn Session,
    prompts: &[Prompt],
    sequence: usize,
    which: usize,
) -> Result<Begun, EngineError> {
    let prompt = &prompts[which];
    let whole = session.tokenize(&prompt.text, true)?;
    let mut known = match &prompt.known {
        None => Vec::new(),
        // Cut as the whole text is, where that leaves the prompt's tokens as they are; else as generated text follows, on its own.
        Some(text) => match session.tokenize(&format!("{}{text}", prompt.text), true)? {
            joint if joint.starts_with(&whole) => joint[whole.len()..].to_vec(),
            _ => session.tokenize(text, false)?,
        },
    };
    let tokens = with_room(session, prompt, whole)?;
    known.truncate((session.info().context as usize).saturating_sub(tokens.len()));
    Ok(Begun { sequence, prompt: which, tokens, known })
}

/// The tokens of a prompt, its front cut off where it would not leave room for the answer: what lies next to the cursor matters most.
fn with_room(
    session: &dyn Session,
    prompt: &Prompt,
    mut tokens: Vec<Token>,
) -> Result<Vec<Token>, EngineError> {
    let room = session.info().context.saturating_sub(prompt.max_tokens).max(1) as usize;
    if tokens.len() > room {
        tokens.drain(..tokens.len() - room);
    }
    if tokens.is_empty() {
        return Err(EngineError::Misuse(format!("the prompt of {} has no tokens", prompt.id)));
    }
    Ok(tokens)
}

/// Processes prompts into their sequences, as many tokens a call as it takes; each slot's next token is the first one generated. The
/// known texts ride along: their tokens are scored, and forgotten.
fn prefill(
    session: &mut dyn Session,
    prompts: &[Prompt],
    begun: &[Begun],
    call: u32,
) -> Result<Vec<(usize, Slot)>, EngineError> {
    let mut slots = Vec::new();
    let mut scores = vec![Foreseen::default(); begun.len()];
    let all: Vec<(usize, Row)> = begun
        .iter()
        .enumerate()
        .flat_map(|(which, b)| {
            // The last known token is only looked for, never decoded.
            let decoded = b.known.len().saturating_sub(1);
            b.tokens.iter().chain(&b.known[..decoded]).enumerate().map(move |(i, &token)| {
                let logits = i + 1 >= b.tokens.len();
                (which, Row { token, position: i as u32, sequence: b.sequence as u32, logits })
            })
        })
        .collect();
    for part in all.chunks(call.max(1) as usize) {
        let rows: Vec<Row> = part.iter().map(|(_, row)| *row).collect();
        session.decode(&rows)?;
        for (index, (which, row)) in part.iter().enumerate().filter(|(_, (_, row))| row.logits) {
            let b = &begun[*which];
            let logits = session.logits(index)?;
            check_finite(logits, || {
                format!("at position {} of task {}", row.position, prompts[b.prompt].id)
            })?;
            let next = argmax(logits);
            let behind = row.position as usize + 1 - b.tokens.len();
            if let Some(&known) = b.known.get(behind) {
                let score = &mut scores[*which];
                score.tokens += 1;
                score.likeliest += u64::from(known == next);
                let logit = logits.get(known as usize).copied().unwrap_or(f32::NEG_INFINITY);
                let nll = log_sum_exp(logits) - f64::from(logit);
                score.nll += nll;
            }
            if behind == 0 {
                slots.push((*which, next));
            }
        }
    }
    slots
        .into_iter()
        .map(|(which, next)| {
            let b = &begun[which];
            let length = b.tokens.len() as u32;
            if b.known.len() > 1 {
                session.truncate(b.sequence as u32, length)?;
            }
            let slot = Slot {
                prompt: b.prompt,
                length,
                last: b.tokens.last().copied().unwrap_or_default(),
                sample: 0,
                chance: None,
                foreseen: (scores[which].tokens > 0).then_some(scores[which]),
                position: length,
                next,
                bytes: Vec::new(),
                tokens: 0,
            };
            Ok((b.sequence, slot))
        })
        .collect()
}

enum Settled {
    Going(Slot),
    Finished(Generation, Slot),
}

/// Takes the slot's next token into its text and tells whether the sequence goes on.
fn settle(
    session: &dyn Session,
    prompts: &[Prompt],
    ends: &dyn Fn(&Prompt, &str) -> bool,
    mut slot: Slot,
) -> Settled {
    let prompt = &prompts[slot.prompt];
    let finish = if session.is_end(slot.next) {
        Some(Finish::End)
    } else {
        let before = slot.bytes.len();
        slot.bytes.extend(session.piece(slot.next));
        slot.tokens += 1;
        let longest = prompt.stop.iter().map(String::len).max().unwrap_or(0);
        let tail = &slot.bytes[before.saturating_sub(longest)..];
        let stops = prompt.stop.iter().any(|s| !s.is_empty() && contains(tail, s.as_bytes()));
        if stops && ends(prompt, &String::from_utf8_lossy(&slot.bytes)) {
            Some(Finish::Stop)
        } else if slot.tokens >= prompt.max_tokens || slot.position + 1 >= session.info().context {
            Some(Finish::Length)
        } else {
            None
        }
    };
    match finish {
        None => Settled::Going(slot),
        Some(finish) => {
            let generation = Generation {
                id: prompt.id.clone(),
                sample: slot.sample,
                text: String::from_utf8_lossy(&slot.bytes).into_owned(),
                tokens: slot.tokens,
                finish,
                foreseen: slot.foreseen,
            };
            Settled::Finished(generation, slot)
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
