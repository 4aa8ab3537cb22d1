//! How long the engine's kernels take on a machine for layers of a model's shape: measured once, kept, and what latency is predicted from.

use serde::{Deserialize, Serialize};

use autotune_core::space::KvType;
use autotune_model::GgmlType;

/// Whose kernels, and with how many threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatesRequest {
    /// Compute threads.
    pub threads: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads of a layer.
    pub heads: u32,
    /// KV heads of a layer.
    pub kv_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// FFN width.
    pub ffn: u32,
}

/// A matrix product's cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatmulRate {
    /// Type of the weights.
    pub ty: GgmlType,
    /// Whether they lie in the layout that the engine prefers.
    pub repacked: bool,
    /// Rows of the product.
    pub rows: u32,
    /// Nanoseconds for each weight.
    pub ns: f64,
}

/// What a layer costs beside its matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRate {
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
    /// Rows computed together.
    pub rows: u32,
    /// Sequences that they belong to.
    pub streams: u32,
    /// Positions in each cache.
    pub positions: u32,
    /// Nanoseconds.
    pub ns: f64,
}

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelRates {
    /// Whose kernels.
    pub request: RatesRequest,
    /// Matrix products.
    pub matmul: Vec<MatmulRate>,
    /// The rest of a layer.
    pub layer: Vec<LayerRate>,
}

impl KernelRates {
    /// Nanoseconds for each weight of a product of `rows` rows: between measured numbers of rows in proportion, beyond the last one
    /// growing with the rows. A repacked type that has no such layout is taken as it is. None for a type that was not measured.
    #[must_use]
    pub fn matmul_ns(&self, ty: GgmlType, repacked: bool, rows: f64) -> Option<f64> {
        let points = |repacked| -> Vec<(f64, f64)> {
            let of = |r: &&MatmulRate| r.ty == ty && r.repacked == repacked;
            self.matmul.iter().filter(of).map(|r| (f64::from(r.rows), r.ns)).collect()
        };
        let mut found = if repacked { points(true) } else { Vec::new() };
        if found.is_empty() {
            found = points(false);
        }
        between(&mut found, rows)
    }

    /// Nanoseconds of a layer without its products, for `rows` rows of `streams` sequences with so many positions in their caches.
    #[must_use]
    pub fn layer_ns(&self, kv: (KvType, KvType), rows: f64, streams: u32, positions: f64) -> Option<f64> {
        // Prompts have many rows of one sequence; a decode step has one row of each.
        let prompt = rows > f64::from(streams);
        let of = |r: &&LayerRate| (r.kv_k, r.kv_v) == kv && (r.rows > r.streams) == prompt;
        let rates: Vec<&LayerRate> = self.layer.iter().filter(of).collect();
        let mut by_rows: Vec<(f64, f64)> = Vec::new();
        for rate in &rates {
            if by_rows.iter().any(|(r, _)| *r == f64::from(rate.rows)) {
                continue;
            }
            let points: Vec<(f64, f64)> = rates
                .iter()
                .filter(|r| r.rows == rate.rows)
                .map(|r| (f64::from(r.positions), r.ns))
                .collect();
            by_rows.push((f64::from(rate.rows), line(&points, positions)?));
        }
        between(&mut by_rows, rows)
    }
}

/// Linear interpolation; below the first point its value, beyond the last in proportion to it.
fn between(points: &mut [(f64, f64)], x: f64) -> Option<f64> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (first, last) = (points.first()?, points.last()?);
    if x <= first.0 {
        return Some(first.1);
    }
    if x >= last.0 {
        return Some(last.1 * x / last.0);
    }
    let after = points.iter().position(|p| p.0 > x)?;
    let (a, b) = (points[after - 1], points[after]);
    Some(a.1 + (x - a.0) / (b.0 - a.0) * (b.1 - a.1))
}

/// The line through the first and the last point, not below a tenth of the first.
fn line(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    if first.0 == last.0 {
        return Some(first.1);
    }
    let slope = ((last.1 - first.1) / (last.0 - first.0)).max(0.0);
    Some((first.1 + slope * (x - first.0)).max(first.1 / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_between_and_beyond_what_was_measured() {
        let rate = |ty, repacked, rows, ns| MatmulRate { ty, repacked, rows, ns };
        let layer = |rows, streams, positions, ns| LayerRate {
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            rows,
            streams,
            positions,
            ns,
        };
        let rates = KernelRates {
            matmul: vec![
                rate(GgmlType::Q4_0, false, 4, 3.0),
                rate(GgmlType::Q4_0, false, 1, 1.0),
                rate(GgmlType::Q4_0, false, 100, 51.0),
                rate(GgmlType::Q4_0, true, 1, 0.5),
            ],
            layer: vec![
                layer(1, 1, 200, 100.0),
                layer(1, 1, 400, 120.0),
                layer(4, 4, 200, 400.0),
                layer(4, 4, 400, 480.0),
                layer(64, 1, 200, 6400.0),
                layer(64, 1, 400, 12800.0),
            ],
            ..KernelRates::default()
        };
        let ns = |repacked, rows| rates.matmul_ns(GgmlType::Q4_0, repacked, rows);
        assert_eq!((ns(false, 1.0), ns(false, 2.5), ns(false, 200.0)), (Some(1.0), Some(2.0), Some(102.0)));
        assert_eq!(ns(true, 1.0), Some(0.5));
        assert_eq!(rates.matmul_ns(GgmlType::Q8_0, true, 1.0), None);
        let kv = (KvType::F16, KvType::F16);
        assert_eq!(rates.layer_ns(kv, 1.0, 1, 300.0), Some(110.0));
        assert_eq!(rates.layer_ns(kv, 2.0, 2, 200.0), Some(200.0));
        assert_eq!(rates.layer_ns(kv, 128.0, 1, 300.0), Some(19_200.0));
        assert_eq!(rates.layer_ns((KvType::Q8_0, KvType::F16), 1.0, 1, 300.0), None);
    }
}
