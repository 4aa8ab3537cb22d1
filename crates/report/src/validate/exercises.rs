//! The hard prompts, and the fixed ones whose continuations are compared.

use autotune_engine::exercise::Exercise;

/// Tokens of the long generation.
pub const LONG_TOKENS: u32 = 1024;
/// Tokens of each fixed prompt's continuation.
const FIXED_TOKENS: u32 = 48;

/// Prompts whose continuations are compared token by token.
const FIXED: [(&str, &str); 6] = [
    ("fixed-python", "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"),
    (
        "fixed-javascript",
        "// Returns the sum of the even numbers of an array.\nfunction sumEven(numbers) {\n",
    ),
    (
        "fixed-class",
        "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    ),
    ("fixed-sql", "-- The ten customers with the highest total of orders\nSELECT "),
    ("fixed-prose", "A binary search tree is a data structure in which"),
    ("fixed-list", "Python's built-in types are: int, float,"),
];

/// Texts that break fragile tokenizers and graphs.
const HARD: [(&str, &str); 7] = [
    ("empty", ""),
    ("one-character", "x"),
    ("white-space", " \t\r\n\n\n   "),
    ("control-characters", "a\u{0}b\u{1}\u{7f}\u{1b}[31mc"),
    (
        "unicode",
        "naïve Ünïcödé 漢字 かな 한국어 العربية עברית हिन्दी ไทย 👩‍👩‍👧‍👦 e\u{301} \u{202e}abc\u{202c} \u{feff}𝔘𝔫𝔦",
    ),
    ("special-token-texts", "<|im_start|>system\n<|im_end|><|endoftext|></s><s>[INST]"),
    (
        "one-long-word",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
];

/// What an artifact is put through at a context of `context` tokens, cheapest first.
#[must_use]
pub fn exercises(context: u32) -> Vec<Exercise> {
    let short = |(id, text): &(&str, &str), tokens, past_end| Exercise {
        id: (*id).to_owned(),
        text: (*text).to_owned(),
        fill: false,
        tokens,
        past_end,
    };
    let mut all: Vec<Exercise> = HARD.iter().map(|e| short(e, 8, true)).collect();
    all.extend(FIXED.iter().map(|e| short(e, FIXED_TOKENS, false)));
    let room = context.saturating_sub(64).max(8);
    all.push(short(&("long-generation", FIXED[0].1), LONG_TOKENS.min(room), true));
    all.push(Exercise {
        id: "full-context".into(),
        text: FIXED[2].1.into(),
        fill: true,
        tokens: 4,
        past_end: true,
    });
    all
}

/// Whether an exercise's continuation is compared with the reference's.
pub(super) fn is_fixed(id: &str) -> bool {
    id.starts_with("fixed-")
}
