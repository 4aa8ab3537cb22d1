//! Levels excluded after failures: a level that failed twice for one reason, and never worked, is not proposed a third time.
//!
//! A pure function of the ended trials, so that a resumed study leaves out the same levels. For each reason, the levels that the failed
//! candidates share are suspects, except those that some other trial brought past the rung at which these failed. Of the suspects, the
//! level that explains most of the failures is left out; where several explain as many, those that the reason names, else those of the
//! parameters that an engine most often refuses. Should a later failure show that another level explains more, the answer changes.

use std::collections::BTreeMap;
use std::fmt;

use super::presets;
use autotune_core::space::{Point, Space, Value};
use autotune_store::{FailureKind, Rung, TrialRecord, TrialState};

/// Failures of one reason that teach.
const ENOUGH: usize = 2;

/// A level that is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The parameter, as an index into the space.
    pub param: usize,
    /// The level, as an index into the parameter.
    pub level: usize,
    /// The parameter's name.
    pub name: String,
    /// The level as it prints.
    pub value: String,
    /// The failed trials that it explains, at least two.
    pub trials: Vec<u64>,
    /// Why the first of them failed.
    pub reason: String,
}

impl fmt::Display for Lesson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trials: Vec<String> = self.trials.iter().map(u64::to_string).collect();
        write!(
            f,
            "`{}`: {} left out: trials {} failed with it for one reason ({}), and no trial with it came further",
            self.name,
            self.value,
            trials.join(" and "),
            self.reason
        )
    }
}

/// A failed trial whose candidate is a point of the space.
struct Failed<'a> {
    trial: &'a TrialRecord,
    point: Point,
    reason: &'a str,
}

/// The levels that are left out after these trials.
#[must_use]
pub fn learn(space: &Space, trials: &[TrialRecord]) -> Vec<Lesson> {
    let mut groups: BTreeMap<(FailureKind, String), Vec<Failed<'_>>> = BTreeMap::new();
    for trial in trials.iter().filter(|t| t.state == TrialState::Failed) {
        // Presets differ from each other in more than the space can say: they are no witnesses against a level, only for it.
        let (Some(point), Some(failure)) = (space.point(&trial.candidate), &trial.failure) else { continue };
        let key = (failure.kind.clone(), gist(&failure.text, space));
        groups.entry(key).or_default().push(Failed { trial, point, reason: &failure.text });
    }
    let mut lessons: Vec<Lesson> = Vec::new();
    for failures in groups.into_values().filter(|failures| failures.len() >= ENOUGH) {
        lessons_of(space, trials, failures, &mut lessons);
    }
    lessons
}

fn lessons_of(
    space: &Space,
    trials: &[TrialRecord],
    mut failures: Vec<Failed<'_>>,
    lessons: &mut Vec<Lesson>,
) {
    let Some(stage) = failures.iter().map(|f| f.trial.rung).max() else { return };
    let works = working(space, trials, stage);
    // Where nothing ever worked, no level is to blame.
    if works.iter().all(|levels| levels.iter().all(|works| !works)) {
        return;
    }
    while failures.len() >= ENOUGH {
        let suspects = suspects(space, &works, &failures);
        let most = suspects.iter().map(|s| s.2).max().unwrap_or(0);
        if most < ENOUGH {
            return;
        }
        let gist = gist_words(failures[0].reason);
        let rank = |param: usize, level: usize| {
            let value = space.params[param].levels[level].to_string().to_lowercase();
            (!gist.contains(&value), class(&space.params[param].name))
        };
        let tied = suspects.into_iter().filter(|s| s.2 == most);
        let tied: Vec<_> = tied.map(|(param, level, _)| (rank(param, level), param, level)).collect();
        let Some(best) = tied.iter().map(|t| t.0).min() else { return };
        let chosen: Vec<(usize, usize)> =
            tied.into_iter().filter(|t| t.0 == best).map(|t| (t.1, t.2)).collect();
        for &(param, level) in &chosen {
            let with: Vec<&Failed<'_>> = failures.iter().filter(|f| f.point[param] == level).collect();
            let known = lessons.iter().any(|l| (l.param, l.level) == (param, level));
            let left = space.params[param].levels.len() - lessons.iter().filter(|l| l.param == param).count();
            if known || left <= 1 {
                continue;
            }
            lessons.push(Lesson {
                param,
                level,
                name: space.params[param].name.clone(),
                value: space.params[param].levels[level].to_string(),
                trials: with.iter().map(|f| f.trial.number).collect(),
                reason: with[0].reason.to_owned(),
            });
        }
        failures.retain(|f| chosen.iter().all(|&(param, level)| f.point[param] != level));
    }
}

