//! The space of a recorded table: parameters of any name, with their levels listed or read off the table.

use toml::Value as Toml;

use crate::exit::Expected;
use crate::space::{Param, ParamKind, Space, SpaceFacts, Value, parse_space};

/// A declared parameter: its levels, or none when they are taken from the table.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) levels: Vec<Value>,
    /// Whether the levels have an order; `None` where the levels themselves decide it.
    pub(super) ordered: Option<bool>,
}

/// The parameters of a space file, and the space's name.
///
/// A file of the tuner's own format is read as the tuner reads it. In any other, each key is a parameter, tables make dotted
/// names, and a value is a list of levels, a single level, or a table of levels (or `min`, `max` and `step`) and of `ordered` or
/// `kind`; `[[parameters]]` with a `name` each is read too.
///
/// # Errors
/// An unreadable file, no TOML, or a parameter without usable levels.
pub(super) fn read(path: &std::path::Path) -> Result<(String, Vec<Declared>), Expected> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Expected::usage(format!("--space {}: cannot be read: {e}; name a TOML file", path.display()))
    })?;
    let file = path.display().to_string();
    // Facts that leave no listed level out.
    let generous = SpaceFacts {
        usable_threads: 1 << 24,
        model: None,
        workload_context_tokens: 1,
        workload_requests: 1 << 24,
        device_layers: 1 << 24,
        block_caches: true,
    };
    if let Ok(loaded) = parse_space(&text, &file, &generous)
        && loaded.notes.is_empty()
        && !text.contains("from")
    {
        let Space { name, params, .. } = loaded.space;
        let declare = |p: Param| Declared {
            name: p.name,
            levels: p.levels,
            ordered: Some(p.kind == ParamKind::Ordinal),
        };
        return Ok((name, params.into_iter().map(declare).collect()));
    }
    let root: toml::Table =
        text.parse().map_err(|e| Expected::usage(format!("--space {file}: not TOML: {e}")))?;
    let mut params = Vec::new();
    let mut name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    for (key, value) in &root {
        match (key.as_str(), value) {
            ("name", Toml::String(own)) => name.clone_from(own),
            ("description" | "version" | "comment", Toml::String(_)) => {}
            _ => walk(key, value, &mut params)
                .map_err(|e| Expected::usage(format!("--space {file}: {}", e.text)))?,
        }
    }
    if params.is_empty() {
        return Err(Expected::usage(format!(
            "--space {file}: declares no parameter; write for example `bits = [2, 4, 8]`"
        )));
    }
    Ok((name, params))
}

/// What lists the levels of a parameter that is written as a table.
const LISTS: [&str; 5] = ["levels", "values", "choices", "options", "categories"];
/// Its smallest and its largest level.
const LOWEST: [&str; 4] = ["min", "low", "lower", "start"];
const HIGHEST: [&str; 4] = ["max", "high", "upper", "stop"];
/// What says whether the levels have an order.
const KINDS: [&str; 3] = ["kind", "type", "scale"];
/// The most levels that a range may have.
const MOST_IN_RANGE: f64 = 4096.0;

fn walk(name: &str, value: &Toml, params: &mut Vec<Declared>) -> Result<(), Expected> {
    let mut declare = |levels: Vec<Value>, ordered| {
        if let Some((_, twice)) = levels.iter().enumerate().find(|(i, l)| levels[..*i].contains(l)) {
            return Err(Expected::usage(format!("`{name}` has the level `{twice}` twice; name each once")));
        }
        params.push(Declared { name: name.to_owned(), levels, ordered });
        Ok(())
    };
    match value {
        Toml::Array(tables) if tables.first().is_some_and(Toml::is_table) => {
            for table in tables {
                let own = table.get("name").and_then(Toml::as_str).ok_or_else(|| {
                    Expected::usage(format!(
                        "`{name}` lists tables, of which one has no `name`; name each parameter"
                    ))
                })?;
                walk(own, table, params)?;
            }
            Ok(())
        }
        Toml::Array(levels) => declare(listed(name, levels)?, None),
        Toml::Table(table) => match described(name, table)? {
            Some((levels, ordered)) => declare(levels, ordered),
            None => table.iter().try_for_each(|(key, value)| walk(&format!("{name}.{key}"), value, params)),
        },
        single => declare(vec![level(name, single)?], None),
    }
}

