//! A recorded table as a problem that samplers search.

use super::table::Table;
use crate::search::{Estimate, Objective, Problem, Random};
use crate::space::{Point, Space};

/// How a measurement of an objective scatters: one standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Noise {
    /// A fraction of the value.
    Relative(f64),
    /// In the objective's unit.
    Absolute(f64),
}

/// The table, what is known of it beforehand, and how it is measured.
pub(super) struct Task {
    pub(super) table: Table,
    pub(super) objectives: Vec<Objective>,
    /// The table's column of each objective.
    pub(super) columns: Vec<usize>,
    pub(super) noise: Vec<Noise>,
    /// The column and the ceiling.
    pub(super) budget: Option<(usize, f64)>,
    /// The column that predicts an objective, and whether it is the objective itself.
    pub(super) priors: Vec<Option<(usize, bool)>>,
    /// The other columns that may be read beforehand.
    pub(super) cheap: Vec<usize>,
    /// The rows that fit.
    fitting: Vec<u32>,
}

impl Task {
    pub(super) fn new(table: Table, objectives: Vec<Objective>, columns: Vec<usize>) -> Self {
        let n = objectives.len();
        Self {
            fitting: (0..table.rows() as u32).collect(),
            table,
            objectives,
            columns,
            noise: vec![Noise::Absolute(0.0); n],
            budget: None,
            priors: vec![None; n],
            cheap: Vec::new(),
        }
    }

    /// Sets the ceiling, and which rows fit under it.
    pub(super) fn set_budget(&mut self, column: usize, ceiling: f64) {
        self.budget = Some((column, ceiling));
        self.fitting = (0..self.table.rows()).filter(|&row| self.fits(row)).map(|row| row as u32).collect();
    }

    fn fits(&self, row: usize) -> bool {
        // A missing size fits nothing.
        self.budget.is_none_or(|(column, ceiling)| self.table.value(column, row) <= ceiling)
    }

    /// How many rows fit.
    pub(super) fn fitting(&self) -> usize {
        self.fitting.len()
    }

    /// The values of a row as the table has them.
    pub(super) fn values(&self, row: usize) -> Vec<f64> {
        self.columns.iter().map(|&c| self.table.value(c, row)).collect()
    }

    /// The losses of every row that fits and has all values.
    pub(super) fn losses(&self) -> Vec<Vec<f64>> {
        let losses = |&row: &u32| {
            let values = self.values(row as usize);
            values.iter().zip(&self.objectives).map(|(v, o)| o.loss(*v)).collect()
        };
        self.fitting.iter().filter_map(losses).collect()
    }

    /// Measures a row; `None` where the table has no value.
    pub(super) fn measure(&self, row: usize, random: &mut Random) -> Vec<Option<Estimate>> {
        let measure = |(value, noise): (f64, &Noise)| {
            let deviation = match noise {
                Noise::Relative(r) => r * value.abs(),
                Noise::Absolute(d) => *d,
            };
            // The stream advances alike, whatever is missing.
            let value = value + deviation * random.normal();
            let half = 1.96 * deviation;
            value.is_finite().then_some(Estimate { value, low: value - half, high: value + half })
        };
        self.values(row).into_iter().zip(&self.noise).map(measure).collect()
    }
}

impl Problem for Task {
    fn space(&self) -> &Space {
        &self.table.space
    }

    fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    fn feasible(&self, point: &[usize]) -> bool {
        self.table.row(point).is_some_and(|row| self.fits(row))
    }

    fn prior(&self, point: &[usize]) -> Vec<Option<f64>> {
        let row = self.table.row(point);
        self.priors
            .iter()
            .map(|p| p.zip(row).map(|((column, _), row)| self.table.value(column, row)))
            .collect()
    }

    fn exact(&self, objective: usize) -> bool {
        self.priors.get(objective).copied().flatten().is_some_and(|(_, exact)| exact)
    }

    fn cheap(&self, point: &[usize]) -> Vec<f64> {
        let row = self.table.row(point);
        self.cheap.iter().map(|&c| row.map_or(f64::NAN, |row| self.table.value(c, row))).collect()
    }

    fn listed(&self) -> Option<usize> {
        Some(self.fitting.len())
    }

    fn listed_point(&self, index: usize) -> Option<Point> {
        self.fitting.get(index).and_then(|&row| self.table.point(row as usize)).cloned()
    }
}