/// By parameter and level: whether a trial with it came past the rung at which others failed.
fn working(space: &Space, trials: &[TrialRecord], stage: Option<Rung>) -> Vec<Vec<bool>> {
    let mut works: Vec<Vec<bool>> = space.params.iter().map(|p| vec![false; p.levels.len()]).collect();
    for trial in
        trials.iter().filter(|t| t.state.is_ended() && (t.state == TrialState::Complete || t.rung > stage))
    {
        let candidate = presets::as_groups(&trial.candidate);
        for (param, works) in space.params.iter().zip(&mut works) {
            let level = candidate.get(&param.name).and_then(|v| param.levels.iter().position(|l| l == v));
            if let Some(level) = level {
                works[level] = true;
            }
        }
    }
    works
}

/// Levels of several failures that never worked: parameter, level, failures.
fn suspects(space: &Space, works: &[Vec<bool>], failures: &[Failed<'_>]) -> Vec<(usize, usize, usize)> {
    let mut suspects = Vec::new();
    for (param, levels) in space.params.iter().enumerate().map(|(i, p)| (i, p.levels.len())) {
        for level in (0..levels).filter(|&level| levels > 1 && !works[param][level]) {
            let count = failures.iter().filter(|f| f.point[param] == level).count();
            if count >= ENOUGH {
                suspects.push((param, level, count));
            }
        }
    }
    suspects
}

/// How often an engine refuses a level of a parameter for what it is, the most often first.
fn class(param: &str) -> u8 {
    match param {
        name if name.starts_with("kv.") => 0,
        "gpu_layers" => 1,
        name if name.starts_with("weights.") => 2,
        name if name.starts_with("prune.") => 3,
        _ => 4,
    }
}

/// A failure's text without what differs between trials that fail for one reason: paths, numbers, and the names of levels.
fn gist(text: &str, space: &Space) -> String {
    let names: Vec<String> = space
        .params
        .iter()
        .flat_map(|p| &p.levels)
        .filter_map(|level| match level {
            Value::Text(name) => Some(name.to_lowercase()),
            _ => None,
        })
        .collect();
    let words = text.split_whitespace().map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if word.contains('/') {
            "<path>".to_owned()
        } else if names.contains(&bare) {
            "<level>".to_owned()
        } else {
            word.split(|c: char| c.is_ascii_digit())
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("#")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The words of a reason, in lower case.
fn gist_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use autotune_core::space::{Candidate, Param, ParamKind};
    use autotune_store::{
        Asked, EndState, Failure, FinishedRung, NewStudy, NewTrial, Origin, Store, StudyId, WorkerIdentity,
    };

    fn space() -> Space {
        let texts = |names: &[&str]| names.iter().map(|n| Value::Text((*n).into())).collect();
        let param = |name: &str, levels| Param { name: name.into(), kind: ParamKind::Ordinal, levels };
        let params = vec![
            param("weights.ffn", texts(&["Q4_K", "Q6_K", "Q8_0"])),
            param("kv.k", texts(&["q8_0", "f16"])),
            param("threads", vec![Value::Int(1), Value::Int(2), Value::Int(4)]),
        ];
        Space { name: "s".into(), description: String::new(), params }
    }

    struct Trials {
        _folder: tempfile::TempDir,
        store: Store,
        study: StudyId,
    }

    impl Trials {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("t.db")).unwrap();
            let json = || "{}".to_owned();
            let new = NewStudy {
                name: "s".into(),
                command: String::new(),
                settings_json: json(),
                space_json: json(),
                seed: 1,
                budget_bytes: 1,
                model_path: String::new(),
                model_hash: String::new(),
                engine: "mock".into(),
                objectives_json: json(),
                host_fingerprint: String::new(),
                host_json: json(),
                versions_json: json(),
            };
            let study = store.create_study(&new).unwrap();
            Self { _folder: folder, store, study }
        }

        /// A trial that reached a rung and failed for a reason, or completed.
        fn add(&self, candidate: Candidate, rung: Rung, reason: Option<&str>) -> Vec<Lesson> {
            let new = NewTrial { candidate, origin: Origin::sampler("x"), predicted: Vec::new() };
            let asked = self.store.ask_trial(self.study, &WorkerIdentity::current(), |_| Some(new)).unwrap();
            let Asked::New(mut live) = asked else { panic!("{asked:?}") };
            let finished = FinishedRung::new(rung, jiff::Timestamp::UNIX_EPOCH, Duration::ZERO);
            self.store.finish_rung(&mut live, &finished).unwrap();
            let failure = reason.map(|text| Failure { kind: FailureKind::Error, text: text.into() });
            let end = if failure.is_some() { EndState::Failed } else { EndState::Complete };
            self.store.end_trial(*live, end, failure.as_ref()).unwrap();
            learn(&space(), &self.store.trials(self.study).unwrap())
        }

        fn point(&self, point: [usize; 3], rung: Rung, reason: Option<&str>) -> Vec<(String, String)> {
            let candidate = space().candidate(&point).unwrap();
            self.add(candidate, rung, reason).into_iter().map(|l| (l.name, l.value)).collect()
        }

        fn preset(&self) -> &Self {
            let preset = Candidate::default()
                .with("weights.preset", Value::Text("Q8_0".into()))
                .with("kv.k", Value::Text("f16".into()))
                .with("threads", Value::Int(4));
            self.add(preset, Rung::Graded, None);
            self
        }
    }

    fn level(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_second_failure_with_a_level_leaves_it_out() {
        let trials = Trials::new();
        trials.preset();
        let why = |n: u32| format!("failed to measure: failed to load /x/{n}.gguf: no context of {n} tokens");
        assert_eq!(trials.point([0, 0, 0], Rung::Built, Some(&why(1))), []);
        assert_eq!(trials.point([1, 0, 1], Rung::Built, Some(&why(2))), level("kv.k", "q8_0"));
        let lessons = learn(&space(), &trials.store.trials(trials.study).unwrap());
        assert_eq!(lessons[0].trials, [2, 3]);
        let text = lessons[0].to_string();
        assert!(text.contains("`kv.k`: q8_0 left out") && text.contains("trials 2 and 3"), "{text}");
    }

    #[test]
    fn failures_of_different_reasons_teach_nothing() {
        let trials = Trials::new();
        trials.preset();
        trials.point([0, 0, 0], Rung::Built, Some("failed to measure: the cache is full"));
        assert_eq!(trials.point([1, 0, 1], Rung::Built, Some("failed to measure: crashed")), []);
    }

    #[test]
    fn a_level_that_worked_at_that_rung_is_not_to_blame() {
        let trials = Trials::new();
        trials.preset();
        trials.point([2, 0, 1], Rung::Graded, None);
        trials.point([0, 0, 0], Rung::Built, Some("no"));
        assert_eq!(trials.point([0, 0, 2], Rung::Built, Some("no")), level("weights.ffn", "Q4_K"));
    }

    #[test]
    fn the_level_that_explains_most_failures_is_found_in_the_end() {
        let trials = Trials::new();
        trials.preset();
        // One thread is the cause; the first two share a cache type, too.
        trials.point([0, 0, 0], Rung::Built, Some("no"));
        assert_eq!(trials.point([1, 0, 0], Rung::Built, Some("no")), level("kv.k", "q8_0"));
        assert_eq!(trials.point([2, 1, 0], Rung::Built, Some("no")), level("threads", "1"));
    }

    #[test]
    fn where_nothing_ever_worked_no_level_is_to_blame() {
        let trials = Trials::new();
        trials.point([0, 0, 0], Rung::Built, Some("no"));
        assert_eq!(trials.point([1, 0, 1], Rung::Built, Some("no")), []);
    }

    #[test]
    fn a_reason_that_names_a_level_decides_between_equals() {
        let trials = Trials::new();
        trials.preset();
        trials.point([0, 0, 0], Rung::Built, Some("Q4_K cannot be multiplied"));
        assert_eq!(
            trials.point([0, 0, 1], Rung::Built, Some("Q4_K cannot be multiplied")),
            level("weights.ffn", "Q4_K")
        );
    }
}
