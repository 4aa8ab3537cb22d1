//! A space file as it is written: keys and values checked, nothing yet fitted to a host or a model.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Value;
use super::file_error::SpaceFileError;
use super::known::{DEPTHS, Domain, GROUPS, KNOWN, Known, META, Source};
use super::nearest::nearest;

/// The most levels that one parameter may have.
pub(crate) const MOST_LEVELS: usize = 64;

/// A space file that is well formed.
#[derive(Debug)]
pub(crate) struct Declared {
    /// The name that it gives itself.
    pub name: Option<String>,
    /// What it is for.
    pub description: String,
    /// Whether `weights.split = "depth"` is said.
    pub split: bool,
    /// The parameters, in the order of [`KNOWN`].
    pub params: Vec<DeclaredParam>,
}

/// One parameter as it is written.
#[derive(Debug)]
pub(crate) struct DeclaredParam {
    /// The parameter.
    pub known: Known,
    /// Dotted name, with the third of the depth where one is written.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    /// Its levels.
    pub levels: Declaration,
}

/// The levels as they are written.
#[derive(Debug, PartialEq)]
pub(crate) enum Declaration {
    /// One by one, all different, at least one.
    Listed(Vec<Value>),
    /// `{ from = "..." }`
    Derived {
        /// The largest level.
        up_to: Option<i64>,
        /// The smallest level.
        at_least: Option<f64>,
        /// How many levels.
        levels: Option<usize>,
    },
}

/// Reads a text.
///
/// # Errors
/// No TOML, an unknown key, or a value that its key does not take.
pub(crate) fn parse(text: &str, file: &str) -> Result<Declared, SpaceFileError> {
    let reader = Reader { text, file };
    let root = DeTable::parse(text).map_err(|error| reader.syntax(&error))?;
    let mut declared = Declared { name: None, description: String::new(), split: false, params: Vec::new() };
    reader.table(root.get_ref(), "", &mut declared)?;
    if declared.params.is_empty() {
        return Err(SpaceFileError::NoParameter { file: file.into(), known: parameters().into() });
    }
    let place = |p: &DeclaredParam| {
        let key = KNOWN.iter().position(|k| k.key == p.known.key);
        let depth = DEPTHS.iter().position(|d| p.name.rsplit('.').next() == Some(*d));
        (key, depth)
    };
    declared.params.sort_by_key(place);
    Ok(declared)
}

fn parameters() -> String {
    KNOWN.map(|k| k.key).join(", ")
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
}