/// The levels of a parameter and whether they have an order.
type Described = (Vec<Value>, Option<bool>);

/// The levels and the order of a parameter that is written as a table; `None` for a table of parameters.
fn described(name: &str, table: &toml::Table) -> Result<Option<Described>, Expected> {
    let any = |keys: &[&str]| keys.iter().find_map(|key| table.get(*key));
    let word = any(&KINDS).and_then(Toml::as_str).map(str::to_lowercase);
    let ordered = table.get("ordered").and_then(Toml::as_bool).or_else(|| match word.as_deref()? {
        "ordinal" | "ordered" | "int" | "integer" | "float" | "real" | "numeric" | "number" | "range" => {
            Some(true)
        }
        "categorical" | "category" | "nominal" | "unordered" | "enum" | "choice" => Some(false),
        _ => None,
    });
    if let Some(levels) = any(&LISTS).and_then(Toml::as_array) {
        return Ok(Some((listed(name, levels)?, ordered)));
    }
    if let (Some(low), Some(high)) = (any(&LOWEST), any(&HIGHEST)) {
        return Ok(Some((range(name, low, high, table.get("step"))?, ordered)));
    }
    if word.as_deref().is_some_and(|w| w.starts_with("bool")) {
        return Ok(Some((vec![Value::Bool(false), Value::Bool(true)], ordered)));
    }
    // The levels are taken from the table of points.
    Ok((table.contains_key("from") || (ordered.is_some() && !table.values().any(Toml::is_array)))
        .then(|| (Vec::new(), ordered)))
}

fn listed(name: &str, levels: &[Toml]) -> Result<Vec<Value>, Expected> {
    if levels.is_empty() {
        return Err(Expected::usage(format!("`{name}` has no levels; list at least one")));
    }
    levels.iter().map(|v| level(name, v)).collect()
}

/// The levels from `low` to `high`; those of a range of real numbers without a step are read off the table.
fn range(name: &str, low: &Toml, high: &Toml, step: Option<&Toml>) -> Result<Vec<Value>, Expected> {
    let wrong = |why: &str| Expected::usage(format!("`{name}` is a range {why}; list the levels instead"));
    let number = |value: &Toml| value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
    let whole = low.is_integer() && high.is_integer() && step.is_none_or(Toml::is_integer);
    let (Some(low), Some(high)) = (number(low), number(high)) else {
        return Err(wrong("whose ends are not numbers"));
    };
    let step = match step.map(number) {
        None if whole => 1.0,
        None => return Ok(Vec::new()),
        Some(Some(step)) if step > 0.0 => step,
        Some(_) => return Err(wrong("whose step is not a positive number")),
    };
    let steps = ((high - low) / step + 1e-9).floor();
    if !(0.0..MOST_IN_RANGE).contains(&steps) {
        return Err(wrong(&format!("of {} levels", steps + 1.0)));
    }
    let at = |i: u32| low + step * f64::from(i);
    Ok((0..=steps as u32)
        .map(|i| if whole { Value::Int(at(i) as i64) } else { Value::Real(at(i)) })
        .collect())
}

fn level(name: &str, value: &Toml) -> Result<Value, Expected> {
    match value {
        Toml::Integer(n) => Ok(Value::Int(*n)),
        Toml::Float(x) if x.is_finite() => Ok(Value::Real(*x)),
        Toml::Boolean(b) => Ok(Value::Bool(*b)),
        Toml::String(text) => Ok(Value::Text(text.clone())),
        other => Err(Expected::usage(format!(
            "`{name}` has the level `{other}`; levels are numbers, texts, true or false"
        ))),
    }
}

