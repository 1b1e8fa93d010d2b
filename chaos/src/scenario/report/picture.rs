//! PURE: a run as one picture: how long calls took, what was acknowledged, how far watchers were behind, how wrong clocks
//! were, and who led, over the same time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::{History, Operation, Outcome};
use crate::scenario::Run;
use crate::scenario::report::{strips, violation};
use crate::work::roles::Role;

/// Of the whole. Units: pixels.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const LEFT: f64 = 80.0;
const SCATTER: f64 = 260.0;
const BARS: f64 = 70.0;
const LANE: f64 = 22.0;
const GAP: f64 = 26.0;
/// Calls that went well and are drawn, at most: others are left out evenly.
const DOTS_MAX: usize = 4000;
/// A bar. Units: microseconds.
pub(super) const STEP_US: u64 = 100_000;
/// The ends of what is drawn by its logarithm. Units: powers of ten of microseconds.
const LOWEST: f64 = 2.0;
const HIGHEST: f64 = 7.0;

#[expect(clippy::cast_precision_loss, reason = "drawn")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// Where a time lies.
pub(super) struct Axis {
    pub(super) end_us: u64,
}

impl Axis {
    pub(super) fn x(&self, us: u64) -> f64 {
        LEFT + (WIDTH - LEFT) * float(us.min(self.end_us)) / float(self.end_us.max(1))
    }
}

/// How far from the top of a field so many microseconds lie.
pub(super) fn depth(us: u64, tall: f64) -> f64 {
    let power = float(us.max(1)).log10().clamp(LOWEST, HIGHEST);
    tall * (HIGHEST - power) / (HIGHEST - LOWEST)
}

fn colour(operation: &Operation) -> &'static str {
    match operation.outcome {
        Outcome::Written { .. } => "#336699",
        Outcome::Seen { .. } => "#88aa77",
        Outcome::Refused { .. } => "#999999",
        Outcome::Unknown { .. } => "#cc3333",
    }
}

/// The picture, as SVG.
pub(super) fn draw(run: &Run, history: &History) -> String {
    let last = history.operations.iter().map(|operation| operation.returned_us).max().unwrap_or(1);
    let axis = Axis { end_us: last };
    let mut lanes: BTreeMap<&str, Vec<&Role>> = BTreeMap::new();
    run.roles.iter().for_each(|role| lanes.entry(&role.member).or_default().push(role));
    let clocks = strips::clocks(&run.roles);
    let bars_at = GAP + SCATTER + GAP;
    let lag_at = bars_at + BARS + GAP;
    let clocks_at = lag_at + strips::TALL + GAP;
    let lanes_at = if clocks.is_empty() { clocks_at } else { clocks_at + strips::TALL + GAP };
    let height = lanes_at + LANE * float(lanes.len() as u64) + GAP;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' font-family='sans-serif' font-size='11'>\
         <rect width='100%' height='100%' fill='#ffffff'/>"
    );
    let (from, to) = (axis.x(run.fault_us.0), axis.x(run.fault_us.1));
    let _ = write!(
        svg,
        "<rect x='{from:.1}' y='{GAP}' width='{:.1}' height='{:.1}' fill='#ffdddd'/>",
        (to - from).max(1.0),
        height - 2.0 * GAP
    );
    let _ = write!(svg, "<text x='{from:.1}' y='{:.1}' fill='#aa3333'>{}</text>", GAP - 6.0, run.scenario);
    scatter(&axis, &history.operations, &mut svg);
    bars(&axis, &history.operations, bars_at, &mut svg);
    strips::draw_lag(&axis, history, lag_at, &mut svg);
    strips::draw_clocks(&axis, &clocks, clocks_at, &mut svg);
    for (place, (member, roles)) in lanes.iter().enumerate() {
        lane(&axis, member, roles, lanes_at + LANE * float(place as u64), &mut svg);
    }
    for second in 0..=last / 1_000_000 {
        let _ = write!(
            svg,
            "<text x='{:.1}' y='{:.1}' fill='#555'>{second} s</text>",
            axis.x(second * 1_000_000),
            height - 8.0
        );
    }
    if let Some((_, at_us)) = violation::first(&run.verdicts) {
        let x = axis.x(at_us);
        let _ = write!(svg, "<line x1='{x:.1}' x2='{x:.1}' y1='{GAP}' y2='{:.1}' stroke='#cc0000'/>", height - GAP);
        let _ = write!(svg, "<text x='{:.1}' y='{:.1}' fill='#cc0000'>first violation</text>", x + 3.0, GAP + 10.0);
    }
    svg.push_str("</svg>");
    svg
}

