//! Semi-structured sparsity: two of every four neighbours are zero, which tensor cores skip (Mishra et al. 2021, arXiv:2104.08378).

/// Sets the two smallest of every four neighbours to zero; of equal ones the later.
pub(super) fn thin(row: &mut [f32]) {
    for four in row.chunks_mut(4) {
        let mut order: Vec<usize> = (0..four.len()).collect();
        order.sort_by(|a, b| four[*b].abs().total_cmp(&four[*a].abs()).then(a.cmp(b)));
        order.into_iter().skip(2).for_each(|i| four[i] = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_largest_of_four_stay() {
        let mut row = [0.1, -3.0, 2.0, 0.5, 1.0, 1.0, 1.0, 1.0];
        thin(&mut row);
        assert_eq!(row, [0.0, -3.0, 2.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
