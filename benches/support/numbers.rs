//! Numbers of many measurements.

use std::time::Duration;

/// The value below which so many percent of sorted values lie.
pub fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    at(&values, 50)
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "far below 2^52")]
pub fn float(value: u64) -> f64 {
    value as f64
}
