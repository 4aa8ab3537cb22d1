//! What the user will do with the model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Requests of equal size that arrive together; those that find no free slot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Prompt of each request, in tokens.
    pub prompt_tokens: u32,
    /// Output of each request, in tokens.
    pub output_tokens: u32,
    /// Requests that arrive together.
    pub requests: u32,
    /// Of each prompt, tokens at its begin that all requests share (a system prompt): processed once, then reused from the KV cache.
    #[serde(default)]
    pub shared_tokens: u32,
}

/// A text that names no workload.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "invalid workload `{0}`: expected chat, agents, batch, or PROMPT:OUTPUT:REQUESTS in tokens, for example 512:128:4 (or 512:128:4:384, when \
     the first 384 tokens of all prompts are the same)"
)]
pub struct WorkloadError(String);

impl Workload {
    /// Context that one request needs, in tokens.
    #[must_use]
    pub fn context_tokens(&self) -> u32 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }
}

impl FromStr for Workload {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let usual =
            |requests| Workload { prompt_tokens: 512, output_tokens: 128, requests, shared_tokens: 0 };
        match text {
            "chat" => return Ok(usual(1)),
            "agents" => return Ok(usual(4)),
            "batch" => return Ok(usual(16)),
            _ => {}
        }
        let fail = || WorkloadError(text.to_owned());
        let numbers: Vec<u32> =
            text.split(':').map(|n| n.trim().parse().map_err(|_| fail())).collect::<Result<_, _>>()?;
        let (p, o, r, shared) = match numbers[..] {
            [p, o, r] => (p, o, r, 0),
            [p, o, r, shared] => (p, o, r, shared),
            _ => return Err(fail()),
        };
        let sound = (1..=1 << 20).contains(&p)
            && (2..=1 << 20).contains(&o)
            && (1..=1024).contains(&r)
            // Something of each prompt is left to compute: its last token gives the first of the answer.
            && shared < p;
        if !sound {
            return Err(fail());
        }
        Ok(Workload { prompt_tokens: p, output_tokens: o, requests: r, shared_tokens: shared })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.prompt_tokens, self.output_tokens, self.requests)?;
        match self.shared_tokens {
            0 => Ok(()),
            shared => write!(f, ":{shared}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_numbers() {
        assert_eq!("agents".parse::<Workload>().unwrap().requests, 4);
        let w: Workload = "256:64:2".parse().unwrap();
        assert_eq!((w.prompt_tokens, w.output_tokens, w.requests), (256, 64, 2));
        assert_eq!(w.to_string().parse::<Workload>().unwrap(), w);
        let w: Workload = "256:64:2:200".parse().unwrap();
        assert_eq!((w.shared_tokens, w.to_string().as_str()), (200, "256:64:2:200"));
        for bad in [
            "",
            "256:64:2:256",
            "512",
            "512:128",
            "0:1:1",
            "512:1:1",
            "512:128:0",
            "a:b:c",
            "512:128:4:1:1",
            "-1:2:3",
        ] {
            assert!(bad.parse::<Workload>().is_err(), "{bad}");
        }
    }
}
