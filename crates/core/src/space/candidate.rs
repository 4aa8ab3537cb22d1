//! A candidate: one value for every parameter, with a canonical form to compare and to hash.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// A count (threads, batch, context in tokens).
    Int(i64),
    /// A real number (a kept fraction).
    Real(f64),
    /// A name (a quantization type).
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Real(v) => write!(f, "{v}"),
            Value::Text(v) => f.write_str(v),
        }
    }
}

impl Value {
    /// The value as a real number, when it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::Real(v) => Some(*v),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }
}

/// One point of a space by names and values. Equal candidates are the same trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Candidate(pub BTreeMap<String, Value>);

impl Candidate {
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Sets a parameter, replacing what it had.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// JSON with sorted keys and no white space: equal candidates have equal texts.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        // A map of strings to plain values cannot fail to serialize.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The first 16 hexadecimal digits of the SHA-256 of the canonical JSON.
    #[must_use]
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.canonical_json().as_bytes());
        crate::hex::encode(&digest[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_candidates_hash_alike_whatever_the_order() {
        let a = Candidate::default().with("b", Value::Int(1)).with("a", Value::Text("x".into()));
        let b = Candidate::default().with("a", Value::Text("x".into())).with("b", Value::Int(1));
        assert_eq!(a.canonical_json(), r#"{"a":"x","b":1}"#);
        assert_eq!(a.hash(), b.hash());
        assert_ne!(a.hash(), b.clone().with("b", Value::Int(2)).hash());
    }

    #[test]
    fn values_survive_json() {
        let c = Candidate::default()
            .with("bool", Value::Bool(true))
            .with("int", Value::Int(4))
            .with("real", Value::Real(0.875))
            .with("whole", Value::Real(1.0))
            .with("text", Value::Text("Q4_K".into()));
        let back: Candidate = serde_json::from_str(&c.canonical_json()).unwrap();
        assert_eq!(back, c);
    }
}
