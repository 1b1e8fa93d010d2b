//! `raftsman member replace` of a plain store: a new member takes the place of another.
//!
//! Each round looks who belongs to the group and does what is next, so that it can be ended and called again at any time,
//! and goes on whoever leads. The new one votes before the old one goes: the group never survives less than it did. One that
//! is dead goes first: a group takes nobody in while one of its members is silent, and a machine whose disk was lost keeps
//! its address.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::endpoints::{Endpoints, Members};
use crate::exit::{Failure, say};

/// Between two looks at the group.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A member, as etcd's API shows it in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Member {
    #[serde(rename = "ID")]
    id: String,
    /// Empty until it has started.
    name: String,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner")]
    learner: bool,
}

/// etcd's words for a group that takes nobody in because a member is silent.
const UNHEALTHY: &str = "unhealthy cluster";

/// What is next.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// The new one is not known yet.
    Announce,
    /// It is, and has to be started.
    Await,
    /// It learns.
    Promote(&'a str),
    /// It votes; the old one is still there.
    Remove,
    Done,
}

/// PURE: what is next, by who belongs to the group now.
fn next<'a>(members: &'a [Member], old: &str, url: &str) -> Step<'a> {
    let there = members.iter().any(|member| member.id == old);
    match members.iter().find(|member| member.peer_urls.iter().any(|one| one == url)) {
        None => Step::Announce,
        Some(new) if new.name.is_empty() => Step::Await,
        Some(new) if new.learner => Step::Promote(&new.id),
        Some(_) if there => Step::Remove,
        Some(_) => Step::Done,
    }
}

/// PURE: the member that this names, by its name or by its id as etcdctl shows it.
fn named<'a>(members: &'a [Member], word: &str) -> Option<&'a Member> {
    let id = u64::from_str_radix(word, 16).ok().map(|id| id.to_string());
    members.iter().find(|member| member.name == word || Some(&member.id) == id.as_ref())
}

/// PURE: how the new one is started.
fn line(members: &[Member], name: &str, url: &str) -> String {
    let others = members.iter().filter(|member| !member.name.is_empty());
    let all = others.flat_map(|member| member.peer_urls.iter().map(move |url| format!("{}={url}", member.name)));
    let all: Vec<String> = all.chain([format!("{name}={url}")]).collect();
    format!(
        "raftsman store --name {name} --initial-advertise-peer-urls {url} --initial-cluster-state existing \
         --initial-cluster {}",
        all.join(",")
    )
}

async fn list(members: &Members) -> Result<Vec<Member>, Failure> {
    let answer = members.ask("cluster/member/list", &json!({ "linearizable": true })).await?;
    serde_json::from_value(answer["members"].clone()).map_err(|error| Failure::failed(format!("member list: {error}")))
}

/// What a replacement is about.
struct Replacement<'a> {
    members: &'a Members,
    endpoints: &'a Endpoints,
    /// The id of the one that goes, and where clients reached it.
    old: String,
    old_urls: Vec<String>,
    /// What the new one is called, and where its peers reach it.
    name: &'a str,
    url: &'a str,
}

impl Replacement<'_> {
    /// Does what is next; whether that was all.
    async fn round(&self, told: &mut bool) -> Result<bool, Failure> {
        let seen = list(self.members).await?;
        let step = next(&seen, &self.old, self.url);
        if matches!(step, Step::Announce) {
            let learner = json!({ "peerURLs": [self.url], "isLearner": true });
            match self.members.ask("cluster/member/add", &learner).await {
                Err(failure) if failure.text().contains(UNHEALTHY) && self.dead(&seen).await => {
                    say("the old one does not answer: it is removed first")?;
                    self.remove().await?;
                    return Ok(false);
                }
                asked => asked?,
            };
        }
        if matches!(step, Step::Announce | Step::Await) && !*told {
            *told = true;
            let start = line(&seen, self.name, self.url);
            say(&format!(
                "on the new machine, with its own --data-dir, --listen-… and --advertise-… flags:  {start}\nwaiting until it votes"
            ))?;
        }
        match step {
            Step::Promote(id) => {
                self.members.ask("cluster/member/promote", &json!({ "ID": id })).await?;
            }
            Step::Remove => self.remove().await?,
            Step::Announce | Step::Await | Step::Done => {}
        }
        Ok(step == Step::Done)
    }

    async fn remove(&self) -> Result<(), Failure> {
        self.members.ask("cluster/member/remove", &json!({ "ID": self.old })).await.map(drop)
    }

    /// Whether the old one belongs to the group and does not answer at any of its addresses.
    async fn dead(&self, seen: &[Member]) -> bool {
        for url in &self.old_urls {
            let Ok(url) = url.parse() else { return false };
            if self.endpoints.answers(url).await {
                return false;
            }
        }
        seen.iter().any(|member| member.id == self.old)
    }
}

