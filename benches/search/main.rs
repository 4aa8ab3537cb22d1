//! How samplers fare on analytic landscapes: the share of the true feasible front's hypervolume, inside the region of interest,
//! that the points asked reach by their true values, after 25, 50 and 100 trials; quartiles over seeds.
//!
//! `cargo bench --no-default-features --bench search -- --landscape smooth,tight --sampler autotune,random --seeds 10`
//! - `--trials N`: instead of 100; `--region derived`: do not tell the bounds; `--prior`: tell a physical prediction of latency;
//!   `--cheap honest|lies`: tell a divergence column, or two that mislead; `--warm`: the first trials are presets, as in `peers.py`.
//! - `--measure wide`: count the hypervolume up to the 95 % quantiles of what fits, not inside the region.
//! - `--fronts FOLDER`: keep the true fronts there, which take seconds each; delete them when a landscape changes.
//! - `--diagnose`: also how good the models are.
//! - `--questions 200,2000`: no search; what a question costs after so many trials.
//! - `--database FOLDER`: no search; what writing and resuming 10,000 trials costs, in a database that the folder holds meanwhile.
//! - `--answer`: no search; answers sets of points with hypervolume, front and ranks (`check_pareto.py`).
//! - `--oracle NAME`: no search; answers points on standard input with measurements, for peers in other languages (`peers.py`).
#![allow(
    clippy::type_complexity,
    clippy::while_let_loop,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod costs;
mod landscape;

use std::io::{BufRead, Write};

use autotune::search::{
    Ask, History, Observation, Problem, Random, SamplerKind, TrialState, hypervolume, nondominated_sort,
    pareto_front, predict,
};
use landscape::{Cheap, Landscape, SHAPES};

struct Options {
    landscapes: Vec<String>,
    samplers: Vec<String>,
    seeds: u64,
    trials: u64,
    derived: bool,
    wide: bool,
    prior: bool,
    warm: bool,
    cheap: Cheap,
    oracle: Option<String>,
    answer: bool,
    questions: Vec<usize>,
    database: Option<std::path::PathBuf>,
    diagnose: bool,
    fronts: Option<std::path::PathBuf>,
}

fn options() -> Options {
    let mut o = Options {
        landscapes: SHAPES.iter().map(|s| s.name.to_owned()).collect(),
        samplers: SamplerKind::ALL.iter().map(ToString::to_string).collect(),
        seeds: 5,
        trials: 100,
        derived: false,
        wide: false,
        prior: false,
        warm: false,
        cheap: Cheap::None,
        oracle: None,
        answer: false,
        questions: Vec::new(),
        database: None,
        diagnose: false,
        fronts: None,
    };
    let mut args = std::env::args().skip(1);
    let list = |text: String| text.split(',').map(str::to_owned).collect();
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--landscape" => o.landscapes = list(value()),
            "--sampler" => o.samplers = list(value()),
            "--seeds" => o.seeds = value().parse().expect("a number of seeds"),
            "--trials" => o.trials = value().parse().expect("a number of trials"),
            "--region" => o.derived = value() == "derived",
            "--measure" => o.wide = value() == "wide",
            "--prior" => o.prior = true,
            "--warm" => o.warm = true,
            "--cheap" => {
                o.cheap = match value().as_str() {
                    "honest" => Cheap::Honest,
                    "lies" => Cheap::Lies,
                    other => panic!("--cheap takes honest or lies, not {other}"),
                }
            }
            "--oracle" => o.oracle = Some(value()),
            "--questions" => {
                o.questions = value().split(',').map(|n| n.parse().expect("a number of trials")).collect();
            }
            "--database" => o.database = Some(value().into()),
            "--answer" => o.answer = true,
            "--diagnose" => o.diagnose = true,
            "--fronts" => o.fronts = Some(value().into()),
            "--bench" => {} // cargo says so
            other => panic!("unknown option {other}"),
        }
    }
    o
}

fn build(name: &str, o: &Options) -> Landscape {
    let shape = SHAPES.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("unknown landscape {name}"));
    let mut landscape = Landscape::new(*shape);
    landscape.prior = o.prior;
    landscape.cheap = o.cheap;
    landscape
}

