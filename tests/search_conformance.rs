//! One suite for every sampler. A new sampler is added to `SamplerKind` and inherits it.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::HashSet;

use autotune::search::{
    Ask, Direction, Estimate, History, Objective, Observation, Problem, SamplerKind, TrialState,
};
use autotune::space::{Param, ParamKind, Point, Space, Value};

type Fits = Box<dyn Fn(&[usize]) -> bool>;

/// Three objectives over any space: sums and products of levels.
struct Task {
    space: Space,
    objectives: Vec<Objective>,
    fits: Fits,
}

impl Task {
    fn new(params: &[(usize, ParamKind)], fits: impl Fn(&[usize]) -> bool + 'static) -> Self {
        let params = params
            .iter()
            .enumerate()
            .map(|(i, &(n, kind))| Param {
                name: format!("p{i}"),
                kind,
                levels: (0..n).map(|l| Value::Text(format!("level {l}"))).collect(),
            })
            .collect();
        let objective = |name: &str, direction, log_scale| Objective {
            name: name.into(),
            direction,
            bound: None,
            log_scale,
        };
        Self {
            space: Space { name: "task".into(), description: String::new(), params },
            objectives: vec![
                objective("latency", Direction::Minimize, true),
                objective("quality", Direction::Maximize, false),
                objective("bytes", Direction::Minimize, true),
            ],
            fits: Box::new(fits),
        }
    }

    fn values(&self, point: &[usize]) -> Vec<f64> {
        let x: f64 = point.iter().enumerate().map(|(i, &l)| (l + 1) as f64 * (1.0 + 0.3 * i as f64)).sum();
        let y: f64 = point.iter().map(|&l| ((l * 7) % 5) as f64).sum();
        vec![10.0 + x, 1.0 - 1.0 / (x + y + 1.0), 1e6 * (1.0 + x * 0.5 + y)]
    }

    fn observe(&self, number: u64, point: Point) -> Observation {
        let objectives = self
            .values(&point)
            .into_iter()
            .map(|v| Some(Estimate { value: v, low: v * 0.98, high: v * 1.02 }))
            .collect();
        Observation {
            number,
            point,
            exact: true,
            state: TrialState::Complete,
            objectives,
            proxies: Vec::new(),
            repeats: None,
        }
    }
}

impl Problem for Task {
    fn space(&self) -> &Space {
        &self.space
    }
    fn objectives(&self) -> &[Objective] {
        &self.objectives
    }
    fn feasible(&self, point: &[usize]) -> bool {
        (self.fits)(point)
    }
}

const ORDINAL: ParamKind = ParamKind::Ordinal;
const CATEGORICAL: ParamKind = ParamKind::Categorical;

fn mixed() -> Task {
    Task::new(
        &[(5, ORDINAL), (4, CATEGORICAL), (1, ORDINAL), (6, ORDINAL), (3, CATEGORICAL), (1, CATEGORICAL)],
        |p| p[0] + p[3] < 7,
    )
}

/// What becomes of trial `n`, with every oddity in turn.
fn odd(task: &Task, number: u64, point: Point) -> Observation {
    let mut seen = task.observe(number, point);
    match number % 9 {
        2 => seen.state = TrialState::Running,
        3 => seen.state = TrialState::Failed,
        4 => seen.state = TrialState::Infeasible,
        5 => {
            seen.state = TrialState::Partial;
            seen.objectives[1] = None;
        }
        6 => seen.objectives[0] = Some(Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN }),
        7 => seen.objectives[2] = Some(Estimate { value: f64::INFINITY, low: 0.0, high: f64::INFINITY }),
        _ => {}
    }
    if matches!(seen.state, TrialState::Running | TrialState::Failed | TrialState::Infeasible) {
        seen.objectives = vec![None; 3];
    }
    seen
}

