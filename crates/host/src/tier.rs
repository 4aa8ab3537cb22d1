//! The deployment tier that an amount of memory suggests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A class of machines by usable memory. The bounds are GiB, since that is what RAM is sold in, and belong to the lower tier: a
/// machine sold with 8 GB is `mobile`, one with 16 GB `desktop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Below 6 GiB: room for small models only.
    Tiny,
    /// 6 to 8 GiB.
    Mobile,
    /// Over 8 to 12 GiB.
    Edge,
    /// Over 12 to 16 GiB.
    Desktop,
    /// Over 16 GiB.
    Server,
}

/// How a tier runs a model where nothing was searched: 4-bit weights on phones, 8-bit at the edge, and half precision, which is the finest
/// that is built from a float source, on desktops and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// llama.cpp's preset of the weights.
    pub weights: &'static str,
    /// Context of each request, in tokens.
    pub context: u32,
    /// Requests that are decoded together.
    pub requests: u32,
    /// Compute threads.
    pub threads: u32,
}

const GIB: u64 = 1 << 30;

impl Tier {
    /// The tier of `usable_bytes`.
    #[must_use]
    pub fn of(usable_bytes: u64) -> Self {
        match usable_bytes {
            n if n < 6 * GIB => Tier::Tiny,
            n if n <= 8 * GIB => Tier::Mobile,
            n if n <= 12 * GIB => Tier::Edge,
            n if n <= 16 * GIB => Tier::Desktop,
            _ => Tier::Server,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::Tiny => "tiny",
            Tier::Mobile => "mobile",
            Tier::Edge => "edge",
            Tier::Desktop => "desktop",
            Tier::Server => "server",
        }
    }

    /// The tier of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Tier::Tiny, Tier::Mobile, Tier::Edge, Tier::Desktop, Tier::Server]
            .into_iter()
            .find(|t| t.name() == name)
    }

    /// How a machine of the tier is asked to run a model.
    #[must_use]
    pub fn demand(self) -> Demand {
        let (weights, context, requests, threads) = match self {
            Tier::Tiny | Tier::Mobile => ("Q4_K_M", 4096, 1, 4),
            Tier::Edge => ("Q8_0", 8192, 2, 6),
            Tier::Desktop => ("F16", 16_384, 4, 8),
            Tier::Server => ("F16", 32_768, 8, 16),
        };
        Demand { weights, context, requests, threads }
    }

    /// The preset of `search-spaces/` that was made for it; the smallest tier takes the next one's.
    #[must_use]
    pub fn space(self) -> &'static str {
        match self {
            Tier::Tiny => Tier::Mobile.name(),
            other => other.name(),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_as_they_are_sold_find_their_tier() {
        // A kernel keeps some of the RAM for itself.
        let sold = |gib: u64| Tier::of(gib * GIB - gib * GIB / 40);
        assert_eq!(
            [4, 8, 12, 16, 24, 32].map(sold).map(Tier::name),
            ["tiny", "mobile", "edge", "desktop", "server", "server"]
        );
        assert_eq!([8, 12, 16].map(|n| Tier::of(n * GIB).name()), ["mobile", "edge", "desktop"]);
        assert_eq!(Tier::of(0), Tier::Tiny);
    }

    #[test]
    fn every_tier_has_a_preset() {
        for tier in [Tier::Tiny, Tier::Mobile, Tier::Edge, Tier::Desktop, Tier::Server] {
            assert!(autotune_core::space::preset_names().any(|name| name == tier.space()), "{tier}");
        }
    }
}
