//! Medians, confidence intervals, and an order of runs that can be repeated.

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

/// `mean (low to high)`: the geometric mean of ratios, and where the true one lies with 95 % confidence. Student's t on
/// their logarithms, since ratios multiply: 0.5 and 2 cancel each other. One ratio has no interval.
pub fn confidence(ratios: &[f64], decimals: usize) -> String {
    let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    #[expect(clippy::cast_precision_loss, reason = "numbers of blocks")]
    let count = logarithms.len() as f64;
    let mean = logarithms.iter().sum::<f64>() / count;
    if logarithms.len() < 2 {
        return format!("{:.decimals$} (no interval)", mean.exp());
    }
    let squares: f64 = logarithms.iter().map(|value| (value - mean).powi(2)).sum();
    let half = student(logarithms.len() - 1) * (squares / (count - 1.0) / count).sqrt();
    let [low, high] = [mean - half, mean + half].map(f64::exp);
    format!(
        "{:.decimals$} ({low:.decimals$} to {high:.decimals$})",
        mean.exp()
    )
}

/// The 97.5 % quantile of Student's distribution: a table, and beyond it the expansion by Cornish and Fisher around the
/// normal one's, which is right to the third decimal there.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 12] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
    ];
    const NORMAL: f64 = 1.959_964;
    if let Some(quantile) = degrees.checked_sub(1).and_then(|index| TABLE.get(index)) {
        return *quantile;
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of blocks")]
    let degrees = degrees as f64;
    let first = (NORMAL.powi(3) + NORMAL) / 4.0;
    let second = (5.0 * NORMAL.powi(5) + 16.0 * NORMAL.powi(3) + 3.0 * NORMAL) / 96.0;
    NORMAL + first / degrees + second / degrees.powi(2)
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
    fn given_degrees_of_freedom_when_the_quantile_is_asked_for_then_it_is_that_of_printed_tables() {
        for (degrees, quantile) in [
            (1, 12.706),
            (7, 2.365),
            (12, 2.179),
            (13, 2.160),
            (30, 2.042),
            (120, 1.980),
        ] {
            assert!(
                (student(degrees) - quantile).abs() < 0.0011,
                "{degrees}: {}",
                student(degrees)
            );
        }
    }

    #[test]
    fn given_ratios_when_their_confidence_is_asked_for_then_the_interval_is_around_their_geometric_mean() {
        // Logarithms of mean 0; half of the interval is 3.182 * ln 2 / sqrt(3).
        assert_eq!(confidence(&[0.5, 2.0, 0.5, 2.0], 2), "1.00 (0.28 to 3.57)");
        assert_eq!(confidence(&[0.9, 0.9, 0.9], 3), "0.900 (0.900 to 0.900)");
        assert_eq!(confidence(&[0.9], 3), "0.900 (no interval)");
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
