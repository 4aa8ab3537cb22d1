//! The surrogate: for each objective a Gaussian process on what physics leaves unexplained.
//!
//! Several models compete for an objective (with the physical prediction as mean, with the cheap columns, with neither); the
//! one that explains the data best is used, so that columns that lie are dropped.

use super::columns::{Columns, prior_losses};
use super::link::Link;
use crate::gp::{Data, Fitted, Input, Process};
use crate::history::is_in_space;
use crate::{History, Observation, Problem, Region, TrialState, nondominated_sort};
use autotune_core::space::Point;

/// Under this many observations no model is told from another, and what was declared is believed.
const COMPARABLE: usize = 6;
/// The standard error of a preset's losses at the nearest point of the space, as a fraction of all losses' deviation.
const NEAREST_ERROR: f64 = 0.15;
/// How fast losses beyond the region are compressed, as a share of its depth.
const SQUASH: f64 = 0.5;
/// Hyperparameters are fitted again when a sixteenth more is known.
const REFIT: usize = 16;
/// Observations that hyperparameters are fitted to, and that the models are conditioned on, at most.
const MOST_FITTED: usize = 128;
const MOST_DATA: usize = 320;
/// Trials that were not graded, of which the proxy's word is used, at most.
const MOST_LINKED: usize = 80;

/// Which knowledge a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Knowledge {
    /// The physical prediction, as mean and as a column.
    prior: bool,
    /// The cheap columns, which may mislead.
    cheap: bool,
    /// The objectives that are known exactly: the size of a model says much of its speed, and something of its quality.
    exact: bool,
}

impl Knowledge {
    /// What an objective may be explained by, the most first; without repetition.
    fn rivals(columns: &Columns, objective: usize, count: usize) -> Vec<Self> {
        let (p, c, e) = (columns.has_prior(objective), columns.has_cheap(), columns.has_exact());
        let all = [(p, c, e), (p, false, e), (false, c, e), (false, false, e), (false, false, false)];
        let mut rivals: Vec<Self> = Vec::new();
        for (prior, cheap, exact) in all.into_iter().take(if count < COMPARABLE { 1 } else { all.len() }) {
            let rival = Self { prior, cheap, exact };
            if !rivals.contains(&rival) {
                rivals.push(rival);
            }
        }
        rivals
    }
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

    /// How much a small change of the loss still counts: the slope of the compression, by which errors shrink with their losses.
    fn slope(self, loss: f64) -> f64 {
        let beyond = loss - self.knee;
        if beyond > 0.0 { self.width / (self.width + beyond) } else { 1.0 }
    }
}

/// Fits that were made for earlier questions. Whether one serves is told by the data it was made from, so that a cache never
/// changes an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Fits {
    /// For each objective, the data of all rivals, and which of them explains its data best.
    kept: Vec<Option<(Vec<Data>, usize, Fitted)>>,
}

impl Fits {
    fn best(
        &mut self,
        problem: &dyn Problem,
        columns: &Columns,
        objective: usize,
        rivals: &[Knowledge],
        data: Vec<Data>,
    ) -> (usize, Fitted) {
        if self.kept.len() <= objective {
            self.kept.resize(objective + 1, None);
        }
        if let Some((known, best, fitted)) = &self.kept[objective]
            && *known == data
        {
            return (*best, fitted.clone());
        }
        let mut best: Option<(usize, Fitted)> = None;
        for (i, (knowledge, data)) in rivals.iter().zip(&data).enumerate() {
            let fit = Fitted::new(problem.space(), width(columns, *knowledge), data);
            if best.as_ref().is_none_or(|(_, b)| fit.cost < b.cost) {
                best = Some((i, fit));
            }
        }
        let (best, fitted) = best.unwrap_or_else(|| (0, Fitted::new(problem.space(), 0, &Data::default())));
        self.kept[objective] = Some((data, best, fitted.clone()));
        (best, fitted)
    }
}

/// The first observations that hyperparameters are fitted to: ever fewer new ones count at once, so that a long study seldom fits.
fn settled(count: usize) -> usize {
    count - count % (count / REFIT).max(1)
}

/// At most `most` of the observations, in order: those on the first fronts, which the search turns on, and of the rest every n-th.
fn informative<'a>(problem: &dyn Problem, seen: &[&'a Observation], most: usize) -> Vec<&'a Observation> {
    if seen.len() <= most {
        return seen.to_vec();
    }
    let losses: Vec<Vec<f64>> = seen
        .iter()
        .map(|o| o.losses(problem).unwrap_or_else(|| vec![f64::NAN; problem.objectives().len()]))
        .collect();
    let ranks = nondominated_sort(&losses);
    let mut order: Vec<usize> = (0..seen.len()).collect();
    order.sort_by_key(|&i| (ranks[i], std::cmp::Reverse(i)));
    let (first, rest) = order.split_at(most * 2 / 3);
    let mut chosen = first.to_vec();
    let left = most - chosen.len();
    chosen.extend((0..left).map(|i| rest[i * rest.len() / left]));
    chosen.sort_unstable();
    chosen.into_iter().map(|i| seen[i]).collect()
}

