//! PURE: what rows of a bench are made of.

use std::time::Duration;

use serde::Serialize;

/// Several measurements of the same thing.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Series(pub(super) Vec<f64>);

impl Series {
    fn sorted(&self) -> Vec<f64> {
        let mut all = self.0.clone();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The middle one; 0 without any.
    pub(super) fn middle(&self) -> f64 {
        let all = self.sorted();
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    }

    /// `123 (100 to 130)`.
    pub(super) fn shown(&self) -> String {
        let all = self.sorted();
        match (all.first(), all.last()) {
            (Some(first), Some(last)) if all.len() > 1 => {
                format!("{} ({} to {})", digits(self.middle()), digits(*first), digits(*last))
            }
            (Some(one), _) => digits(*one),
            (None, _) => "-".to_owned(),
        }
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// One figure of one case.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) case: String,
    /// With its unit.
    pub(super) what: String,
    pub(super) ours: Series,
    /// Empty where the peer cannot be asked.
    pub(super) peer: Series,
}

/// All rows so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Who said what, where words are shown and not figures alone.
    pub(super) quotes: Vec<(String, String)>,
}

impl Table {
    /// Adds a row; the line to print.
    pub(super) fn add(&mut self, case: &str, what: &str, ours: Vec<f64>, peer: Vec<f64>) -> String {
        let row = Row { case: case.to_owned(), what: what.to_owned(), ours: Series(ours), peer: Series(peer) };
        let line = line(&row);
        self.rows.push(row);
        line
    }
}

fn line(row: &Row) -> String {
    let head = format!("{:<24} {:<26} {:>26}", row.case, row.what, row.ours.shown());
    if row.peer.0.is_empty() {
        return head;
    }
    let ratio = row.ours.middle() / row.peer.middle();
    format!("{head}   etcd {:>26}   ratio {}", row.peer.shown(), digits(ratio))
}

/// How long calls took.
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn new(mut all: Vec<Duration>) -> Self {
        all.sort();
        Latencies(all)
    }

    /// Milliseconds; 0 without any.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let at = self.0.len().saturating_sub(1) * percent / 100;
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The longest time without a success, from the first to the last. Units: milliseconds.
pub(super) fn longest_gap(mut successes: Vec<Duration>) -> f64 {
    successes.sort();
    let gaps = successes.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_middle_the_range_and_the_ratio() {
        let row = Row {
            case: "put".into(),
            what: "puts/s".into(),
            ours: Series(vec![300.0, 100.0, 200.0]),
            peer: Series(vec![50.0]),
        };
        let line = line(&row);
        assert!(line.contains("200 (100 to 300)") && line.contains("etcd") && line.ends_with("ratio 4.00"), "{line}");
    }

    #[test]
    fn percentiles_and_gaps() {
        let times = Latencies::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((times.percentile(50), times.percentile(99), times.len()), (50.0, 99.0, 100));
        assert_eq!(Latencies::new(Vec::new()).percentile(99), 0.0);
        let at = |ms: &[u64]| longest_gap(ms.iter().copied().map(Duration::from_millis).collect());
        assert_eq!((at(&[10, 0, 700, 30]), at(&[5])), (670.0, 0.0));
    }
}