fn scatter(axis: &Axis, operations: &[Operation], svg: &mut String) {
    for (power, label) in [(2, "0.1 ms"), (3, "1 ms"), (4, "10 ms"), (5, "100 ms"), (6, "1 s"), (7, "10 s")] {
        let y = GAP + depth(10_u64.pow(power), SCATTER);
        let _ = write!(svg, "<text x='4' y='{:.1}' fill='#555'>{label}</text>", y + 4.0);
        let _ = write!(svg, "<line x1='{LEFT}' x2='{WIDTH}' y1='{y:.1}' y2='{y:.1}' stroke='#e4e4e4'/>");
    }
    let every = operations.len().div_ceil(DOTS_MAX).max(1);
    for (number, operation) in operations.iter().enumerate() {
        let well = matches!(operation.outcome, Outcome::Written { .. } | Outcome::Seen { .. });
        if well && number % every != 0 {
            continue;
        }
        let took = operation.returned_us.saturating_sub(operation.invoked_us);
        let (x, y) = (axis.x(operation.invoked_us), GAP + depth(took, SCATTER));
        let (size, colour) = (if well { 1.2 } else { 2.4 }, colour(operation));
        let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='{size}' fill='{colour}'/>");
    }
    let words = [("#336699", "written"), ("#88aa77", "read"), ("#999999", "refused"), ("#cc3333", "outcome unknown")];
    for (place, (colour, word)) in words.iter().enumerate() {
        let x = WIDTH - 340.0 + 80.0 * float(place as u64);
        let _ = write!(svg, "<circle cx='{x}' cy='{0}' r='3' fill='{colour}'/>", GAP - 10.0);
        let _ = write!(svg, "<text x='{}' y='{}'>{word}</text>", x + 6.0, GAP - 6.0);
    }
}

/// Acknowledged writes per tenth of a second.
fn bars(axis: &Axis, operations: &[Operation], at: f64, svg: &mut String) {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Written { .. })) {
        *counts.entry(operation.returned_us / STEP_US).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1);
    let _ = write!(svg, "<text x='4' y='{:.1}' fill='#555'>{} writes/s</text>", at + 10.0, most * 10);
    for (step, count) in counts {
        let (x, width) = (axis.x(step * STEP_US), axis.x(STEP_US) - LEFT - 0.5);
        let tall = BARS * float(count) / float(most);
        let _ = write!(
            svg,
            "<rect x='{x:.1}' y='{:.1}' width='{width:.1}' height='{tall:.1}' fill='#336699'/>",
            at + BARS - tall
        );
    }
}

/// A member's roles, with its term where it changed.
fn lane(axis: &Axis, member: &str, roles: &[&Role], at: f64, svg: &mut String) {
    let _ = write!(svg, "<text x='4' y='{:.1}' fill='#555'>{member}</text>", at + 14.0);
    // A member that came later has none before.
    let (mut from, mut term, mut terms) = (roles.first().map_or(0, |first| first.at_us), 0, String::new());
    for role in roles {
        let colour = match role.said {
            Some(said) if said.leads => "#336699",
            Some(_) => "#bbccdd",
            None => "#eeeeee",
        };
        let (x, end) = (axis.x(from), axis.x(role.at_us));
        let tall = LANE - 4.0;
        let _ =
            write!(svg, "<rect x='{x:.1}' y='{at:.1}' width='{:.1}' height='{tall}' fill='{colour}'/>", end - x + 0.3);
        if let Some(said) = role.said.filter(|said| said.term != term) {
            term = said.term;
            let ink = if said.leads { "#ffffff" } else { "#222222" };
            let _ = write!(terms, "<text x='{:.1}' y='{:.1}' fill='{ink}'>term {term}</text>", x + 3.0, at + 13.0);
        }
        from = role.at_us;
    }
    svg.push_str(&terms);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Call;
    use crate::work::roles::Said;

    #[test]
    fn calls_faults_and_roles_lie_on_one_axis() {
        let operation = |at, took, outcome| Operation {
            client: 0,
            call: Call::Get { key: "k".into() },
            invoked_us: at,
            returned_us: at + took,
            outcome,
        };
        let operations = vec![
            operation(0, 1_000, Outcome::Written { revision: 2 }),
            operation(500_000, 100_000, Outcome::Unknown { error: "late".into() }),
            operation(999_000, 1_000, Outcome::Seen { revision: 2, value: None }),
        ];
        let history = History { operations, ..History::default() };
        let said = |leads, term| Some(Said { leads, term, revision: 1 });
        let role = |at_us, said| Role { member: "a".into(), at_us, said, clock_ns: None };
        let roles = vec![role(200_000, said(true, 3)), role(600_000, None), role(1_000_000, said(false, 4))];
        let run = Run { scenario: "leader-kill".into(), fault_us: (250_000, 500_000), roles, ..Run::default() };
        let svg = draw(&run, &history);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
        assert_eq!((svg.matches("r='1.2'").count(), svg.matches("r='2.4'").count()), (2, 1));
        assert!(svg.contains("<rect x='310.0' y='26' width='230.0'"), "a quarter of the time is shaded: {svg}");
        assert!(svg.contains("term 3") && svg.contains("term 4") && svg.contains("#eeeeee"), "{svg}");
        let lane = svg.split_once(">a<").unwrap().1.split_once("<rect ").unwrap().1;
        assert!(lane.starts_with("x='264.0'"), "nothing is drawn of a member before the first look at it: {svg}");
        // A hundred milliseconds lie two fifths from the top.
        assert!((depth(100_000, SCATTER) - SCATTER * 0.4).abs() < 1e-9);
        assert!(!svg.contains("clocks") && !svg.contains("violation"), "nobody told, and nothing was found: {svg}");
        let between = vec![history.operations[1].clone()];
        let broken = crate::check::Verdict { between, ..crate::check::Verdict::new("p", 1, vec!["why".into()]) };
        let svg = draw(&Run { verdicts: vec![broken], ..run }, &history);
        assert!(svg.contains("<line x1='632.0' x2='632.0'"), "its end is three fifths of the time: {svg}");
    }
}
