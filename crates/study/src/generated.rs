//! Text for recovery by the reference itself: what it writes when it goes on from pieces of the calibration text. The student then learns
//! on text as it will be asked to write, and on more of it than there is calibration text.

use autotune_engine::draw::Draws;
use autotune_engine::generate::{Generation, Prompt};

/// The text is cut into pieces of about this many bytes, ...
const PIECE_BYTES: usize = 500;
/// ... of which the reference reads about this many.
const READ_BYTES: usize = 160;
/// Tokens of a continuation, at most.
const TOKENS: u32 = 192;
/// Continuations of a piece in addition to the greedy one, sampled as for pass@k.
const DRAWN: u32 = 2;
const TEMPERATURE: f64 = 0.8;
const TOP_P: f64 = 0.95;

/// What the reference is to go on from: the first lines of each piece of a text.
pub(super) fn prompts(text: &str, seed: u64) -> Vec<Prompt> {
    let draws = Draws { samples: DRAWN, temperature: TEMPERATURE, top_p: TOP_P, seed };
    let mut prompts: Vec<Prompt> = Vec::new();
    let (mut read, mut piece) = (String::new(), 0);
    for line in text.split_inclusive('\n') {
        if piece < READ_BYTES {
            read += line;
        }
        piece += line.len();
        if piece >= PIECE_BYTES {
            let (id, text) = (prompts.len().to_string(), std::mem::take(&mut read));
            let draws = Some(draws);
            prompts.push(Prompt { id, text, max_tokens: TOKENS, draws, ..Prompt::default() });
            piece = 0;
        }
    }
    prompts
}

/// The continuations with what they go on from, in the prompts' order, and behind them the text itself: recovery holds its end out.
pub(super) fn joined(prompts: &[Prompt], generations: &[Generation], text: &str) -> String {
    let mut all = String::new();
    for prompt in prompts {
        let mut own: Vec<&Generation> = generations.iter().filter(|g| g.id == prompt.id).collect();
        own.sort_by_key(|g| g.sample);
        for generation in own {
            all += &prompt.text;
            all += &generation.text;
            all += "\n\n";
        }
    }
    all + text
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_engine::generate::Finish;

    #[test]
    fn pieces_are_read_from_their_beginning_and_joined_in_order() {
        let line = |i: usize| format!("value_{i:03} = compute(the, same, {i:03})  # a line of fifty bytes\n");
        let text: String = (0..30).map(line).collect();
        let prompts = prompts(&text, 1);
        assert_eq!(prompts.len(), text.len() / (PIECE_BYTES.div_ceil(line(0).len()) * line(0).len()));
        assert!(prompts[0].text.starts_with("value_000") && prompts[0].text.ends_with('\n'));
        assert!((READ_BYTES..READ_BYTES + line(0).len()).contains(&prompts[1].text.len()));
        assert_eq!(prompts[0].samples(), 1 + DRAWN);
        let told = |id: &str, sample, text: &str| Generation {
            id: id.to_owned(),
            sample,
            text: text.to_owned(),
            tokens: 1,
            finish: Finish::Length,
            foreseen: None,
        };
        let generations = [told("1", 0, "C"), told("0", 1, "B"), told("0", 0, "A")];
        let joined = joined(&prompts, &generations, &text);
        let at = |what: &str| joined.find(what).unwrap();
        assert!(at("\nA\n\n") < at("\nB\n\n") && at("\nB\n\n") < at("\nC\n\n"));
        assert!(joined.ends_with(&text));
    }
}
