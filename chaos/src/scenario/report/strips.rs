//! PURE: two strips of a run's picture: how far watchers were behind, and by how much members' clocks were wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::{History, Outcome};
use crate::scenario::report::picture::{Axis, LEFT, STEP_US, WIDTH, depth, float};
use crate::work::roles::Role;

/// Of a strip. Units: pixels.
pub(super) const TALL: f64 = 70.0;
/// Of a name above a strip. Units: pixels.
const NAME: f64 = 72.0;
/// Of members and watchers, in the order of their names; as many as the scenario `replace` has members in all.
const COLOURS: [&str; 8] = ["#336699", "#cc7722", "#559955", "#884499", "#777777", "#22aaaa", "#aa3355", "#999922"];

/// By name: how far behind in each step it was at most, where it got anything. Units: microseconds.
///
/// An event that came before its write was acknowledged was not late; one whose write nobody was told of says nothing.
fn lag(history: &History) -> BTreeMap<&str, BTreeMap<u64, u64>> {
    let acknowledged = history.operations.iter().filter_map(|operation| match operation.outcome {
        Outcome::Written { revision } => Some((revision, operation.returned_us)),
        _ => None,
    });
    let acknowledged: BTreeMap<i64, u64> = acknowledged.collect();
    let mut watchers: BTreeMap<&str, BTreeMap<u64, u64>> = BTreeMap::new();
    for (name, arrivals) in &history.arrivals {
        let steps = watchers.entry(name).or_default();
        for arrival in arrivals {
            let Some(written) = acknowledged.get(&arrival.revision) else { continue };
            let most = steps.entry(arrival.at_us / STEP_US).or_default();
            *most = (*most).max(arrival.at_us.saturating_sub(*written));
        }
    }
    watchers
}

/// Names in their colours, at the right above a strip.
fn names<'a>(names: impl ExactSizeIterator<Item = &'a &'a str>, at: f64, svg: &mut String) {
    let left = WIDTH - NAME * float(names.len() as u64);
    for (place, name) in names.enumerate() {
        let x = left + NAME * float(place as u64);
        let _ =
            write!(svg, "<text x='{x}' y='{:.1}' fill='{}'>{name}</text>", at - 5.0, COLOURS[place % COLOURS.len()]);
    }
}

/// How far watchers were behind.
pub(super) fn draw_lag(axis: &Axis, history: &History, at: f64, svg: &mut String) {
    let watchers = lag(history);
    let _ = write!(svg, "<text x='{LEFT}' y='{:.1}'>watchers behind what was acknowledged</text>", at - 5.0);
    names(watchers.keys(), at, svg);
    for (us, label) in [(1_000, "1 ms"), (100_000, "100 ms"), (10_000_000, "10 s")] {
        let y = at + depth(us, TALL);
        let _ = write!(svg, "<text x='4' y='{:.1}' fill='#555'>{label}</text>", y + 4.0);
        let _ = write!(svg, "<line x1='{LEFT}' x2='{WIDTH}' y1='{y:.1}' y2='{y:.1}' stroke='#e4e4e4'/>");
    }
    for (place, steps) in watchers.values().enumerate() {
        for (step, most) in steps {
            let (x, y) = (axis.x(step * STEP_US + STEP_US / 2), at + depth(*most, TALL));
            let colour = COLOURS[place % COLOURS.len()];
            let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='1.8' fill='{colour}'/>");
        }
    }
}

/// By member: when, and by how much its clock was wrong. Units: microseconds and nanoseconds.
pub(super) fn clocks(roles: &[Role]) -> BTreeMap<&str, Vec<(u64, i64)>> {
    let mut members: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
    for role in roles {
        if let Some(wrong) = role.clock_ns {
            members.entry(&role.member).or_default().push((role.at_us, wrong));
        }
    }
    members
}

