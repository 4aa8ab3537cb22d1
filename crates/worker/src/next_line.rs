//! The worker's side of completion accuracy: the next line of held-out code, written greedily.
//!
//! The windows are decoded for the divergence anyway. Where the likeliest tokens are the code's own, the greedy line is the code's; so only
//! from the first other token on is anything generated, in all windows at once.

use autotune_core::logits::argmax;
use autotune_engine::{EngineError, Row, Session, Token};
use autotune_quality::accuracy::Line;
use autotune_quality::divergence::UNSCORED;

/// Lines asked for in each window, spread evenly: written tokens are what this costs.
const LINES: usize = 12;
/// A line may be written this many tokens longer than it is ...
const LENGTH_MARGIN: usize = 8;
/// ... but no more than this many behind the first that differs.
const LONGEST: usize = 24;

/// A window in a sequence of its own, decoded to its end.
pub(super) struct Window<'a> {
    /// Its tokens.
    pub(super) tokens: &'a [Token],
    /// The likeliest token at each place of the window, judged from all before it; none where that was not scored.
    pub(super) likeliest: Vec<Option<Token>>,
}

impl<'a> Window<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, likeliest: vec![None; tokens.len()] }
    }
}

/// A line that went another way, to be continued.
struct Detour {
    line: usize,
    /// Where the window is left.
    position: u32,
    next: Token,
    bytes: Vec<u8>,
    /// Tokens that may still be written.
    left: usize,
}

/// One line of a window that is asked for.
struct Asked {
    /// Its first token, the token behind the one that holds the line break before it.
    begin: usize,
    /// The token that holds its line break.
    end: usize,
}

/// Completes lines of the windows that begin behind enough text and end inside; window `i` lies in sequence `i`, and is
/// shortened as lines are completed from the last to the first.
///
/// # Errors
/// A decode call failed, or the model cannot forget.
pub(super) fn complete(session: &mut dyn Session, windows: &[Window<'_>]) -> Result<Vec<Line>, EngineError> {
    let mut lines = Vec::new();
    let mut waiting: Vec<Vec<Detour>> = Vec::new();
    for window in windows {
        let pieces: Vec<Vec<u8>> = window.tokens.iter().map(|&t| session.piece(t)).collect();
        let mut detours = Vec::new();
        let mut lines_here: Vec<(Asked, String)> = asked(&pieces)
            .into_iter()
            .map(|asked| {
                let expected = first_line(&pieces[asked.begin..=asked.end].concat());
                (asked, expected)
            })
            .filter(|(asked, expected)| !expected.is_empty() && window.likeliest[asked.begin].is_some())
            .collect();
        let n = lines_here.len();
        let mut index = 0;
        lines_here.retain(|_| {
            index += 1;
            n <= LINES || index * LINES / n > (index - 1) * LINES / n
        });
        for (asked, expected) in lines_here {
            let (written, detour) = follow(session, window, &pieces, &asked, lines.len());
            detours.extend(detour);
            lines.push(Line { expected, written });
        }
        waiting.push(detours);
    }
    let mut active: Vec<Option<Detour>> = waiting.iter().map(|_| None).collect();
    loop {
        for (sequence, place) in active.iter_mut().enumerate() {
            // The last of a window first: what lies before it is still there.
            if place.is_none()
                && let Some(detour) = waiting[sequence].pop()
            {
                session.truncate(sequence as u32, detour.position)?;
                *place = Some(detour);
            }
        }
        let moving: Vec<usize> = (0..active.len()).filter(|&s| active[s].is_some()).collect();
        let rows: Vec<Row> = moving
            .iter()
            .filter_map(|&sequence| {
                let d = active[sequence].as_ref()?;
                Some(Row { token: d.next, position: d.position, sequence: sequence as u32, logits: true })
            })
            .collect();
        if rows.is_empty() {
            return Ok(lines);
        }
        session.decode(&rows)?;
        for (index, &sequence) in moving.iter().enumerate() {
            let next = argmax(session.logits(index)?);
            let context = session.info().context;
            if let Some(detour) = &mut active[sequence] {
                detour.position += 1;
                detour.left -= 1;
                detour.next = next;
                let ended = detour.position >= context || take(session, detour);
                if ended {
                    lines[detour.line].written = first_line(&detour.bytes);
                    active[sequence] = None;
                }
            }
        }
    }
}

/// Where lines begin and end, in tokens.
fn asked(pieces: &[Vec<u8>]) -> Vec<Asked> {
    let breaks: Vec<usize> = (0..pieces.len()).filter(|&i| pieces[i].contains(&b'\n')).collect();
    breaks
        .windows(2)
        .map(|pair| Asked { begin: pair[0] + 1, end: pair[1] })
        .filter(|asked| asked.begin > UNSCORED && asked.begin <= asked.end)
        .collect()
}

/// Follows the code as long as it is the likeliest: the whole line, or what is to be continued.
fn follow(
    session: &dyn Session,
    window: &Window<'_>,
    pieces: &[Vec<u8>],
    asked: &Asked,
    line: usize,
) -> (String, Option<Detour>) {
    let mut bytes = Vec::new();
    for (place, piece) in pieces.iter().enumerate().take(asked.end + 1).skip(asked.begin) {
        let Some(next) = window.likeliest[place] else { break };
        if next != window.tokens[place] {
            let left = (asked.end + 1 - place + LENGTH_MARGIN).min(LONGEST);
            let mut detour = Detour { line, position: place as u32, next, bytes, left };
            let ended = take(session, &mut detour);
            return (first_line(&detour.bytes), (!ended).then_some(detour));
        }
        bytes.extend(piece);
    }
    (first_line(&bytes), None)
}

/// Takes the next token into the text; whether the line ends with it.
fn take(session: &dyn Session, detour: &mut Detour) -> bool {
    if session.is_end(detour.next) {
        return true;
    }
    let piece = session.piece(detour.next);
    detour.bytes.extend(&piece);
    // Blank lines before the answer's first are passed over, as they are in the code.
    (piece.contains(&b'\n') && !first_line(&detour.bytes).is_empty()) || detour.left == 0
}

/// The first line that is not blank, without white space around it.
fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