/// Whether levels have an order that matters: numbers do; texts do when the first numbers in them rise or fall (`Q2_K`, `Q4_K`,
/// `Q8_0`), as bits do.
pub(super) fn kind(declared: Option<bool>, levels: &[Value]) -> ParamKind {
    let ordered = declared.unwrap_or_else(|| {
        let numbers: Option<Vec<f64>> = levels.iter().map(number_in).collect();
        numbers.is_some_and(|n| n.windows(2).all(|w| w[0] <= w[1]) || n.windows(2).all(|w| w[0] >= w[1]))
    });
    if ordered { ParamKind::Ordinal } else { ParamKind::Categorical }
}

fn number_in(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => {
            let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits[..end].parse().ok()
        }
        other => other.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(String, Vec<Declared>), Expected> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn any_names_and_nested_tables_are_parameters() {
        let (name, params) = read_text(
            "a = [1, 2]\nb = 'only'\n[c]\nd = [0.5, 1.0]\ne = { levels = ['x1', 'x2'], ordered = false }\nf = { from = 'table' }",
        )
        .unwrap();
        assert_eq!(name, "mine");
        let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c.d", "c.e", "c.f"]);
        assert_eq!(params[3].ordered, Some(false));
        assert!(params[4].levels.is_empty());
    }

    #[test]
    fn other_spellings_are_read() {
        let (_, params) = read_text(
            "[[parameters]]\nname = 'a'\nkind = 'categorical'\nvalues = [3, 1]\n\
             [[parameters]]\nname = 'b'\ntype = 'int'\nmin = 2\nmax = 8\nstep = 3\n\
             [[parameters]]\nname = 'c'\ntype = 'bool'\n[[parameters]]\nname = 'd'\ntype = 'float'\nlow = 0.0\nhigh = 0.2\nstep = 0.1\n\
             [[parameters]]\nname = 'e'\ntype = 'categorical'\n",
        )
        .unwrap();
        let levels: Vec<Vec<String>> =
            params.iter().map(|p| p.levels.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            levels,
            [vec!["3", "1"], vec!["2", "5", "8"], vec!["false", "true"], vec!["0", "0.1", "0.2"], vec![]]
        );
        assert_eq!(
            params.iter().map(|p| p.ordered).collect::<Vec<_>>(),
            [Some(false), Some(true), None, Some(true), Some(false)]
        );
    }

    #[test]
    fn a_space_of_the_tuner_is_read_as_the_tuner_reads_it() {
        let (_, params) = read_text("[weights]\nffn = ['F16', 'Q4_K', 'Q8_0']").unwrap();
        assert_eq!(params[0].name, "weights.ffn");
        // From few bits to many, whatever the file's order.
        assert_eq!(params[0].levels[2], Value::Text("F16".into()));
        assert_eq!(params[0].ordered, Some(true));
    }

    #[test]
    fn wrong_files_are_told() {
        for (text, part) in [
            ("a = []", "no levels"),
            ("a = [1, 1]", "twice"),
            ("x = [[1]]", "levels are"),
            ("", "no parameter"),
            ("x = { min = 4, max = 1 }", "a range of"),
            ("x = { min = 0.0, max = 1.0, step = 0.0 }", "not a positive number"),
            ("[[parameters]]\nlevels = [1]", "no `name`"),
        ] {
            let error = format!("{:#}", read_text(text).err().unwrap());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn orders_are_recognised() {
        let texts = |t: &[&str]| t.iter().map(|t| Value::Text((*t).into())).collect::<Vec<_>>();
        assert_eq!(kind(None, &texts(&["Q2_K", "Q4_0", "Q4_K", "f16"])), ParamKind::Ordinal);
        assert_eq!(kind(None, &texts(&["flash", "plain"])), ParamKind::Categorical);
        assert_eq!(kind(None, &[Value::Int(4), Value::Int(2)]), ParamKind::Ordinal);
        assert_eq!(kind(None, &[Value::Int(4), Value::Int(2), Value::Int(3)]), ParamKind::Categorical);
        assert_eq!(kind(None, &[Value::Bool(false), Value::Bool(true)]), ParamKind::Categorical);
    }
}
