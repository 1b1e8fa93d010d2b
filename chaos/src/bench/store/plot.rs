//! PURE: the rows as a page and as a picture.

use std::fmt::Write;

use crate::bench::figures::{Row, Table};

/// Height of a bar with its room, in the picture's units.
const STEP: usize = 22;
const LEFT: usize = 330;
const WIDTH: usize = 860;
/// The longest bar; longer ones are cut and say so by their number.
const RATIO_MAX: f64 = 10.0;

/// What figures are called that are better when they are more; others are when they are less.
const MORE: [&str; 2] = ["/s", ", share"];
/// How those begin that say what was done, or what the machine is: neither more nor less is better.
const NEITHER: [&str; 3] = ["the disk's own", "compactions", "snapshots"];

/// How many times better ours is.
fn advantage(row: &Row) -> Option<f64> {
    let (ours, peer) = (row.ours.middle(), row.peer.middle());
    let known = ours > 0.0 && peer > 0.0 && !NEITHER.iter().any(|word| row.what.starts_with(word));
    let more = MORE.iter().any(|word| row.what.ends_with(word));
    known.then(|| if more { ours / peer } else { peer / ours })
}

/// Whether any row can be compared.
pub(super) fn compares(rows: &[Row]) -> bool {
    rows.iter().any(|row| advantage(row).is_some())
}

/// A table in Markdown, and what others' programs said.
pub(super) fn page(table: &Table, name: &str, (peer, machine): (&str, &str)) -> String {
    let mut page = format!("# The store beside {peer}\n\n{machine}\n\n");
    if compares(&table.rows) {
        let _ = write!(page, "![how many times better]({name}.svg)\n\n");
    }
    let _ = writeln!(page, "| case | figure | raftsman store | {peer} | times better |\n|---|---|---|---|---|");
    for row in &table.rows {
        let times = advantage(row).map_or_else(|| "-".to_owned(), |times| format!("{times:.2}"));
        let _ =
            writeln!(page, "| {} | {} | {} | {} | {times} |", row.case, row.what, row.ours.shown(), row.peer.shown());
    }
    for (who, what) in &table.quotes {
        let _ = write!(page, "\n{who}:\n\n```\n{what}\n```\n");
    }
    page
}

/// A bar per row that can be compared; the line is at one, where both are equal.
pub(super) fn ratios(rows: &[Row], peer: &str) -> String {
    let bars: Vec<(String, f64)> =
        rows.iter().filter_map(|row| Some((format!("{}: {}", row.case, row.what), advantage(row)?))).collect();
    let height = 60 + bars.len() * STEP;
    let scale = (WIDTH - LEFT - 60) as f64 / RATIO_MAX;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" \
         font-size=\"15\">raftsman store beside {peer}: times better (longer is better)</text>\n"
    );
    for (at, (name, times)) in bars.iter().enumerate() {
        let (top, length) = (40 + at * STEP, times.min(RATIO_MAX) * scale);
        let colour = if *times >= 1.0 { "#2a7f62" } else { "#b5482f" };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text><rect x=\"{LEFT}\" y=\"{top}\" \
             width=\"{length:.0}\" height=\"16\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{}\">{times:.2}</text>",
            LEFT - 8,
            top + 13,
            LEFT as f64 + length + 6.0,
            top + 13
        );
    }
    let one = LEFT as f64 + scale;
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.0}\" y1=\"34\" x2=\"{one:.0}\" y2=\"{}\" stroke=\"#555\" stroke-dasharray=\"4 3\"/>\n</svg>",
        height - 10
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Series;

    fn row(what: &str, ours: f64, peer: f64) -> Row {
        Row { case: "put".into(), what: what.into(), ours: Series(vec![ours]), peer: Series(vec![peer]) }
    }

    #[test]
    fn better_is_more_of_a_rate_and_less_of_anything_else() {
        assert_eq!(advantage(&row("puts/s", 30.0, 10.0)), Some(3.0));
        assert_eq!(advantage(&row("p99 ms", 30.0, 10.0)), Some(10.0 / 30.0));
        assert_eq!(advantage(&row("p99 ms", 30.0, f64::NAN)), None);
        assert_eq!(advantage(&row("snapshots", 30.0, 10.0)), None);
        assert_eq!(advantage(&row("rate without them, share", 1.0, 0.5)), Some(2.0));
        let rows = vec![row("puts/s", 30.0, 10.0), row("p99 ms", 1.0, 0.0)];
        let table = Table { rows: rows.clone(), quotes: vec![("it".into(), "PASS".into())] };
        let page = page(&table, "store", ("etcd 9", "machine"));
        assert!(page.contains("| put | puts/s | 30.0 | 10.0 | 3.00 |"), "{page}");
        assert!(page.ends_with("it:\n\n```\nPASS\n```\n"), "{page}");
        let svg = ratios(&rows, "etcd 9");
        assert_eq!(svg.matches("<rect x=").count(), 1, "only what can be compared");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
