//! What a question costs by the length of the study, and what a database of trials costs to write and to take up again.
//!
//! Times are those of the processor, and the wall's where a disk is waited for.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use autotune::search::{Ask, History, Observation, Problem, Random, SamplerKind, TrialState};
use autotune::store::{
    Added, EndState, FinishedRung, NewMeasurement, NewStudy, NewTrial, Origin, Rung, Store, StudyId,
    WorkerIdentity,
};
use autotune::study::StoredProblem;
use autotune::study::estimates::Known;

use crate::cpu_seconds;
use crate::landscape::Landscape;

/// Trials of the database.
const STORED: usize = 10_000;

/// Prints what questions cost after each of these numbers of trials.
pub fn questions(landscape: &Landscape, lengths: &[usize], seeds: u64) {
    println!("default sampler on {}, medians of {seeds} seeds:", landscape.shape.name);
    for &length in lengths {
        let mut first = Vec::new();
        let mut next = Vec::new();
        for seed in 1..=seeds {
            let mut history = tried(landscape, seed, length);
            let mut sampler = SamplerKind::Autotune.sampler();
            let mut took = |history: &History| {
                let before = cpu_seconds();
                let ask = sampler.ask(landscape, history, seed, history.observations.len() as u64);
                (cpu_seconds() - before, ask)
            };
            let (seconds, ask) = took(&history);
            first.push(seconds);
            let Ask::Point(point) = ask else { continue };
            history.observations.push(observe(landscape, seed, length as u64, point));
            next.push(took(&history).0);
        }
        println!(
            "  {length:5} trials: the first question of a process {:.0} CPU-ms, the next {:.0}; peak memory so far {:.0} MB",
            1e3 * median(first),
            1e3 * median(next),
            peak_megabytes()
        );
    }
}

/// So many different feasible points, with their measurements.
fn tried(landscape: &Landscape, seed: u64, length: usize) -> History {
    let mut random = Random::new(seed, 0, 1001);
    let mut seen = HashSet::new();
    let mut history = History::default();
    while history.observations.len() < length {
        let params = &landscape.space().params;
        let point: Vec<usize> = params.iter().map(|p| random.below(p.levels.len())).collect();
        if landscape.feasible(&point) && seen.insert(point.clone()) {
            let number = history.observations.len() as u64;
            history.observations.push(observe(landscape, seed, number, point));
        }
    }
    history
}

fn observe(landscape: &Landscape, seed: u64, number: u64, point: Vec<usize>) -> Observation {
    let measured = landscape.measure(&point, &mut Random::new(seed, number, 1000));
    Observation {
        number,
        point,
        exact: true,
        state: TrialState::Complete,
        objectives: measured.into_iter().map(Some).collect(),
        proxies: Vec::new(),
        repeats: None,
    }
}

/// Writes a database as a study does, trial by trial, and opens it again; `folder` holds it meanwhile.
pub fn database(landscape: &Landscape, folder: &Path) {
    let path = folder.join("costs.db");
    assert!(!path.exists(), "{} is in the way", path.display());
    let store = Store::open(&path).unwrap();
    let study = store.create_study(&study(landscape)).unwrap();
    let mut told = Vec::new();
    for observation in tried(landscape, 1, STORED).observations {
        told.push(tell(&store, study, landscape, &observation).as_secs_f64());
    }
    let last = told.split_off(told.len() - 1000);
    drop(store);
    let (wall, processor) = (Instant::now(), cpu_seconds());
    let store = Store::open(&path).unwrap();
    let trials = store.trials(study).unwrap();
    let problem = StoredProblem::of(&store.study_by_id(study).unwrap(), &trials).unwrap();
    let history = problem.history(&trials, &Known::load(&store, study).unwrap());
    let (read, read_cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - processor);
    let processor = cpu_seconds();
    let ask = SamplerKind::Autotune.sampler().ask(landscape, &history, 1, history.observations.len() as u64);
    let asked = cpu_seconds() - processor;
    assert!(matches!(ask, Ask::Point(_)));
    println!(
        "  {} trials in a database of {:.1} MB: telling the last thousand {:.2} ms each (wall, median); read as a sampler's history in \
         {read:.2} s ({read_cpu:.2} CPU-s); the first question {asked:.2} CPU-s; peak memory {:.0} MB",
        trials.len(),
        std::fs::metadata(&path).unwrap().len() as f64 / 1e6,
        1e3 * median(last),
        peak_megabytes()
    );
    drop(store);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("costs.db{end}")));
    }
}

fn study(landscape: &Landscape) -> NewStudy {
    let objectives: Vec<serde_json::Value> = landscape
        .objectives()
        .iter()
        .map(|o| serde_json::json!({"metric": o.name, "direction": "min", "log": o.log_scale, "bound": o.bound}))
        .collect();
    NewStudy {
        name: "costs".into(),
        command: String::new(),
        settings_json: "{}".into(),
        space_json: serde_json::to_string(landscape.space()).unwrap(),
        seed: 1,
        budget_bytes: 1 << 40,
        model_path: String::new(),
        model_hash: String::new(),
        engine: "mock".into(),
        objectives_json: serde_json::to_string(&objectives).unwrap(),
        host_fingerprint: "none".into(),
        host_json: "{}".into(),
        versions_json: "{}".into(),
    }
}

/// Stores one complete trial; answers how long the two writes took that tell what came of it.
fn tell(store: &Store, study: StudyId, landscape: &Landscape, o: &Observation) -> Duration {
    let worker = WorkerIdentity::current();
    let candidate = landscape.space().candidate(&o.point).unwrap();
    let new = NewTrial { candidate, origin: Origin::sampler("autotune"), predicted: Vec::new() };
    let Added::New(number) = store.add_trial(study, &new).unwrap() else { panic!("a point was drawn twice") };
    let mut live = store.claim(study, number, &worker).unwrap().unwrap();
    let mut rung = FinishedRung::new(Rung::Graded, jiff::Timestamp::UNIX_EPOCH, Duration::from_secs(1));
    rung.measurements = landscape
        .objectives()
        .iter()
        .zip(o.objectives.iter().flatten())
        .map(|(objective, e)| NewMeasurement::interval(&objective.name, "", e.value, e.low, e.high, 1))
        .collect();
    let begin = Instant::now();
    store.finish_rung(&mut live, &rung).unwrap();
    store.end_trial(live, EndState::Complete, None).unwrap();
    begin.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The most memory that this process ever held; 0 where Linux does not tell.
fn peak_megabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}
