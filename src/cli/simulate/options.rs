//! The options of `simulate`, resolved to a task.

use super::space_file;
use super::table::Table;
use super::task::{Noise, Task};
use crate::cli::args::SimulateArgs;
use crate::exit::Expected;
use crate::search::{Direction, Objective};
use crate::units::parse_bytes;

/// Parts of names whose ratios matter rather than their differences.
const RATIOS: [&str; 10] =
    ["latency", "memory", "bytes", "_ms", "_us", "_s", "seconds", "energy", "time", "tokens_per"];
/// What a column's name has before or after the objective that it predicts.
const PREDICTED: [&str; 6] = ["predicted", "prediction", "pred", "estimated", "estimate", "prior"];

/// Reads the space and the table, and resolves all options against them.
///
/// # Errors
/// [`Expected`], naming the option.
pub(super) fn task(args: &SimulateArgs) -> anyhow::Result<Task> {
    let mut objectives = Vec::new();
    for text in &args.objectives {
        let objective = objective(text)?;
        if objectives.iter().any(|o: &Declared| o.column == objective.column) {
            return Err(
                Expected::usage(format!("--objectives: `{}` is named twice", objective.column)).into()
            );
        }
        objectives.push(objective);
    }
    let mut wanted: Vec<String> = objectives.iter().map(|o| o.column.clone()).collect();
    let mut want = |column: &String| {
        wanted.iter().position(|w| w == column).unwrap_or_else(|| {
            wanted.push(column.clone());
            wanted.len() - 1
        })
    };
    let budget_column = args.budget_column.as_ref().map(&mut want);
    let cheap: Vec<usize> = args.cheap.iter().map(want).collect();
    let (name, params) = space_file::read(&args.space)?;
    let table = Table::read(&args.table, name, params, &wanted)?;

    let columns: Vec<usize> = (0..objectives.len()).collect();
    let mut task_objectives: Vec<Objective> = Vec::new();
    for (i, declared) in objectives.iter().enumerate() {
        let log_scale = declared.log.unwrap_or_else(|| {
            let named = RATIOS.iter().any(|r| declared.column.to_lowercase().contains(r));
            named && table.column(i).iter().all(|v| v.is_nan() || *v > 0.0)
        });
        let bound = None;
        task_objectives.push(Objective {
            name: declared.column.clone(),
            direction: declared.direction,
            bound,
            log_scale,
        });
    }
    let mut task = Task::new(table, task_objectives, columns);
    let index = |option: &str, name: &str| {
        objectives.iter().position(|o| o.column == name).ok_or_else(|| {
            let known: Vec<&str> = objectives.iter().map(|o| o.column.as_str()).collect();
            Expected::usage(format!(
                "{option}: unknown objective `{name}`: expected one of {}",
                known.join(", ")
            ))
        })
    };
    if let (Some(column), Some(text)) = (budget_column, &args.budget) {
        let ceiling = ceiling(text)?;
        task.set_budget(column, ceiling);
        // What fits is known beforehand, and so is the size of what fits.
        if let Some(objective) = task.columns.iter().position(|&c| c == column) {
            task.priors[objective] = Some((column, true));
            if task.objectives[objective].direction == Direction::Minimize {
                task.objectives[objective].bound = Some(ceiling);
            }
        }
    }
    for text in &args.region {
        let (name, value) = pair("--region", text)?;
        task.objectives[index("--region", name)?].bound = Some(number("--region", text, value)?);
    }
    for text in &args.noise {
        let (name, value) = pair("--noise", text)?;
        let size = number("--noise", text, value.trim_start_matches('+'))?;
        if size < 0.0 {
            return Err(Expected::usage(format!("--noise: `{text}` is negative; write 0 for none")).into());
        }
        let noise = if value.starts_with('+') { Noise::Absolute(size) } else { Noise::Relative(size) };
        task.noise[index("--noise", name)?] = noise;
    }
    for (column, name) in cheap.into_iter().zip(&args.cheap) {
        let predicted = (0..objectives.len()).find(|&i| predicts(name, &objectives[i].column));
        match predicted {
            Some(i) if task.priors[i].is_none() => {
                task.priors[i] = Some((column, *name == objectives[i].column))
            }
            // Known already.
            Some(i) if *name == objectives[i].column => {}
            _ => task.cheap.push(column),
        }
    }
    Ok(task)
}