/// Asks until exhausted or `trials`; checks that every answer fits and is new.
fn search(
    task: &Task,
    name: SamplerKind,
    trials: u64,
    tell: impl Fn(&Task, u64, Point) -> Observation,
) -> (History, bool) {
    let mut sampler = name.sampler();
    let mut history = History::default();
    let mut seen = HashSet::new();
    for number in 0..trials {
        match sampler.ask(task, &history, 11, number) {
            Ask::Point(point) => {
                assert!(task.space.candidate(&point).is_some(), "{name} left the space: {point:?}");
                assert!(task.feasible(&point), "{name} asked what does not fit: {point:?}");
                assert!(seen.insert(point.clone()), "{name} asked twice: {point:?}");
                history.observations.push(tell(task, number, point));
            }
            Ask::Again(number) => panic!("{name} asked for {number} again, which was not offered"),
            Ask::Exhausted => return (history, true),
        }
    }
    (history, false)
}

#[test]
fn small_spaces_are_exhausted_exactly() {
    for name in SamplerKind::ALL {
        let task =
            Task::new(&[(3, ORDINAL), (2, CATEGORICAL), (4, ORDINAL), (1, ORDINAL)], |p| p[0] + p[2] != 2);
        let (history, exhausted) = search(&task, name, 100, Task::observe);
        assert!(exhausted, "{name}");
        assert_eq!(history.observations.len(), 18, "{name}");
        let single = Task::new(&[(1, ORDINAL)], |_| true);
        assert_eq!(search(&single, name, 5, Task::observe).0.observations.len(), 1, "{name}");
        let nothing = Task::new(&[(3, ORDINAL), (3, ORDINAL)], |_| false);
        assert_eq!(search(&nothing, name, 5, Task::observe).0.observations.len(), 0, "{name}");
    }
}

#[test]
fn odd_trials_are_survived_and_small_spaces_still_exhausted() {
    for name in SamplerKind::ALL {
        let (history, exhausted) = search(&mixed(), name, 50, odd);
        assert!(!exhausted && history.observations.len() == 50, "{name}");
        let small = Task::new(&[(3, CATEGORICAL), (3, ORDINAL), (2, ORDINAL)], |_| true);
        let (history, exhausted) = search(&small, name, 50, odd);
        assert!(exhausted && history.observations.len() == 18, "{name}");
    }
}

#[test]
fn nothing_but_failures_is_survived() {
    for name in SamplerKind::ALL {
        let fail = |_: &Task, number, point| Observation {
            number,
            point,
            exact: true,
            state: TrialState::Failed,
            objectives: vec![None; 3],
            proxies: Vec::new(),
            repeats: None,
        };
        let (history, _) = search(&mixed(), name, 30, fail);
        assert_eq!(history.observations.len(), 30, "{name}");
    }
}

#[test]
fn equal_history_gives_the_equal_question_in_a_fresh_sampler() {
    for name in SamplerKind::ALL {
        let task = mixed();
        let (history, _) = search(&task, name, 40, odd);
        for number in [0, 1, 5, 13, 27, 39] {
            let before = history.before(number);
            let fresh = name.sampler().ask(&task, &before, 11, number);
            let asked = history.observations[number as usize].point.clone();
            assert_eq!(fresh, Ask::Point(asked), "{name} at {number}");
        }
    }
}

#[test]
fn the_expected_gain_is_that_of_the_question_also_in_a_fresh_sampler() {
    let task = mixed();
    for name in SamplerKind::ALL {
        let (history, _) = search(&task, name, 30, odd);
        let mut asked = name.sampler();
        asked.ask(&task, &history, 11, 30);
        let gain = asked.expected_gain(&task, &history, 11, 30);
        assert_eq!(gain, name.sampler().expected_gain(&task, &history, 11, 30), "{name}");
        assert_eq!(gain.is_some(), name == SamplerKind::Autotune, "{name}");
        assert!(gain.is_none_or(|g| g >= 0.0), "{name}: {gain:?}");
        // Another history under the same number is another question.
        let earlier = history.before(20);
        let fresh = name.sampler().expected_gain(&task, &earlier, 11, 30);
        assert_eq!(asked.expected_gain(&task, &earlier, 11, 30), fresh, "{name}");
    }
}

#[test]
fn histories_longer_than_the_models_take_give_equal_questions() {
    let task = Task::new(&[(6, ORDINAL), (5, CATEGORICAL), (6, ORDINAL), (4, ORDINAL)], |_| true);
    let (history, _) = search(&task, SamplerKind::Random, 600, Task::observe);
    let mut used = SamplerKind::Autotune.sampler();
    for number in [200, 400, 600] {
        let before = history.before(number);
        let first = used.ask(&task, &before, 1, number);
        assert_eq!(first, SamplerKind::Autotune.sampler().ask(&task, &before, 1, number), "{number}");
        assert!(matches!(first, Ask::Point(p) if !before.visited().contains(&p)), "{number}");
    }
}

