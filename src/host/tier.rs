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
            assert!(crate::space::preset_names().any(|name| name == tier.space()), "{tier}");
        }
    }
}
