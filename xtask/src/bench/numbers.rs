//! Medians, and an order of runs that can be repeated.

/// The middle value; of an even number of values the mean of the middle two. Not a number for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Smallest and largest.
pub fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        })
}

/// `median (smallest to largest)`.
pub fn spread(values: &[f64], decimals: usize) -> String {
    let (low, high) = range(values);
    format!(
        "{:.decimals$} ({low:.decimals$} to {high:.decimals$})",
        median(values)
    )
}

/// A small generator (`SplitMix64`): nothing depends on its quality, only on its being repeatable.
pub struct Order(u64);

impl Order {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Puts the items into the next order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let choice = self.next() % (last as u64 + 1);
            items.swap(last, usize::try_from(choice).unwrap_or(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_odd_and_even_numbers_of_values_when_their_median_is_taken_then_it_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 (1.0 to 3.0)");
    }

    #[test]
    fn given_a_seed_when_shuffling_many_times_then_every_order_comes_and_the_same_seed_repeats_them() {
        let orders = |seed| {
            let mut order = Order::new(seed);
            (0..100)
                .map(|_| {
                    let mut items = [0, 1, 2];
                    order.shuffle(&mut items);
                    items
                })
                .collect::<Vec<_>>()
        };
        let mut seen = orders(1);
        assert_eq!(seen, orders(1));
        assert_ne!(seen, orders(2));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
    }
}
