//! What a number depends on: the model, the tasks, the space, the texts, the engine, the program and the class of the machine.
//!
//! The identity is gathered when a study begins, stored with it, and compared before each use. What differs is either refused, since the
//! user meant the inputs that the study was begun with, or opens a new segment, since trials on another machine or by another program are as
//! good but compare with none of the earlier ones. `docs/src/explanation/measuring.md` has the table.

mod file;
mod guard;
mod host;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use file::{FileIdentity, Hashes, Stamp, files_of, sha256_file};
pub use guard::{Changed, Guard};
pub use host::host_parts;

/// What becomes of a study when a component is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// It is not gone on with, unless the user asks for a new segment.
    Refuse,
    /// It goes on in a new segment.
    Segment,
    /// It goes on: what the study works with was stored with it.
    Tell,
}

macro_rules! components {
    ($($(#[$doc:meta])* $case:ident = $name:literal, $label:literal, $policy:ident;)+) => {
        /// A thing that numbers depend on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Component { $($(#[$doc])* $case,)+ }

        impl Component {
            /// All of them.
            pub const ALL: &'static [Component] = &[$(Component::$case),+];

            /// The name in the database and in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Component::$case => $name,)+ }
            }

            /// What people call it.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Component::$case => $label,)+ }
            }

            /// What becomes of a study when it differs.
            #[must_use]
            pub fn on_change(self) -> OnChange {
                match self { $(Component::$case => OnChange::$policy,)+ }
            }
        }
    };
}

components! {
    /// The file that candidates are made from, by its content.
    Model = "model", "the model", Refuse;
    /// The Hugging Face folder that it was converted from, by the content of every file.
    ModelSource = "model_source", "the model's folder", Refuse;
    /// The task file, by its content.
    Tasks = "tasks", "the task file", Refuse;
    /// Calibration text of the user's own, by its content.
    Calibration = "calibration", "the calibration text", Refuse;
    /// What the model is timed with.
    Workload = "workload", "the workload", Refuse;
    /// The space file, by its content. The levels that it came to are stored with the study.
    Space = "space", "the space file", Tell;
    /// The tasks that are graded here, with their prompts: some may lack an interpreter or a module.
    GradedTasks = "graded_tasks", "the tasks that can be graded", Segment;
    /// The interpreters that run the tests.
    Interpreters = "interpreters", "the interpreters that run the tests", Segment;
    /// Calibration, held-out and timing text that is shipped with the program.
    Texts = "texts", "the shipped calibration and held-out text", Segment;
    /// This program.
    Program = "program", "the program", Segment;
    /// The library that runs and quantizes.
    Engine = "engine", "the engine", Segment;
    /// The instruction sets that its kernels were built for and use here, and the device.
    Kernels = "kernels", "the engine's kernels", Segment;
    /// The processor.
    Processor = "processor", "the processor", Segment;
    /// Cores that this process may use: affinity mask and quota count.
    Cores = "cores", "the usable cores", Segment;
    /// Memory that this process may use.
    Memory = "memory", "the memory limit", Segment;
    /// GPUs.
    Gpus = "gpus", "the GPUs", Segment;
}

/// A component as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What is compared.
    pub value: String,
    /// The same for people, where the value alone tells little (a hash).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

impl Part {
    /// A component that reads well as it is.
    #[must_use]
    pub fn plain(value: impl Into<String>) -> Self {
        Self { value: value.into(), shown: None }
    }

    /// A component whose content is compared by a hash.
    #[must_use]
    pub fn hashed(sha256: &str, shown: impl Into<String>) -> Self {
        Self { value: format!("sha256:{sha256}"), shown: Some(shown.into()) }
    }

    /// Text of the program's own or in memory, by its content.
    #[must_use]
    pub fn of_text(text: &str, shown: impl Into<String>) -> Self {
        Self::hashed(&sha256_text(text), shown)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            None => f.write_str(&self.value),
            Some(shown) => {
                let hash = self.value.strip_prefix("sha256:").unwrap_or(&self.value);
                write!(f, "{shown}, SHA-256 {}", hash.get(..12).unwrap_or(hash))
            }
        }
    }
}

/// SHA-256 of a text, hexadecimal.
#[must_use]
pub fn sha256_text(text: &str) -> String {
    autotune_core::hex::encode(Sha256::digest(text.as_bytes()))
}

/// Everything that a study's numbers depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity {
    parts: BTreeMap<String, Part>,
}

impl Identity {
    /// With a component.
    #[must_use]
    pub fn with(mut self, component: Component, part: Part) -> Self {
        self.parts.insert(component.name().to_owned(), part);
        self
    }

    /// A component; none where it is unknown, or the study has no such thing.
    #[must_use]
    pub fn part(&self, component: Component) -> Option<&Part> {
        self.parts.get(component.name())
    }

    /// What differs from a stored identity. A component that is not stored is no difference: an earlier version did not record it.
    #[must_use]
    pub fn differences(&self, stored: &Identity) -> Vec<Difference> {
        let one = |&component: &Component| {
            let before = stored.part(component)?;
            let now = self.part(component);
            (now.map(|n| &n.value) != Some(&before.value)).then(|| Difference {
                component,
                before: before.clone(),
                now: now.cloned(),
            })
        };
        Component::ALL.iter().filter_map(one).collect()
    }

    /// The components that a stored identity lacks.
    #[must_use]
    pub fn unknown_in(&self, stored: &Identity) -> Vec<Component> {
        let lacks = |c: &Component| self.part(*c).is_some() && stored.part(*c).is_none();
        Component::ALL.iter().copied().filter(lacks).collect()
    }

    /// The stored identity with what it lacked taken from this one.
    #[must_use]
    pub fn filled_into(&self, stored: &Identity) -> Self {
        let mut parts = self.parts.clone();
        parts.extend(stored.parts.clone());
        Self { parts }
    }
}

/// A component that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub component: Component,
    /// As it was when the study, or its segment, began.
    pub before: Part,
    /// As it is; none where there is no such thing any more.
    pub now: Option<Part>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differs: {} then, ", self.component.label(), self.before)?;
        match &self.now {
            Some(now) => write!(f, "{now} now"),
            None => f.write_str("none now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &str) -> Identity {
        let with = |identity: Identity, c: &Component| identity.with(*c, Part::plain(value));
        Component::ALL.iter().fold(Identity::default(), with)
    }

    #[test]
    fn every_component_that_differs_is_named_and_no_other() {
        let stored = all("a");
        assert!(all("a").differences(&stored).is_empty());
        for &component in Component::ALL {
            let now = stored.clone().with(component, Part::plain("b"));
            let differences = now.differences(&stored);
            assert_eq!(differences.iter().map(|d| d.component).collect::<Vec<_>>(), [component]);
            assert!(differences[0].to_string().contains(component.label()));
        }
    }

    #[test]
    fn what_was_never_recorded_is_no_difference_but_is_filled_in() {
        let known = Identity::default().with(Component::Model, Part::plain("a"));
        assert!(all("a").differences(&known).is_empty());
        assert_eq!(all("a").unknown_in(&known).len(), Component::ALL.len() - 1);
        assert_eq!(all("b").filled_into(&known).part(Component::Model), Some(&Part::plain("a")));
        assert!(all("a").unknown_in(&all("b").filled_into(&known)).is_empty());
    }

    #[test]
    fn an_identity_survives_its_text() {
        let identity = all("a").with(Component::Tasks, Part::of_text("x", "t.jsonl (1 byte)"));
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    }
}