fn losses(landscape: &Landscape, point: &[usize]) -> Vec<f64> {
    landscape.truth(point).iter().zip(landscape.objectives()).map(|(v, o)| o.loss(*v).unwrap()).collect()
}

/// The losses of every feasible point inside the region that no other dominates.
fn true_front(landscape: &Landscape, reference: &[f64]) -> Vec<Vec<f64>> {
    let levels: Vec<usize> = landscape.space().params.iter().map(|p| p.levels.len()).collect();
    let mut point = vec![0; levels.len()];
    let mut front: Vec<Vec<f64>> = Vec::new();
    let mut inside: Vec<Vec<f64>> = Vec::new();
    let prune = |inside: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let losses: Vec<Vec<f64>> = inside.iter().map(|p| p[..3].to_vec()).collect();
        pareto_front(&losses).into_iter().map(|i| inside[i].clone()).collect()
    };
    loop {
        if landscape.feasible(&point) {
            let mut losses = losses(landscape, &point);
            if losses.iter().zip(reference).all(|(x, r)| x < r) {
                losses.extend(point.iter().map(|&x| x as f64));
                inside.push(losses);
            }
        }
        if inside.len() >= 100_000 {
            inside.append(&mut front);
            front = prune(&inside);
            inside.clear();
        }
        let mut d = levels.len();
        loop {
            if d == 0 {
                inside.append(&mut front);
                return prune(&inside);
            }
            d -= 1;
            point[d] += 1;
            if point[d] < levels[d] {
                break;
            }
            point[d] = 0;
        }
    }
}

/// [`true_front`], kept in a folder between runs.
fn known_front(
    landscape: &Landscape,
    reference: &[f64],
    wide: bool,
    folder: Option<&std::path::Path>,
) -> Vec<Vec<f64>> {
    let kind = if wide { "-wide" } else { "" };
    let Some(path) = folder.map(|f| f.join(format!("{}{kind}.json", landscape.shape.name))) else {
        return true_front(landscape, reference);
    };
    if let Ok(text) = std::fs::read_to_string(&path) {
        return serde_json::from_str(&text).expect("a front that was written before");
    }
    let front = true_front(landscape, reference);
    std::fs::write(&path, serde_json::to_string(&front).unwrap()).expect("a folder for fronts");
    front
}

/// Seconds that this process had a core: fair on a busy machine. 0 where Linux does not tell.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn run(landscape: &Landscape, name: &str, seed: u64, trials: u64, warm: bool) -> (History, f64) {
    let mut sampler = name.parse::<SamplerKind>().unwrap().sampler();
    let mut history = History::default();
    let presets = if warm { landscape.presets() } else { Vec::new() };
    let started = cpu_seconds();
    for number in 0..trials {
        let point = match presets.get(number as usize) {
            Some(preset) => preset.clone(),
            None => match sampler.ask(landscape, &history, seed, number) {
                Ask::Point(point) => point,
                _ => break,
            },
        };
        let mut random = Random::new(seed, number, 1000);
        let objectives = landscape.measure(&point, &mut random).into_iter().map(Some).collect();
        history.observations.push(Observation {
            number,
            point,
            exact: true,
            state: TrialState::Complete,
            objectives,
            proxies: Vec::new(),
            repeats: None,
        });
    }
    (history, cpu_seconds() - started)
}

/// What picking from the known front greedily reaches: about the best that so many trials can.
fn ceiling(front: &[Vec<f64>], reference: &[f64], full: f64, marks: &[u64]) -> String {
    let mut picked: Vec<Vec<f64>> = Vec::new();
    let mut reached = Vec::new();
    let volume = |picked: &[Vec<f64>], p: &Vec<f64>| {
        let mut with = picked.to_vec();
        with.push(p.clone());
        hypervolume(&with, reference)
    };
    // Lazy greedy: a gain never grows, so that only the top of the queue is computed again.
    let mut queue: Vec<(f64, usize)> = (0..front.len()).map(|i| (f64::INFINITY, i)).collect();
    let mut total = 0.0;
    for n in 1..=marks.last().copied().unwrap_or(0).min(front.len() as u64) {
        loop {
            let Some((_, i)) = queue.pop() else { break };
            let gain = volume(&picked, &front[i]) - total;
            if queue.last().is_none_or(|(next, _)| gain >= *next) {
                total += gain;
                picked.push(front[i].clone());
                break;
            }
            let at = queue.partition_point(|(g, _)| *g < gain);
            queue.insert(at, (gain, i));
        }
        if marks.contains(&n) {
            reached.push(format!("{:5.1}             ", 100.0 * total / full));
        }
    }
    reached.join("  ")
}