impl Models {
    /// Fits all models; `None` while an objective has no observation. With a region, losses beyond it are compressed.
    pub(super) fn new(
        problem: &dyn Problem,
        columns: &Columns,
        history: &History,
        region: Option<&Region>,
        fits: &mut Fits,
    ) -> Option<Self> {
        let squash: Vec<Squash> = (0..problem.objectives().len())
            .map(|i| {
                let best = history
                    .observations
                    .iter()
                    .filter_map(|o| o.loss(problem, i))
                    .fold(f64::INFINITY, f64::min);
                match region {
                    Some(r) if best.is_finite() && r.reference[i] > best => {
                        Squash { knee: r.reference[i], width: SQUASH * (r.reference[i] - best) }
                    }
                    _ => Squash { knee: f64::INFINITY, width: 1.0 },
                }
            })
            .collect();
        let running: Vec<&Observation> = history
            .observations
            .iter()
            .filter(|o| o.state == TrialState::Running && is_in_space(problem.space(), &o.point))
            .collect();
        let mut models = Vec::new();
        for (objective, &squash) in squash.iter().enumerate() {
            if problem.exact(objective) && columns.has_prior(objective) {
                models.push(Model::Exact);
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
            let early = informative(problem, &seen[..settled(seen.len())], MOST_FITTED);
            let rivals = Knowledge::rivals(columns, objective, early.len());
            let training =
                rivals.iter().map(|k| data(problem, columns, objective, *k, &early, squash)).collect();
            let (best, fit) = fits.best(problem, columns, objective, &rivals, training);
            let knowledge = rivals[best];
            let seen = informative(problem, &seen, MOST_DATA);
            let mut data = data(problem, columns, objective, knowledge, &seen, squash);
            linked(problem, columns, objective, knowledge, history, squash, &mut data);
            let mut process = fit.condition(&data)?;
            if !running.is_empty() {
                // Kriging believer (Ginsbourger, Le Riche and Carraro 2010): what runs is taken to come out as predicted.
                let inputs: Vec<Input> =
                    running.iter().map(|o| input(problem, columns, objective, knowledge, &o.point)).collect();
                data.outputs.extend(process.means(&inputs));
                data.errors.extend(inputs.iter().map(|_| 0.0));
                data.inputs.extend(inputs);
                process = fit.condition(&data)?;
            }
            models.push(Model::Process { knowledge, process: Box::new(process) });
        }
        Some(Self { models, squash })
    }

    /// The standard deviation of an objective's loss from one measurement to the next, beside what their intervals tell.
    pub(super) fn noise(&self, objective: usize) -> f64 {
        match self.models.get(objective) {
            Some(Model::Process { process, .. }) => process.noise(),
            Some(Model::Exact) | None => 0.0,
        }
    }

    /// Mean and standard deviation of each loss at points: `[point][objective]`.
    pub(super) fn predict(
        &self,
        problem: &dyn Problem,
        columns: &Columns,
        points: &[Point],
    ) -> Vec<Vec<(f64, f64)>> {
        let priors: Vec<Vec<Option<f64>>> = points.iter().map(|p| prior_losses(problem, p)).collect();
        let mut all = vec![Vec::with_capacity(self.models.len()); points.len()];
        for (objective, model) in self.models.iter().enumerate() {
            let Model::Process { knowledge, process } = model else {
                for (at, prior) in all.iter_mut().zip(&priors) {
                    at.push((prior[objective].unwrap_or(f64::INFINITY), 0.0));
                }
                continue;
            };
            let inputs: Vec<Input> = points
                .iter()
                .zip(&priors)
                .map(|(p, prior)| input_with(problem, columns, objective, *knowledge, p, prior))
                .collect();
            for ((at, prior), (mean, deviation)) in all.iter_mut().zip(&priors).zip(process.predict(&inputs))
            {
                at.push((mean + offset(*knowledge, prior, objective, self.squash[objective]), deviation));
            }
        }
        all
    }
}

/// Adds what the proxy tells of trials that were not taken as far as this objective.
fn linked(
    problem: &dyn Problem,
    columns: &Columns,
    objective: usize,
    knowledge: Knowledge,
    history: &History,
    squash: Squash,
    data: &mut Data,
) {
    let stopped = |o: &&Observation| {
        o.state == TrialState::Partial
            && o.loss(problem, objective).is_none()
            && is_in_space(problem.space(), &o.point)
    };
    let stopped: Vec<&Observation> = history.observations.iter().filter(stopped).collect();
    if stopped.is_empty() {
        return;
    }
    let Some(link) = Link::new(problem, history, objective) else { return };
    let mut ordered: Vec<&Observation> = stopped.into_iter().rev().take(MOST_LINKED).collect();
    ordered.reverse();
    for o in ordered {
        let Some((mean, deviation)) = link.predict(o) else { continue };
        let prior = prior_losses(problem, &o.point);
        data.outputs.push(squash.apply(mean) - offset(knowledge, &prior, objective, squash));
        data.errors.push(deviation * squash.slope(mean));
        data.inputs.push(input_with(problem, columns, objective, knowledge, &o.point, &prior));
    }
}

fn width(columns: &Columns, knowledge: Knowledge) -> usize {
    usize::from(knowledge.prior) + columns.width(knowledge.cheap, knowledge.exact)
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
    input_with(problem, columns, objective, knowledge, point, &prior_losses(problem, point))
}

fn input_with(
    problem: &dyn Problem,
    columns: &Columns,
    objective: usize,
    knowledge: Knowledge,
    point: &[usize],
    prior: &[Option<f64>],
) -> Input {
    let mut row = Vec::new();
    if knowledge.prior {
        let loss = prior[objective].unwrap_or(f64::NAN);
        row.push(columns.prior(objective, loss));
    }
    columns.extend(&mut row, problem, point, prior, knowledge.cheap, knowledge.exact);
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
    let squashed: Vec<f64> = losses.iter().map(|loss| squash.apply(*loss)).collect();
    let mean = squashed.iter().sum::<f64>() / squashed.len().max(1) as f64;
    let deviation =
        (squashed.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / squashed.len().max(1) as f64).sqrt();
    let repeated = problem.repeat().is_some_and(|r| r.objectives.get(objective) == Some(&true));
    let mut data = Data::default();
    for (o, loss) in seen.iter().zip(losses) {
        let prior = prior_losses(problem, &o.point);
        let error = o.loss_error(problem, objective).unwrap_or(0.0) * squash.slope(loss);
        // As many equal measurements as there were runs stand for their mean.
        let runs = if repeated { 1 + o.repeats.unwrap_or(0) } else { 1 };
        let error = error * f64::from(runs).sqrt();
        for _ in 0..runs {
            data.outputs.push(squash.apply(loss) - offset(knowledge, &prior, objective, squash));
            data.errors.push(if o.exact { error } else { error.hypot(NEAREST_ERROR * deviation) });
            data.inputs.push(input_with(problem, columns, objective, knowledge, &o.point, &prior));
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::super::Columns;
    use super::*;
    use crate::testing::Table;
    use crate::{Direction, Estimate};

    /// A study in which the first parameter's other level ruins the quality, which is known to ten points only, far beyond a region that is
    /// a point and a half deep.
    fn ruined() -> (Table, History) {
        let mut table = Table::grid(&[2, 6, 4]);
        table.objectives[1].direction = Direction::Maximize;
        table.values = Box::new(|p| {
            let cost = 20.0 - p[1] as f64 - p[2] as f64 - 6.0 * p[0] as f64;
            vec![cost, 0.28 - 0.003 * p[1] as f64 - 0.17 * p[0] as f64]
        });
        let anchors =
            [[0, 0, 0], [0, 1, 1], [0, 2, 0], [0, 3, 1], [0, 4, 0], [0, 5, 1], [0, 2, 2], [0, 4, 3]];
        let bad = [[1, 5, 3], [1, 4, 3], [1, 3, 2], [1, 5, 1], [1, 2, 3]];
        let mut history = History::default();
        for (number, point) in anchors.iter().chain(&bad).enumerate() {
            let mut trial = table.observe(number as u64, point.to_vec());
            let value = trial.objectives[1].unwrap().value;
            let error = if point[0] == 1 { 0.1 } else { 0.006 };
            trial.objectives[1] = Some(Estimate { value, low: value - error, high: value + error });
            history.observations.push(trial);
        }
        (table, history)
    }

    #[test]
    fn what_ruins_the_quality_is_learnt_although_its_errors_are_wider_than_the_region() {
        let (table, history) = ruined();
        let region = Region::of(&table, &history).unwrap();
        let columns = Columns::new(&table);
        let models = Models::new(&table, &columns, &history, Some(&region), &mut Fits::default()).unwrap();
        let points = [vec![1, 0, 2], vec![1, 1, 0], vec![1, 4, 1]];
        for (point, losses) in points.iter().zip(models.predict(&table, &columns, &points)) {
            let (mean, deviation) = losses[1];
            assert!(
                mean - 2.0 * deviation > region.reference[1],
                "{point:?}: {mean} +- {deviation}, the region ends at {}",
                region.reference[1]
            );
        }
    }
}