#[test]
fn seeds_differ() {
    let task = mixed();
    for name in SamplerKind::ALL {
        let (history, _) = search(&task, name, 30, Task::observe);
        let first = |seed| name.sampler().ask(&task, &History::default(), seed, 0);
        let later = |seed| name.sampler().ask(&task, &history, seed, 30);
        assert!((1..12).any(|seed| first(0) != first(seed) || later(0) != later(seed)), "{name}");
    }
}

#[test]
fn a_needle_in_a_trillion_points_is_searched() {
    for name in SamplerKind::ALL {
        let task = Task::new(&[(10, ORDINAL); 12], |p| p[0] == 3 && p[1] == 1 && p[2] == 4 && p[3] == 1);
        assert_eq!(search(&task, name, 4, Task::observe).0.observations.len(), 4, "{name}");
    }
}

#[test]
fn presets_beside_the_space_are_used_and_their_nearest_points_may_be_asked() {
    for name in SamplerKind::ALL {
        let task = Task::new(&[(2, ORDINAL), (2, ORDINAL)], |_| true);
        let mut history = History::default();
        for number in 0..6 {
            let mut preset = task.observe(number, vec![1, 1]);
            preset.exact = false;
            history.observations.push(preset);
        }
        let mut sampler = name.sampler();
        let mut asked = HashSet::new();
        for number in 6.. {
            match sampler.ask(&task, &history, 1, number) {
                Ask::Point(point) => {
                    assert!(asked.insert(point.clone()), "{name}");
                    history.observations.push(task.observe(number, point));
                }
                Ask::Again(_) | Ask::Exhausted => break,
            }
        }
        assert_eq!(asked.len(), 4, "{name}");
    }
}

#[test]
fn a_preset_without_a_place_is_to_be_beaten_and_nobodys_parent() {
    for name in SamplerKind::ALL {
        let task = mixed();
        let mut history = History::default();
        for number in 0..8 {
            let mut preset = task.observe(number, vec![1, 1, 0, 1, 1, 0]);
            preset.exact = false;
            if number % 2 == 0 {
                preset.point = Point::new();
            }
            history.observations.push(preset);
        }
        // One that no point of the space beats in anything.
        let best = |o: &Objective, e: Estimate| {
            let value = if o.direction == Direction::Minimize { e.value * 1e-3 } else { e.value * 1e3 };
            Estimate { value, low: value, high: value }
        };
        let mut ideal = history.clone();
        for (o, e) in task.objectives.iter().zip(&mut ideal.observations[0].objectives) {
            *e = e.map(|e| best(o, e));
        }
        let mut sampler = name.sampler();
        for number in 8..20 {
            let Ask::Point(point) = sampler.ask(&task, &history, 5, number) else { panic!("{name}") };
            assert!(task.feasible(&point) && task.space.candidate(&point).is_some(), "{name}: {point:?}");
            history.observations.push(task.observe(number, point));
        }
        let gain = sampler.expected_gain(&task, &ideal, 5, 8);
        assert!(gain.is_none_or(|gain| gain < 1e-6), "{name} expects {gain:?} beyond what nothing beats");
    }
}

#[test]
fn eight_workers_never_get_the_same_point() {
    for name in SamplerKind::ALL {
        let task = mixed();
        let (mut history, _) = search(&task, name, 20, Task::observe);
        let mut sampler = name.sampler();
        let mut running = HashSet::new();
        for number in 20..28 {
            let Ask::Point(point) = sampler.ask(&task, &history, 11, number) else {
                panic!("{name} exhausted")
            };
            assert!(running.insert(point.clone()), "{name}");
            let mut started = task.observe(number, point);
            started.state = TrialState::Running;
            started.objectives = vec![None; 3];
            history.observations.push(started);
        }
    }
}

#[test]
fn unknown_names_are_refused() {
    let error = "tpe".parse::<SamplerKind>().err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("unknown sampler `tpe`; use autotune, nsga2, anneal or random"));
}