/// How good the models are after so many trials: on points of the true front, the error of each prediction as a fraction of
/// the deviation of losses there, and how often the truth lies in the 95 % interval.
fn diagnose(landscape: &Landscape, history: &History, front: &[Vec<usize>]) -> Vec<[f64; 3]> {
    let mut random = Random::new(3, 0, 0);
    let points: Vec<Vec<usize>> = (0..400).map(|_| front[random.below(front.len())].clone()).collect();
    let predictions = predict(landscape, history, &points).unwrap();
    let truths: Vec<Vec<f64>> = points.iter().map(|p| losses(landscape, p)).collect();
    let describe = |(i, o): (usize, &autotune::search::Objective)| {
        let mean = truths.iter().map(|t| t[i]).sum::<f64>() / 400.0;
        let spread = (truths.iter().map(|t| (t[i] - mean).powi(2)).sum::<f64>() / 400.0).sqrt();
        let mut sums = [0.0; 3];
        for (truth, prediction) in truths.iter().zip(&predictions) {
            let loss = |v: f64| o.loss(v).unwrap_or(f64::NAN);
            let deviation =
                ((loss(prediction[i].high) - loss(prediction[i].low)).abs() / 3.92 / spread).max(1e-3);
            let error = (truth[i] - loss(prediction[i].value)) / spread;
            sums[0] += error * error / 400.0;
            sums[1] += f64::from(u8::from(error.abs() < 1.96 * deviation + 1e-12)) / 4.0;
            sums[2] += (0.5 * (error / deviation).powi(2) + deviation.ln()) / 400.0;
        }
        [sums[0].sqrt(), sums[1], sums[2]]
    };
    landscape.objectives().iter().enumerate().map(describe).collect()
}

fn quartiles(mut shares: Vec<f64>) -> String {
    shares.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let x = (shares.len() - 1) as f64 * q;
        let (low, high) = (shares[x.floor() as usize], shares[x.ceil() as usize]);
        100.0 * (low + (high - low) * x.fract())
    };
    let mean = 100.0 * shares.iter().sum::<f64>() / shares.len() as f64;
    format!("{:5.1} ({:4.1}-{:4.1}) mean {mean:4.1}", at(0.5), at(0.25), at(0.75))
}

/// Reads `{"point": [...], "seed": n, "number": n}` lines; answers feasibility and noisy and true losses.
fn oracle(landscape: &Landscape, reference: &[f64], volume: f64) {
    let levels: Vec<usize> = landscape.space().params.iter().map(|p| p.levels.len()).collect();
    let ordered: Vec<bool> =
        landscape.space().params.iter().map(|p| p.kind == autotune::space::ParamKind::Ordinal).collect();
    let mut out = std::io::stdout().lock();
    let about = serde_json::json!({
        "levels": levels, "ordered": ordered, "reference": reference, "hypervolume": volume, "presets": landscape.presets()
    });
    writeln!(out, "{about}").unwrap();
    out.flush().unwrap();
    for line in std::io::stdin().lock().lines() {
        let asked: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let point: Vec<usize> = serde_json::from_value(asked["point"].clone()).unwrap();
        let (seed, number) = (asked["seed"].as_u64().unwrap(), asked["number"].as_u64().unwrap());
        let noisy: Vec<f64> = landscape
            .measure(&point, &mut Random::new(seed, number, 1000))
            .iter()
            .zip(landscape.objectives())
            .map(|(e, o)| o.loss(e.value).unwrap())
            .collect();
        let answer = serde_json::json!({
            "feasible": landscape.feasible(&point), "noisy": noisy, "true": losses(landscape, &point)
        });
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}

/// Reads `{"points": [[...]], "reference": [...]}` lines; answers hypervolume, front and ranks, for `check_pareto.py`.
fn answer() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let points: Vec<Vec<f64>> = serde_json::from_value(asked["points"].clone()).unwrap();
        let reference: Vec<f64> = serde_json::from_value(asked["reference"].clone()).unwrap();
        let answer = serde_json::json!({
            "hypervolume": hypervolume(&points, &reference),
            "front": pareto_front(&points),
            "ranks": nondominated_sort(&points),
        });
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}

