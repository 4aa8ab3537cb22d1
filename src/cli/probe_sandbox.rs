//! What `autotune probe` says of the sandbox: the layers that are active, and what can be executed.

use serde::Serialize;

use super::probe::Section;
use crate::quality::tasks::TaskLanguage;
use crate::sandbox;
use crate::sandbox::{Layers, Mode, Sandbox};

/// The sandbox on this machine.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SandboxState {
    layers: Layers,
    /// Whether `--sandbox strict` runs.
    strict: bool,
    /// The interpreters found, or why there is none.
    python: Executed,
    javascript: Executed,
}

/// Whether a language's programs can be executed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
enum Executed {
    By { path: String, version: String },
    Not(String),
}

impl Executed {
    fn found(&self) -> Result<String, String> {
        match self {
            Executed::By { path, version } => Ok(format!("{version} at {path}")),
            Executed::Not(reason) => Err(reason.clone()),
        }
    }
}

impl SandboxState {
    /// Tries every layer in a child process, and looks for interpreters.
    pub(super) fn probe() -> Self {
        let layers = sandbox::probe();
        let settings = sandbox::Settings { mode: Mode::Off, jobs: 1, ..sandbox::Settings::default() };
        let mut judge = Sandbox::new(settings);
        let mut executed = |language| match &mut judge {
            Ok(judge) => match judge.interpreter(language) {
                Ok(found) => Executed::By {
                    path: found.path.display().to_string(),
                    version: found.version.trim().to_owned(),
                },
                Err(error) => Executed::Not(error.to_string()),
            },
            Err(error) => Executed::Not(error.to_string()),
        };
        let (python, javascript) = (executed(TaskLanguage::Python), executed(TaskLanguage::JavaScript));
        Self { layers, strict: layers.is_strict(), python, javascript }
    }

    /// Whether `--sandbox strict` runs.
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether system calls can be filtered, which `--sandbox auto` needs.
    pub(super) fn has_seccomp(&self) -> bool {
        self.layers.seccomp
    }

    /// Whether control groups can be created.
    pub(super) fn has_cgroups(&self) -> bool {
        self.layers.cgroups
    }

    /// The layers that `--sandbox strict` lacks.
    pub(super) fn missing(&self) -> String {
        self.layers.missing()
    }

    /// The interpreter of Python, or why there is none.
    pub(super) fn python(&self) -> Result<String, String> {
        self.python.found()
    }

    /// The interpreter of JavaScript, or why there is none.
    pub(super) fn javascript(&self) -> Result<String, String> {
        self.javascript.found()
    }

    /// The layers that are available.
    pub(super) fn layer_names(&self) -> Vec<String> {
        let l = &self.layers;
        let mut active: Vec<String> = Vec::new();
        if l.landlock_abi > 0 {
            active.push(format!("landlock (ABI {})", l.landlock_abi));
        }
        let namespaces = if l.user_namespace { "namespaces (with a user namespace)" } else { "namespaces" };
        let others = [
            (l.seccomp, "seccomp"),
            (l.rlimits, "rlimits"),
            (l.namespaces, namespaces),
            (l.cgroups, "control groups"),
        ];
        active.extend(others.iter().filter(|(there, _)| *there).map(|(_, name)| (*name).to_owned()));
        active
    }

    /// The rows of the table.
    pub(super) fn section(&self) -> Section {
        let (l, active) = (&self.layers, self.layer_names());
        let layers = if active.is_empty() { "none".to_owned() } else { active.join(", ") };
        let mode = if self.strict {
            "strict: model-written code is confined".to_owned()
        } else if l.seccomp {
            format!("auto, without {}; --sandbox strict refuses", l.missing())
        } else {
            "model-written code is not run; --sandbox off would run it unprotected".to_owned()
        };
        let by = |executed: &Executed| executed.found().unwrap_or_else(|reason| reason);
        Section {
            title: "Sandbox",
            rows: vec![
                ("layers", layers),
                ("mode", mode),
                ("Python", by(&self.python)),
                ("JavaScript", by(&self.javascript)),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(layers: Layers) -> SandboxState {
        let python = Executed::By { path: "/usr/bin/python3".into(), version: "3.11.2".into() };
        let javascript = Executed::Not("no usable `node`".into());
        SandboxState { layers, strict: layers.is_strict(), python, javascript }
    }

    fn text(layers: Layers) -> String {
        let section = state(layers).section();
        section.rows.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
    }

    #[test]
    fn a_machine_with_everything_is_strict() {
        let all = Layers {
            landlock_abi: 6,
            seccomp: true,
            rlimits: true,
            namespaces: true,
            user_namespace: true,
            cgroups: true,
        };
        insta::assert_snapshot!(text(all), @r"
        layers: landlock (ABI 6), seccomp, rlimits, namespaces (with a user namespace), control groups
        mode: strict: model-written code is confined
        Python: 3.11.2 at /usr/bin/python3
        JavaScript: no usable `node`
        ");
        let json = serde_json::to_value(state(all)).unwrap();
        assert_eq!(json["layers"]["landlock_abi"], 6);
        assert_eq!(json["python"]["by"]["version"], "3.11.2");
    }

    #[test]
    fn a_machine_that_lacks_layers_says_which() {
        let some = Layers { seccomp: true, rlimits: true, ..Layers::default() };
        assert!(text(some).contains("auto, without landlock; --sandbox strict refuses"), "{}", text(some));
        assert!(text(Layers::default()).contains("layers: none\nmode: model-written code is not run"));
    }
}
