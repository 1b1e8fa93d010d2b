//! A run as one HTML page: what was done, what held, and a picture of it.

mod picture;
mod strips;
mod violation;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::history::History;
use crate::scenario::Run;

/// Writes `report.html` into a run's folder.
pub(crate) fn write(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let read =
        |name: &str| std::fs::read(dir.join(name)).with_context(|| format!("{}: no run lies here", dir.display()));
    let run: Run = serde_json::from_slice(&read("run.json")?)?;
    let history: History = serde_json::from_slice(&read("history.json")?)?;
    let path = dir.join("report.html");
    let picture = picture::draw(&run, &history);
    std::fs::write(dir.join("picture.svg"), &picture)?;
    let found = violation::section(&run.verdicts, &history).unwrap_or_default();
    std::fs::write(&path, page(&run, &picture, &found))?;
    Ok(path)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(run: &Run, picture: &str, found: &str) -> String {
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
    html.push_str("<h2>Calls, acknowledged writes, watchers, clocks, and who leads</h2><p>The fault is shaded.</p>");
    html.push_str(picture);
    html.push_str("<h2>What must hold</h2><table><tr><th>property<th>looked at<th>found</tr>");
    for verdict in &run.verdicts {
        let (class, found) = match (verdict.holds(), verdict.violations.is_empty()) {
            (true, _) => ("", "holds".to_owned()),
            (false, true) => ("bad", "no evidence: proves nothing".to_owned()),
            (false, false) => ("bad", escape(&verdict.violations.join("\n")).replace('\n', "<br>")),
        };
        let _ = write!(html, "<tr class='{class}'><td>{}<td>{}<td>{found}</tr>", verdict.property, verdict.looked_at);
    }
    html.push_str("</table>");
    html.push_str(found);
    html.push_str("<h2>What was done</h2><table>");
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
