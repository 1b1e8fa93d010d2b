//! PURE: servers, and what a person sees first: how everything does.

use askama::Template;
use serde_json::Value;

use super::{Link, Listing, State, Tone};
use crate::cluster::ClusterStatus;
use crate::dashboard::place::Place;

/// A server is behind when it lacks more log entries than this.
const LAG_HIGH: u64 = 1000;

/// The table of servers.
#[derive(Template)]
#[template(path = "dashboard/servers.html")]
pub struct Servers {
    /// The leader's name; empty when nobody leads.
    pub leader: String,
    /// The leadership's number.
    pub term: u64,
    /// The store's revision.
    pub revision: i64,
    /// By name.
    pub rows: Vec<ServerRow>,
}

/// A server.
pub struct ServerRow {
    /// Its name.
    pub name: String,
    /// Leader, follower, learner.
    pub state: State,
    /// Log entries that it lacks.
    pub lag: State,
    /// Where its API is.
    pub api: String,
}

/// The table of servers.
pub fn servers(status: &ClusterStatus) -> Servers {
    let row = |member: &crate::cluster::MemberStatus| {
        let state = match (member.state.as_str(), member.role.as_str()) {
            ("leader", _) => State::new("Leader", Tone::Good),
            ("follower", "voter") => State::new("Follower", Tone::Good),
            ("follower", _) => State::new("Learner", Tone::Busy),
            _ => State::new("No leader", Tone::Bad),
        };
        let lag = match member.lag {
            _ if member.state == "leader" => State::new("0", Tone::Idle),
            None => State::new("—", Tone::Idle),
            Some(lag) if lag > LAG_HIGH => State::new(lag.to_string(), Tone::Bad),
            Some(lag) => State::new(lag.to_string(), Tone::Idle),
        };
        ServerRow { name: member.name.clone(), state, lag, api: member.api.clone() }
    };
    let mut rows: Vec<ServerRow> = status.members.iter().map(row).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Servers { leader: status.leader.clone(), term: status.term, revision: status.revision, rows }
}

/// The strip of figures at the top.
#[derive(Template)]
#[template(path = "dashboard/tiles.html")]
pub struct Tiles {
    /// From left to right.
    pub tiles: Vec<Tile>,
}

/// A figure.
pub struct Tile {
    /// What is counted, and where to see it.
    pub label: Link,
    /// The figure.
    pub value: String,
    /// What it is of, or what the rest does.
    pub detail: String,
    /// How that is.
    pub tone: Tone,
}

impl Tile {
    /// How many of these are well, and what the others do.
    pub fn of(label: &str, place: &Place, query: &str, tones: &[Tone], more: bool) -> Tile {
        let count = |wanted: &[Tone]| tones.iter().filter(|tone| wanted.contains(tone)).count();
        let (well, busy, bad) = (count(&[Tone::Good, Tone::Idle]), count(&[Tone::Busy]), count(&[Tone::Bad]));
        let mut words = Vec::new();
        for (count, word) in [(bad, "in trouble"), (busy, "on the way")] {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
        let mut tile = Tile::part(label, place, query, well, tones.len(), "as they should be");
        if !words.is_empty() {
            tile.detail = words.join(", ");
            tile.tone = if bad > 0 { Tone::Bad } else { Tone::Busy };
        }
        if more {
            tile.value.push('+');
        }
        tile
    }

    /// So many of so many are well.
    pub fn part(label: &str, place: &Place, query: &str, well: usize, all: usize, word: &str) -> Tile {
        Tile {
            label: Link { text: label.to_owned(), href: format!("{}{query}", place.href()) },
            value: format!("{well}/{all}"),
            detail: if all == 0 { "none yet".to_owned() } else { word.to_owned() },
            tone: if all == 0 {
                Tone::Idle
            } else if well == all {
                Tone::Good
            } else {
                Tone::Bad
            },
        }
    }

    /// What nobody may see, or nobody knows.
    pub fn unknown(label: &str, place: &Place, detail: &str) -> Tile {
        Tile {
            label: Link { text: label.to_owned(), href: place.href() },
            value: "—".to_owned(),
            detail: detail.to_owned(),
            tone: Tone::Idle,
        }
    }
}

/// The figure about servers. Who leads and lacks nothing is well.
pub fn servers_tile(servers: &Servers) -> Tile {
    let well = servers.rows.iter().filter(|row| row.state.tone == Tone::Good && row.lag.tone == Tone::Idle).count();
    let mut tile = Tile::part("Servers", &Place::Overview, "#s-servers", well, servers.rows.len(), "");
    tile.detail = match servers.leader.as_str() {
        "" => "nobody leads".to_owned(),
        leader => format!("{leader} leads, term {}", servers.term),
    };
    tile
}

/// Names of all namespaces.
pub fn namespaces(listing: &Listing) -> Vec<String> {
    listing.items.iter().filter_map(|item: &Value| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}