#[allow(clippy::print_stdout)]
fn main() {
    let o = options();
    if o.answer {
        return answer();
    }
    if let Some(name) = &o.oracle {
        let landscape = build(name, &o);
        let reference = landscape.reference();
        let front: Vec<Vec<f64>> = known_front(&landscape, &reference, false, o.fronts.as_deref())
            .iter()
            .map(|p| p[..3].to_vec())
            .collect();
        let volume = hypervolume(&front, &reference);
        return oracle(&landscape, &reference, volume);
    }
    if !o.questions.is_empty() || o.database.is_some() {
        for name in &o.landscapes {
            let landscape = build(name, &o);
            costs::questions(&landscape, &o.questions, o.seeds);
            o.database.iter().for_each(|folder| costs::database(&landscape, folder));
        }
        return;
    }
    let marks: Vec<u64> = [25, 50, 100, 200].into_iter().filter(|m| *m <= o.trials).collect();
    println!(
        "share of the true front's hypervolume in %, median (quartiles) of {} seeds, at {marks:?} trials",
        o.seeds
    );
    for name in &o.landscapes {
        let landscape = build(name, &o);
        let reference = if o.wide { landscape.wide() } else { landscape.reference() };
        let front = known_front(&landscape, &reference, o.wide, o.fronts.as_deref());
        let front_points: Vec<Vec<usize>> =
            front.iter().map(|p| p[3..].iter().map(|&x| x as usize).collect()).collect();
        let front: Vec<Vec<f64>> = front.into_iter().map(|p| p[..3].to_vec()).collect();
        let full = hypervolume(&front, &reference);
        println!("{name}: {} points, {} on the front", landscape.space().size(), front.len());
        println!("  {:10} {}", "ceiling", ceiling(&front, &reference, full, &marks));
        let landscape = if o.derived { landscape.without_bounds() } else { landscape };
        for sampler in &o.samplers {
            let mut shares = vec![Vec::new(); marks.len()];
            let mut seconds = 0.0;
            let mut errors = vec![vec![[0.0; 3]; landscape.objectives().len()]; marks.len()];
            for seed in 1..=o.seeds {
                let (history, took) = run(&landscape, sampler, seed, o.trials, o.warm);
                seconds += took / o.seeds as f64;
                if o.diagnose {
                    for (sums, &mark) in errors.iter_mut().zip(&marks) {
                        for (sum, one) in
                            sums.iter_mut().zip(diagnose(&landscape, &history.before(mark), &front_points))
                        {
                            for (s, x) in sum.iter_mut().zip(one) {
                                *s += x / o.seeds as f64;
                            }
                        }
                    }
                }
                for (share, &mark) in shares.iter_mut().zip(&marks) {
                    let reached: Vec<Vec<f64>> = history
                        .before(mark)
                        .observations
                        .iter()
                        .map(|x| losses(&landscape, &x.point))
                        .collect();
                    share.push(hypervolume(&reached, &reference) / full);
                }
            }
            let columns: Vec<String> = shares.into_iter().map(quartiles).collect();
            println!("  {sampler:10} {}   {seconds:.1} CPU-s a run", columns.join("  "));
            if o.diagnose {
                for (i, objective) in landscape.objectives().iter().enumerate() {
                    let at: Vec<String> = errors
                        .iter()
                        .map(|e| {
                            format!("error {:.2} covered {:3.0} % surprise {:5.2}", e[i][0], e[i][1], e[i][2])
                        })
                        .collect();
                    println!("    {:14} {}", objective.name, at.join("   "));
                }
            }
        }
    }
}
