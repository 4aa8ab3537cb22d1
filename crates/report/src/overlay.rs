//! Fronts of other studies, to lie over a study's figure.

use super::compare::doubts;
use super::{Analysis, Result};
use autotune_store::Store;

/// So many earlier studies are offered when none is named.
const OFFERED: usize = 3;
/// Larger studies are overlaid only when they are named: reading them takes longer than the page itself.
const LARGEST: u64 = 2000;

/// Another study.
#[derive(Debug)]
pub struct Overlay {
    /// What is known of it.
    pub analysis: Analysis,
    /// What makes its numbers compare badly with the page's own: other machines, engines, workloads.
    pub doubts: Vec<String>,
    /// Whether it is shown before the reader asks.
    pub shown: bool,
}

impl Overlay {
    /// A study that the user named.
    #[must_use]
    pub fn named(analysis: Analysis, over: &Analysis) -> Self {
        Self { doubts: doubts(over, &analysis), analysis, shown: true }
    }

    /// The newest other studies of the same model in a database, for the reader to switch on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn earlier(store: &Store, over: &Analysis) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for study in store.studies()?.iter().rev() {
            let same = study.model_hash == over.study.model_hash && study.id != over.study.id;
            if !same || study.trial_count() > LARGEST {
                continue;
            }
            let analysis = Analysis::load(store, study.id)?;
            if !analysis.recommendation.front.is_empty() {
                found.push(Self { shown: false, ..Self::named(analysis, over) });
            }
            if found.len() == OFFERED {
                break;
            }
        }
        Ok(found)
    }
}