type Entry<'i> = Spanned<DeValue<'i>>;

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn syntax(&self, error: &toml::de::Error) -> SpaceFileError {
        let span = error.span().unwrap_or(0..0);
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        SpaceFileError::Syntax {
            file: self.file.into(),
            line: self.line(&span),
            column,
            message: error.message().trim().replace('\n', ", ").into(),
        }
    }

    fn wrong(&self, key: &str, entry: &Entry<'_>, allowed: impl Into<Box<str>>) -> SpaceFileError {
        let span = entry.span();
        SpaceFileError::Value {
            file: self.file.into(),
            line: self.line(&span),
            key: key.into(),
            found: shorten(self.text.get(span).unwrap_or_default()).into(),
            hint: None,
            allowed: allowed.into(),
        }
    }

    fn unknown(&self, key: &str, span: &Range<usize>, known: &[&str]) -> SpaceFileError {
        SpaceFileError::UnknownKey {
            file: self.file.into(),
            line: self.line(span),
            key: shorten(key).into(),
            hint: nearest(key, known.iter().copied()).map(Into::into),
            known: known.join(", ").into(),
        }
    }

    /// The entries of the root (`prefix` empty) or of one of [`GROUPS`].
    fn table(&self, table: &DeTable<'_>, prefix: &str, into: &mut Declared) -> Result<(), SpaceFileError> {
        for (word, entry) in table {
            let key = join(prefix, word.get_ref());
            if prefix.is_empty() && GROUPS.contains(&key.as_str()) {
                let inner = entry.get_ref().as_table();
                let inner = inner.ok_or_else(|| self.wrong(&key, entry, "a table of parameters"))?;
                self.table(inner, &key, into)?;
            } else if META.contains(&key.as_str()) {
                self.meta(&key, entry, into)?;
            } else if let Some(known) = KNOWN.iter().find(|k| k.key == key) {
                self.param(*known, entry, self.line(&word.span()), into)?;
            } else {
                let all: Vec<&str> = KNOWN.iter().map(|k| k.key).chain(META).collect();
                return Err(self.unknown(&key, &word.span(), &all));
            }
        }
        Ok(())
    }

    fn meta(&self, key: &str, entry: &Entry<'_>, into: &mut Declared) -> Result<(), SpaceFileError> {
        let text = entry.get_ref().as_str();
        let text = text.ok_or_else(|| self.wrong(key, entry, "a text in quotes"))?;
        match key {
            "name" if text.trim().is_empty() => return Err(self.wrong(key, entry, "a short name")),
            "name" => into.name = Some(text.to_owned()),
            "description" => into.description = text.to_owned(),
            _ => {
                into.split = match text {
                    "depth" => true,
                    "none" => false,
                    _ => return Err(self.wrong(key, entry, "\"depth\" or \"none\"")),
                }
            }
        }
        Ok(())
    }

    /// A parameter: levels, or for a parameter that splits a table of levels for each third of the depth.
    fn param(
        &self,
        known: Known,
        entry: &Entry<'_>,
        line: usize,
        into: &mut Declared,
    ) -> Result<(), SpaceFileError> {
        let Some(thirds) = entry.get_ref().as_table().filter(|_| known.splits) else {
            let levels = self.levels(&known, known.key, entry)?;
            into.params.push(DeclaredParam { known, name: known.key.to_owned(), line, levels });
            return Ok(());
        };
        for (word, entry) in thirds {
            let name = join(known.key, word.get_ref());
            if !DEPTHS.contains(&word.get_ref().as_ref()) {
                return Err(self.unknown(&name, &word.span(), &DEPTHS));
            }
            let levels = self.levels(&known, &name, entry)?;
            into.params.push(DeclaredParam { known, name, line: self.line(&word.span()), levels });
        }
        if thirds.len() < DEPTHS.len() {
            return Err(self.wrong(known.key, entry, "levels for each of early, middle and late"));
        }
        Ok(())
    }

    /// A list of values, a single value, or `{ from = ... }`.
    fn levels(&self, known: &Known, name: &str, entry: &Entry<'_>) -> Result<Declaration, SpaceFileError> {
        if let Some(table) = entry.get_ref().as_table() {
            return self.derived(known, name, entry, table);
        }
        let Some(list) = entry.get_ref().as_array() else {
            return Ok(Declaration::Listed(vec![self.value(known.domain, name, entry)?]));
        };
        if list.is_empty() || list.len() > MOST_LEVELS {
            return Err(self.wrong(name, entry, format!("from 1 to {MOST_LEVELS} levels")));
        }
        let mut levels = Vec::new();
        for item in list.iter() {
            let value = self.value(known.domain, name, item)?;
            if levels.contains(&value) {
                return Err(self.wrong(name, item, "each level once"));
            }
            levels.push(value);
        }
        Ok(Declaration::Listed(levels))
    }

    fn value(&self, domain: Domain, name: &str, entry: &Entry<'_>) -> Result<Value, SpaceFileError> {
        let value = entry.get_ref();
        let read = match domain {
            Domain::WeightType | Domain::KvType => {
                value.as_str().filter(|s| domain.words().contains(s)).map(|s| Value::Text(s.to_owned()))
            }
            Domain::Fraction => number(value).filter(|x| *x > 0.0 && *x <= 1.0).map(Value::Real),
            Domain::Count { least } => {
                whole(value).filter(|n| (least..=Domain::MOST).contains(n)).map(Value::Int)
            }
            Domain::Switch => value.as_bool().map(Value::Bool),
        };
        read.ok_or_else(|| {
            let mut error = self.wrong(name, entry, domain.allowed());
            if let (SpaceFileError::Value { hint, .. }, Some(found)) = (&mut error, value.as_str()) {
                *hint = nearest(found, domain.words()).map(Into::into);
            }
            error
        })
    }

    fn derived(
        &self,
        known: &Known,
        name: &str,
        entry: &Entry<'_>,
        table: &DeTable<'_>,
    ) -> Result<Declaration, SpaceFileError> {
        let Some(source) = known.source else {
            return Err(self.wrong(name, entry, format!("a list of levels: {}", known.domain.allowed())));
        };
        let options = options(known);
        let (mut from, mut up_to, mut at_least, mut levels) = (false, None, None, None);
        for (word, entry) in table {
            let key = join(name, word.get_ref());
            let count = |least: i64, most: i64| {
                whole(entry.get_ref())
                    .filter(|n| (least..=most).contains(n))
                    .ok_or_else(|| self.wrong(&key, entry, format!("an integer from {least} to {most}")))
            };
            match word.get_ref().as_ref() {
                "from" => {
                    if entry.get_ref().as_str() != Some(source.word()) {
                        return Err(self.wrong(&key, entry, format!("\"{}\"", source.word())));
                    }
                    from = true;
                }
                "up_to" if options.contains(&"up_to") => up_to = Some(count(1, Domain::MOST)?),
                "at_least" if known.domain == Domain::Fraction => {
                    let x = number(entry.get_ref()).filter(|x| *x > 0.0 && *x <= 1.0);
                    let x = x.ok_or_else(|| self.wrong(&key, entry, Domain::Fraction.allowed()))?;
                    at_least = Some(x);
                }
                "at_least" if options.contains(&"at_least") => {
                    at_least = Some(count(1, Domain::MOST)? as f64);
                }
                "levels" if options.contains(&"levels") => {
                    let n = count(1, MOST_LEVELS as i64)?;
                    levels = Some(usize::try_from(n).unwrap_or(MOST_LEVELS));
                }
                _ => return Err(self.unknown(word.get_ref(), &word.span(), &options)),
            }
        }
        if !from {
            let allowed = format!("a list of levels, or {{ from = \"{}\" }}", source.word());
            return Err(self.wrong(name, entry, allowed));
        }
        Ok(Declaration::Derived { up_to, at_least, levels })
    }
}

/// The keys of `{ from = ... }` for a parameter.
fn options(known: &Known) -> Vec<&'static str> {
    match (known.source, known.domain) {
        (Some(Source::Model), Domain::Fraction) => vec!["from", "at_least", "levels"],
        (Some(Source::Workload), _) if known.key == "context" => vec!["from", "at_least"],
        _ => vec!["from", "up_to"],
    }
}

fn join(prefix: &str, word: &str) -> String {
    if prefix.is_empty() { word.to_owned() } else { format!("{prefix}.{word}") }
}

/// A piece of the file that fits into a line.
fn shorten(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 60 {
        return line;
    }
    line.chars().take(59).chain(['…']).collect()
}

fn whole(value: &DeValue<'_>) -> Option<i64> {
    let n = value.as_integer()?;
    i64::from_str_radix(n.as_str(), n.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(x) => x.as_str().parse().ok().filter(|x: &f64| x.is_finite()),
        None => whole(value).map(|n| n as f64),
    }
}