/// Replaces `old` by `NAME=PEERURL`, within so many seconds.
pub(crate) async fn run(old: &str, new: &str, seconds: u64, endpoints: &Endpoints) -> Result<(), Failure> {
    let wrong = || Failure::usage(format!("{new:?} is not NAME=PEERURL"));
    let (name, url) =
        new.split_once('=').filter(|(name, url)| !name.is_empty() && !url.is_empty()).ok_or_else(wrong)?;
    let members = endpoints.members().await?;
    let before = list(&members).await?;
    // One that was dead has gone already when the command is given again.
    let begun = before.iter().any(|member| member.peer_urls.iter().any(|one| one == url));
    let gone = Member { id: old.to_owned(), ..Member::default() };
    let Some(found) = named(&before, old).or_else(|| begun.then_some(&gone)) else {
        let names: Vec<_> = before.iter().map(|member| member.name.as_str()).collect();
        return Err(Failure::failed(format!("no member is called {old:?}; there are {}", names.join(", "))));
    };
    // One that learns already is what an earlier call announced.
    let same = !found.learner && found.peer_urls.iter().any(|one| one == url);
    let (old_id, old_urls) = (found.id.clone(), found.client_urls.clone());
    let replacement = Replacement { members: &members, endpoints, old: old_id, old_urls, name, url };
    if same && !replacement.dead(&before).await {
        return Err(Failure::refused(format!(
            "{url} is where {old} is reached, which answers: the new member needs an address of its own, or {old} is stopped \
             first, for good"
        )));
    }
    if same {
        say("the old one does not answer: it is removed first")?;
        replacement.remove().await?;
    }
    let (mut told, mut last) = (false, None);
    let done = async {
        let mut again = tokio::time::interval(LOOK_EVERY);
        loop {
            again.tick().await;
            match replacement.round(&mut told).await {
                Ok(true) => return,
                Ok(false) => {}
                // Elections end, learners catch up: what is refused now may be done in the next round.
                Err(failure) => last = Some(failure),
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(seconds), done).await.is_err() {
        let why = last.map_or_else(|| format!("{name} does not vote"), |failure| failure.text().to_owned());
        return Err(Failure::failed(format!("not done within {seconds} s: {why}; the same command goes on with it")));
    }
    say(&format!("{name} has taken the place of {old}, whose data directory can never vote again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, name: &str, url: &str, learner: bool) -> Member {
        let peer_urls = vec![url.to_owned()];
        Member { id: id.to_owned(), name: name.to_owned(), peer_urls, client_urls: Vec::new(), learner }
    }

    #[test]
    fn the_new_one_is_announced_started_promoted_and_only_then_the_old_one_goes() {
        let (a, b) = (member("10", "a", "http://a:1", false), member("11", "b", "http://b:1", false));
        let new = |name, learner| member("12", name, "http://c:1", learner);
        let rounds = [
            (vec![a.clone(), b.clone()], Step::Announce),
            (vec![a.clone(), b.clone(), new("", true)], Step::Await),
            (vec![a.clone(), b.clone(), new("c", true)], Step::Promote("12")),
            (vec![a.clone(), b.clone(), new("c", false)], Step::Remove),
            (vec![b.clone(), new("c", false)], Step::Done),
        ];
        for (members, step) in &rounds {
            assert_eq!(next(members, "10", "http://c:1"), *step);
        }
        assert_eq!(named(&[a.clone(), b.clone()], "b"), Some(&b));
        assert_eq!(named(&[a.clone(), b.clone()], "a"), Some(&a), "a name comes before an id");
        assert_eq!(named(&[a.clone(), b.clone()], "B"), Some(&b), "11 in hexadecimal is b");
        let start = line(&rounds[1].0, "c", "http://c:1");
        assert!(start.ends_with("--initial-cluster a=http://a:1,b=http://b:1,c=http://c:1"), "{start}");
    }

    #[test]
    fn members_are_read_as_the_gateway_writes_them() {
        let text = r#"[{"ID":"9372538179322589801","name":"a","peerURLs":["http://a:1"]},{"ID":"1","isLearner":true}]"#;
        let members: Vec<Member> = serde_json::from_str(text).expect("members");
        assert_eq!(members[0], member("9372538179322589801", "a", "http://a:1", false));
        assert!(members[1].learner && members[1].name.is_empty());
        assert!(named(&members, "8211f1d0f64f3269").is_some());
    }
}
