//! The surrogate: for each objective a Gaussian process on what physics leaves unexplained.
//!
//! Several models compete for an objective (with the physical prediction as mean, with the cheap columns, with neither); the
//! one that explains the data best is used, so that columns that lie are dropped.

use super::columns::{Columns, prior_losses};
use crate::search::gp::{Data, Fitted, Input, Process};
use crate::search::history::is_in_space;
use crate::search::{History, Observation, Problem, TrialState};

/// Under this many observations no model is told from another, and what was declared is believed.
const COMPARABLE: usize = 6;
/// The standard error of a preset's losses at the nearest point of the space, as a fraction of all losses' deviation.
const NEAREST_ERROR: f64 = 0.15;

/// Which knowledge a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Knowledge {
    prior: bool,
    cheap: bool,
}

/// The model of one objective.
#[derive(Clone, Debug)]
enum Model {
    /// The prediction is the value.
    Exact,
    Process {
        knowledge: Knowledge,
        process: Box<Process>,
    },
}

/// The models of all objectives.
#[derive(Clone, Debug)]
pub(super) struct Models {
    models: Vec<Model>,
    squash: Vec<Squash>,
}

/// Losses beyond the region of interest, compressed: how bad the bad is matters to nobody, and would bend the model of the good.
#[derive(Clone, Copy, Debug)]
struct Squash {
    knee: f64,
    width: f64,
}

impl Squash {
    fn apply(self, loss: f64) -> f64 {
        let beyond = loss - self.knee;
        if beyond > 0.0 { self.knee + self.width * (1.0 + beyond / self.width).ln() } else { loss }
    }
}

impl Models {
    /// Fits all models; `None` while an objective has no observation.
    pub(super) fn new(problem: &dyn Problem, columns: &Columns, history: &History) -> Option<Self> {
        let region = crate::search::Region::of(problem, history);
        let squash: Vec<Squash> = (0..problem.objectives().len())
            .map(|i| {
                let best = history
                    .observations
                    .iter()
                    .filter_map(|o| o.loss(problem, i))
                    .fold(f64::INFINITY, f64::min);
                match &region {
                    Some(r) if best.is_finite() && r.reference[i] > best => Squash {
                        knee: r.reference[i] + crate::search::gp::tune("KNEE", 0.0) * (r.reference[i] - best),
                        width: crate::search::gp::tune("SQ", 0.5) * (r.reference[i] - best),
                    },
                    _ => Squash { knee: f64::INFINITY, width: 1.0 },
                }
            })
            .collect();
        let mut fitted = Vec::new();
        for (objective, &squash) in squash.iter().enumerate() {
            if problem.exact(objective) && columns.has_prior(objective) {
                fitted.push(None);
                continue;
            }
            let seen: Vec<&Observation> = history
                .observations
                .iter()
                .filter(|o| is_in_space(problem.space(), &o.point) && o.loss(problem, objective).is_some())
                .collect();
            if seen.is_empty() {
                return None;
            }
            let prior = columns.has_prior(objective);
            let cheap = columns.width() > 0;
            let mut rivals = vec![Knowledge { prior, cheap }];
            if seen.len() >= COMPARABLE {
                if prior && cheap {
                    rivals.push(Knowledge { prior: true, cheap: false });
                }
                if prior || cheap {
                    rivals.push(Knowledge { prior: false, cheap: false });
                }
            }
            let mut best: Option<(Knowledge, Data, Fitted)> = None;
            for knowledge in rivals {
                let data = data(problem, columns, objective, knowledge, &seen, squash);
                let fit = Fitted::new(problem.space(), width(columns, knowledge), &data);
                if best.as_ref().is_none_or(|(_, _, b)| fit.cost < b.cost) {
                    best = Some((knowledge, data, fit));
                }
            }
            fitted.push(best);
        }
        let running: Vec<&Observation> = history
            .observations
            .iter()
            .filter(|o| o.state == TrialState::Running && is_in_space(problem.space(), &o.point))
            .collect();
        let mut models = Vec::new();
        for (objective, best) in fitted.into_iter().enumerate() {
            let Some((knowledge, mut data, fit)) = best else {
                models.push(Model::Exact);
                continue;
            };
            let mut process = fit.condition(&data)?;
            if !running.is_empty() {
                // Kriging believer (Ginsbourger, Le Riche and Carraro 2010): what runs is taken to come out as predicted.
                for o in &running {
                    let input = input(problem, columns, objective, knowledge, &o.point);
                    data.outputs.push(process.mean(&input));
                    data.errors.push(0.0);
                    data.inputs.push(input);
                }
                process = fit.condition(&data)?;
            }
            models.push(Model::Process { knowledge, process: Box::new(process) });
        }
        Some(Self { models, squash })
    }

    /// Mean and standard deviation of each loss at a point.
    pub(super) fn predict(
        &self,
        problem: &dyn Problem,
        columns: &Columns,
        point: &[usize],
    ) -> Vec<(f64, f64)> {
        let prior = prior_losses(problem, point);
        self.models
            .iter()
            .enumerate()
            .map(|(objective, model)| match model {
                Model::Exact => (prior[objective].unwrap_or(f64::INFINITY), 0.0),
                Model::Process { knowledge, process } => {
                    let (mean, deviation) =
                        process.predict(&input(problem, columns, objective, *knowledge, point));
                    (mean + offset(*knowledge, &prior, objective, self.squash[objective]), deviation)
                }
            })
            .collect()
    }
}

fn width(columns: &Columns, knowledge: Knowledge) -> usize {
    usize::from(knowledge.prior) + if knowledge.cheap { columns.width() } else { 0 }
}

fn offset(knowledge: Knowledge, prior: &[Option<f64>], objective: usize, squash: Squash) -> f64 {
    if knowledge.prior { squash.apply(prior[objective].unwrap_or(0.0)) } else { 0.0 }
}

fn input(
    problem: &dyn Problem,
    columns: &Columns,
    objective: usize,
    knowledge: Knowledge,
    point: &[usize],
) -> Input {
    let mut row = Vec::new();
    if knowledge.prior {
        let loss = prior_losses(problem, point)[objective].unwrap_or(f64::NAN);
        row.push(columns.prior(objective, loss));
    }
    if knowledge.cheap {
        row.extend(columns.cheap(problem, point));
    }
    Input { levels: point.to_vec(), columns: row }
}

fn data(
    problem: &dyn Problem,
    columns: &Columns,
    objective: usize,
    knowledge: Knowledge,
    seen: &[&Observation],
    squash: Squash,
) -> Data {
    let losses: Vec<f64> = seen.iter().filter_map(|o| o.loss(problem, objective)).collect();
    let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    let deviation =
        (losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / losses.len().max(1) as f64).sqrt();
    let mut data = Data::default();
    for (o, loss) in seen.iter().zip(losses) {
        let prior = prior_losses(problem, &o.point);
        data.outputs.push(squash.apply(loss) - offset(knowledge, &prior, objective, squash));
        let error = o.loss_error(problem, objective).unwrap_or(0.0);
        data.errors.push(if o.exact { error } else { error.hypot(NEAREST_ERROR * deviation) });
        data.inputs.push(input(problem, columns, objective, knowledge, &o.point));
    }
    data
}
