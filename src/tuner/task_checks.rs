//! Verifies, before anything is graded, which tasks can distinguish right from wrong programs; reports progress and caches the results.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::default_cache_dir;
use crate::quality::proof::{Cache, Context, Proof, Summary, prove};
use crate::quality::tasks::{Task, TaskLanguage, imported};
use crate::sandbox::{Sandbox, SandboxError};
use crate::study::Observer;

/// The file of the cache's folder that keeps what was found.
const FILE: &str = "task-proofs.jsonl";
/// Progress is reported from this many tasks on.
const LONG: usize = 128;

/// The proof of each task, and the summary.
///
/// # Errors
/// Nothing can be judged.
pub(crate) fn check(
    tasks: &[Task],
    sandbox: &mut Sandbox,
    observer: &mut dyn Observer,
) -> Result<(Vec<Proof>, Summary), SandboxError> {
    let file = default_cache_dir().map(|folder| folder.join(FILE));
    let mut cache = Cache::open(file.as_deref(), context(tasks, sandbox));
    let proofs = prove(tasks, sandbox, &mut cache, &mut |done, all| {
        if all >= LONG {
            observer
                .remark(&format!("checked {done} of {all} tasks by their solutions and by wrong programs"));
        }
    })?;
    let summary = Summary::of(tasks, &proofs);
    Ok((proofs, summary))
}

/// That tests import packages, and of which interpreter: another machine may not have them. Nothing where none do.
pub(crate) fn packages(tasks: &[Task], sandbox: &mut Sandbox) -> Option<String> {
    let python = sandbox.interpreter(TaskLanguage::Python).ok()?;
    let mut used = BTreeSet::new();
    let mut count = 0;
    for task in tasks.iter().filter(|task| task.language == TaskLanguage::Python) {
        let all = [&task.tests, &task.setup, &task.prompt].map(|source| imported(source));
        let found: BTreeSet<&str> =
            all.into_iter().flatten().filter(|module| python.has_package(module)).collect();
        count += usize::from(!found.is_empty());
        used.extend(found);
    }
    let names = used.into_iter().collect::<Vec<_>>().join(", ");
    (count > 0).then(|| {
        format!(
            "packages that tasks import, as installed for {}: {names} (tasks: {count})",
            python.path.display()
        )
    })
}

/// What a proof depends on besides its task.
fn context(tasks: &[Task], sandbox: &mut Sandbox) -> Context {
    let judge = std::env::current_exe().unwrap_or_default();
    Context {
        limits: format!("{:?} {:?}", sandbox.settings().limits, sandbox.layers()),
        judge: format!("{} {}", env!("CARGO_PKG_VERSION"), state(&judge)),
        interpreters: interpreters(tasks, sandbox),
    }
}

/// The interpreters that run the tests of these tasks, with what they can import.
pub(crate) fn interpreters(tasks: &[Task], sandbox: &mut Sandbox) -> Vec<(TaskLanguage, String)> {
    let used = [TaskLanguage::Python, TaskLanguage::JavaScript, TaskLanguage::TypeScript]
        .into_iter()
        .filter(|language| tasks.iter().any(|task| task.language == *language));
    used.filter_map(|language| {
        let found = sandbox.interpreter(language).ok()?;
        // A package that is installed or removed changes its folder.
        let packages: Vec<String> = found.packages.iter().map(|folder| state(folder)).collect();
        Some((language, format!("{} {} {packages:?}", found.path.display(), found.version)))
    })
    .collect()
}

/// A file or folder as it is now: where it is, when it was changed, how large it is.
fn state(path: &Path) -> String {
    let known = path.metadata().ok();
    let changed = known
        .as_ref()
        .and_then(|m| m.modified().ok())
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let nanoseconds = changed.map_or(0, |t| t.as_nanos());
    format!("{} {nanoseconds} {}", path.display(), known.map_or(0, |m| m.len()))
}