struct Declared {
    column: String,
    direction: Direction,
    log: Option<bool>,
}

fn objective(text: &str) -> Result<Declared, Expected> {
    let mut parts = text.trim().split(':');
    let column = parts.next().unwrap_or_default().trim().to_owned();
    let wrong = || {
        Expected::usage(format!(
            "--objectives: invalid objective `{text}`: expected COLUMN:min or COLUMN:max, optionally followed by :log or :linear"
        ))
    };
    let direction = match parts.next().map(str::trim) {
        Some("min") => Direction::Minimize,
        Some("max") => Direction::Maximize,
        _ => return Err(wrong()),
    };
    let log = match parts.next().map(str::trim) {
        None => None,
        Some("log") => Some(true),
        Some("linear") => Some(false),
        Some(_) => return Err(wrong()),
    };
    if column.is_empty() || parts.next().is_some() {
        return Err(wrong());
    }
    Ok(Declared { column, direction, log })
}

/// A size with a unit, or a plain number for columns that are no bytes.
fn ceiling(text: &str) -> Result<f64, Expected> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => match parse_bytes(text) {
            Ok(bytes) => Ok(bytes as f64),
            Err(error) => Err(Expected::usage(format!("--budget: {error}"))),
        },
    }
}

fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Expected> {
    text.split_once('=').map(|(name, value)| (name.trim(), value.trim())).ok_or_else(|| {
        Expected::usage(format!("{option}: `{text}` has no `=`; write for example latency_ms=0.03"))
    })
}

fn number(option: &str, text: &str, value: &str) -> Result<f64, Expected> {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(Expected::usage(format!("{option}: `{text}` has no number after the `=`"))),
    }
}

/// Whether a column is a prediction of an objective by its name, or the objective itself.
fn predicts(column: &str, objective: &str) -> bool {
    if column == objective {
        return true;
    }
    let trim = |text: &str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let (column, objective) = (trim(column), trim(objective));
    PREDICTED.iter().any(|word| {
        let rest = column.strip_prefix(word).or_else(|| column.strip_suffix(word));
        rest.map(trim).is_some_and(|rest| {
            rest == objective
                || objective.strip_prefix(&rest).is_some_and(|unit| unit.starts_with('_') && unit.len() <= 6)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_known_by_their_names() {
        assert!(predicts("predicted_latency_ms", "latency_ms"));
        assert!(predicts("latency_ms_pred", "latency_ms"));
        assert!(predicts("predicted_latency", "latency_ms"));
        assert!(predicts("memory_bytes", "memory_bytes"));
        assert!(!predicts("divergence", "quality"));
        assert!(!predicts("predicted_quality", "latency_ms"));
        assert!(!predicts("predicted_", "latency_ms"));
    }

    #[test]
    fn objectives_are_read_strictly() {
        assert!(
            objective("latency_ms:min").is_ok_and(|o| o.direction == Direction::Minimize && o.log.is_none())
        );
        assert!(objective("q:max:log").is_ok_and(|o| o.log == Some(true)));
        for wrong in ["latency", "latency:up", ":min", "a:min:log:x", "a:min:ln"] {
            assert!(objective(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn budgets_are_sizes_or_numbers() {
        assert_eq!(ceiling("900MB").ok(), Some(9e8));
        assert_eq!(ceiling("0.5").ok(), Some(0.5));
        assert!(ceiling("900XB").is_err());
        assert!(ceiling("nan").is_err());
    }
}
