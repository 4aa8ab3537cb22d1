//! The space of a recorded table: parameters of any name, with their levels listed or read off the table.

use anyhow::Context;
use toml::Value as Toml;

use crate::cli::exit::Expected;
use crate::space::{Param, ParamKind, Space, SpaceFacts, Value, parse_space};

/// A declared parameter: its levels, or none when the table tells them.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) levels: Vec<Value>,
    /// Whether the levels have an order; `None` where they themselves must tell.
    pub(super) ordered: Option<bool>,
}

/// The parameters of a space file, and the space's name.
///
/// A file of the tuner's own format is read as the tuner reads it. In any other, each key is a parameter, tables make dotted
/// names, and a value is a list of levels, a single level, or a table of `levels` and `ordered`.
pub(super) fn read(path: &std::path::Path) -> anyhow::Result<(String, Vec<Declared>)> {
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
            ("description", Toml::String(_)) => {}
            _ => walk(key, value, &mut params).with_context(|| format!("--space {file}"))?,
        }
    }
    if params.is_empty() {
        return Err(Expected::usage(format!(
            "--space {file}: declares no parameter; write for example `bits = [2, 4, 8]`"
        ))
        .into());
    }
    Ok((name, params))
}

fn walk(name: &str, value: &Toml, params: &mut Vec<Declared>) -> anyhow::Result<()> {
    let mut declare = |levels: &[Toml], ordered| -> anyhow::Result<()> {
        let levels: Vec<Value> = levels.iter().map(|v| level(name, v)).collect::<anyhow::Result<_>>()?;
        if let Some(twice) = levels.iter().enumerate().find(|(i, l)| levels[..*i].contains(l)) {
            return Err(Expected::usage(format!(
                "`{name}` has the level `{}` twice; name each once",
                twice.1
            ))
            .into());
        }
        params.push(Declared { name: name.to_owned(), levels, ordered });
        Ok(())
    };
    match value {
        Toml::Array(levels) if levels.is_empty() => {
            Err(Expected::usage(format!("`{name}` has no levels; list at least one")).into())
        }
        Toml::Array(levels) => declare(levels, None),
        Toml::Table(table) if table.contains_key("from") => declare(&[], None),
        Toml::Table(table) if table.get("levels").is_some_and(Toml::is_array) => {
            let levels = table.get("levels").and_then(Toml::as_array).map_or(&[] as &[Toml], Vec::as_slice);
            declare(levels, table.get("ordered").and_then(Toml::as_bool))
        }
        Toml::Table(table) => {
            table.iter().try_for_each(|(key, value)| walk(&format!("{name}.{key}"), value, params))
        }
        single => declare(std::slice::from_ref(single), None),
    }
}

fn level(name: &str, value: &Toml) -> anyhow::Result<Value> {
    match value {
        Toml::Integer(n) => Ok(Value::Int(*n)),
        Toml::Float(x) if x.is_finite() => Ok(Value::Real(*x)),
        Toml::Boolean(b) => Ok(Value::Bool(*b)),
        Toml::String(text) => Ok(Value::Text(text.clone())),
        other => Err(Expected::usage(format!(
            "`{name}` has the level `{other}`; levels are numbers, texts, true or false"
        ))
        .into()),
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

    fn read_text(text: &str) -> anyhow::Result<(String, Vec<Declared>)> {
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
