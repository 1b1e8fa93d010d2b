//! A run as one HTML page: what was done, what held, and the writes of every tenth of a second.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::history::{History, Outcome};
use crate::scenario::Run;

/// A bar of the picture. Units: microseconds.
const STEP_US: u64 = 100_000;
/// The picture's height. Units: pixels.
const HEIGHT: usize = 120;

/// Writes `report.html` into a run's folder.
pub(crate) fn write(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let read =
        |name: &str| std::fs::read(dir.join(name)).with_context(|| format!("{}: no run lies here", dir.display()));
    let run: Run = serde_json::from_slice(&read("run.json")?)?;
    let history: History = serde_json::from_slice(&read("history.json")?)?;
    let path = dir.join("report.html");
    std::fs::write(&path, page(&run, &history))?;
    Ok(path)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(run: &Run, history: &History) -> String {
    let mut html = String::new();
    let title = format!("{} seed {}: {}", run.scenario, run.seed, if run.ok() { "everything held" } else { "FAILED" });
    let _ = write!(
        html,
        "<!doctype html><meta charset=utf-8><title>{title}</title><style>body{{font:15px sans-serif;margin:2em;max-width:70em}}\
         td,th{{padding:.2em 1em .2em 0;text-align:left;vertical-align:top}}.bad{{color:#b00}}</style><h1>{title}</h1>"
    );
    let _ = write!(
        html,
        "<p>{} operations of the clients, {} writes acknowledged, {} of unknown outcome. Longest pause between writes: {} ms. \
         The Deployment was whole {} ms after the fault.</p>",
        run.operations,
        run.written,
        run.unknown,
        run.outage_us / 1000,
        run.converged_ms
    );
    html.push_str("<h2>Acknowledged writes per tenth of a second</h2>");
    html.push_str(&picture(run, history));
    html.push_str("<h2>What must hold</h2><table><tr><th>property<th>looked at<th>found</tr>");
    for verdict in &run.verdicts {
        let (class, found) = match (verdict.holds(), verdict.violations.is_empty()) {
            (true, _) => ("", "holds".to_owned()),
            (false, true) => ("bad", "no evidence: proves nothing".to_owned()),
            (false, false) => ("bad", escape(&verdict.violations.join("\n")).replace('\n', "<br>")),
        };
        let _ = write!(html, "<tr class='{class}'><td>{}<td>{}<td>{found}</tr>", verdict.property, verdict.looked_at);
    }
    html.push_str("</table><h2>What was done</h2><table>");
    for (at, text) in &run.timeline {
        let _ = write!(html, "<tr><td>{:.3} s<td>{}</tr>", seconds(*at), escape(text));
    }
    html.push_str("</table>");
    html
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn picture(run: &Run, history: &History) -> String {
    let mut counts: Vec<usize> = Vec::new();
    for operation in &history.operations {
        if matches!(operation.outcome, Outcome::Written { .. }) {
            let at = usize::try_from(operation.returned_us / STEP_US).unwrap_or(0);
            counts.resize(counts.len().max(at + 1), 0);
            counts[at] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let (from, to) = (run.fault_us.0 / STEP_US, run.fault_us.1 / STEP_US);
    let mut svg = format!("<svg width='{}' height='{HEIGHT}' style='background:#f6f6f6'>", counts.len() * 6);
    let _ = write!(svg, "<rect x='{}' width='{}' height='{HEIGHT}' fill='#fdd'/>", from * 6, (to - from).max(1) * 6);
    for (at, count) in counts.iter().enumerate() {
        let height = count * HEIGHT / most;
        let _ = write!(svg, "<rect x='{}' y='{}' width='5' height='{height}' fill='#369'/>", at * 6, HEIGHT - height);
    }
    svg.push_str("</svg><p>At most ");
    let _ = write!(svg, "{most} in a bar; the fault is shaded.</p>");
    svg
}