/// How wrong clocks were.
pub(super) fn draw_clocks(axis: &Axis, members: &BTreeMap<&str, Vec<(u64, i64)>>, at: f64, svg: &mut String) {
    let Some(most) = members.values().flatten().map(|(_, wrong)| wrong.unsigned_abs()).max() else { return };
    let label = if most == 0 { "all right".to_owned() } else { format!("± {}", shown(most)) };
    let (middle, half) = (at + TALL / 2.0, TALL / 2.0);
    let _ = write!(svg, "<text x='{LEFT}' y='{:.1}'>clocks of members</text>", at - 5.0);
    let _ = write!(svg, "<text x='4' y='{:.1}' fill='#555'>{label}</text>", at + 10.0);
    let _ = write!(svg, "<line x1='{LEFT}' x2='{WIDTH}' y1='{middle:.1}' y2='{middle:.1}' stroke='#e4e4e4'/>");
    names(members.keys(), at, svg);
    for (place, looks) in members.values().enumerate() {
        let mut points = String::new();
        for (at_us, wrong) in looks {
            let part = float(wrong.unsigned_abs()) / float(most.max(1));
            let above = if *wrong < 0 { -part } else { part };
            let _ = write!(points, "{:.1},{:.1} ", axis.x(*at_us), middle - half * above);
        }
        let colour = COLOURS[place % COLOURS.len()];
        let _ = write!(svg, "<polyline points='{}' fill='none' stroke='{colour}'/>", points.trim_end());
    }
}

fn shown(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{ns} ns"),
        1_000_000..1_000_000_000 => format!("{:.0} ms", float(ns) / 1e6),
        1_000_000_000..3_600_000_000_000 => format!("{:.1} s", float(ns) / 1e9),
        _ => format!("{:.1} h", float(ns) / 3.6e12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Arrival, Call, Operation};

    #[test]
    fn a_watcher_is_behind_since_the_write_was_acknowledged() {
        let operation = |returned_us, revision: i64| Operation {
            client: 0,
            call: Call::Put { key: "k".into(), value: revision.to_string() },
            invoked_us: 0,
            returned_us,
            outcome: Outcome::Written { revision },
        };
        let arrival = |at_us, revision| Arrival { at_us, revision };
        // The second came before its writer knew; the third's writer never did.
        let arrivals = vec![arrival(30_000, 2), arrival(40_000, 3), arrival(50_000, 4), arrival(950_000, 5)];
        let history = History {
            operations: vec![operation(10_000, 2), operation(60_000, 3), operation(100_000, 5)],
            arrivals: BTreeMap::from([("a".to_owned(), arrivals)]),
            ..History::default()
        };
        assert_eq!(lag(&history), BTreeMap::from([("a", BTreeMap::from([(0, 20_000), (9, 850_000)]))]));
        let mut svg = String::new();
        draw_lag(&Axis { end_us: 1_000_000 }, &history, 0.0, &mut svg);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("cx='954.0'"), "{svg}");
    }

    #[test]
    fn clocks_are_drawn_by_the_one_that_is_most_wrong() {
        let role = |member: &str, at_us, clock_ns| Role { member: member.into(), at_us, said: None, clock_ns };
        let hour = 3_600_000_000_000;
        let roles =
            [role("a", 0, Some(0)), role("a", 500_000, Some(-2 * hour)), role("b", 0, Some(hour)), role("c", 0, None)];
        let (members, mut svg) = (clocks(&roles), String::new());
        draw_clocks(&Axis { end_us: 1_000_000 }, &members, 0.0, &mut svg);
        assert!(svg.contains("± 2.0 h") && !svg.contains(">c<"), "{svg}");
        assert!(svg.contains("points='80.0,35.0 540.0,70.0'") && svg.contains("points='80.0,17.5'"), "{svg}");
        assert_eq!([shown(2_000_000), shown(1_500_000_000)], ["2 ms", "1.5 s"]);
    }

    #[test]
    fn nothing_is_drawn_of_clocks_that_nobody_looked_at() {
        let mut svg = String::new();
        draw_clocks(&Axis { end_us: 1 }, &BTreeMap::new(), 0.0, &mut svg);
        assert_eq!(svg, "");
    }
}
