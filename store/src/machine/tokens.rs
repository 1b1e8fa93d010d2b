//! Tokens that clients were given by the log: every member keeps all of them, in memory, each until it is not used for long.
//!
//! Source: etcd `server/auth/simple_token.go`.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::machine::auth::Session;

/// How long a token holds after its last use, unless told otherwise.
const TTL: Duration = Duration::from_secs(300);
/// Tokens kept at most; above, those go first that would end first.
const TOKENS_MAX: usize = 100_000;

/// See the module.
pub(crate) struct Tokens {
    held: Mutex<Held>,
}

impl Default for Tokens {
    fn default() -> Self {
        let held = Held { ttl: TTL, by_token: HashMap::new(), ends: BTreeSet::new() };
        Tokens { held: Mutex::new(held) }
    }
}

struct Held {
    ttl: Duration,
    /// Whose, and until when.
    by_token: HashMap<String, (String, Instant)>,
    ends: BTreeSet<(Instant, String)>,
}

impl Tokens {
    /// How long tokens hold from now on (`--auth-token-ttl`).
    pub(crate) fn last(&self, ttl: Duration) {
        self.held.lock().ttl = ttl;
    }

    /// Whose token it is; it holds anew.
    pub(crate) fn user(&self, token: &str) -> Option<String> {
        self.held.lock().user(token, Instant::now())
    }

    /// What apply decided.
    pub(crate) fn note(&self, session: Session) {
        self.held.lock().note(session, Instant::now());
    }
}

impl Held {
    fn user(&mut self, token: &str, now: Instant) -> Option<String> {
        self.expire(now);
        let later = now + self.ttl;
        let (user, end) = self.by_token.get_mut(token)?;
        let moved = self.ends.take(&(*end, token.to_owned())).map(|(_, token)| (later, token));
        self.ends.extend(moved);
        *end = later;
        Some(user.clone())
    }

    fn note(&mut self, session: Session, now: Instant) {
        self.expire(now);
        match session {
            Session::Began { user, token } => {
                let end = now + self.ttl;
                self.ends.insert((end, token.clone()));
                self.by_token.insert(token, (user, end));
                if self.by_token.len() > TOKENS_MAX
                    && let Some((_, token)) = self.ends.pop_first()
                {
                    self.by_token.remove(&token);
                }
            }
            Session::Ended { user } => {
                self.by_token.retain(|_, (of, _)| *of != user);
                let held = &self.by_token;
                self.ends.retain(|(_, token)| held.contains_key(token));
            }
            Session::AllEnded => {
                self.by_token.clear();
                self.ends.clear();
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, token)) = self.ends.pop_first() {
                self.by_token.remove(&token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(user: &str, token: &str) -> Session {
        Session::Began { user: user.to_owned(), token: token.to_owned() }
    }

    fn held() -> Held {
        Held { ttl: Duration::from_secs(10), by_token: HashMap::new(), ends: BTreeSet::new() }
    }

    #[test]
    fn a_token_holds_as_long_as_it_is_used() {
        let (mut held, start) = (held(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        held.note(began("a", "t.1"), start);
        held.note(began("b", "t.2"), start);
        assert_eq!(held.user("t.1", at(9)).as_deref(), Some("a"));
        assert_eq!(held.user("t.2", at(10)), None);
        assert_eq!(held.user("t.1", at(18)).as_deref(), Some("a"));
        assert_eq!(held.user("t.1", at(28)), None);
        assert!(held.by_token.is_empty() && held.ends.is_empty());
    }

    #[test]
    fn tokens_end_with_their_user_and_with_all() {
        let (mut held, now) = (held(), Instant::now());
        for (user, token) in [("a", "t.1"), ("a", "t.2"), ("b", "t.3"), ("c", "t.4")] {
            held.note(began(user, token), now);
        }
        held.note(Session::Ended { user: "a".to_owned() }, now);
        let found: Vec<_> = ["t.1", "t.2", "t.3", "t.4"].map(|token| held.user(token, now)).into();
        assert_eq!(found, [None, None, Some("b".to_owned()), Some("c".to_owned())]);
        held.note(Session::AllEnded, now);
        assert!(held.user("t.3", now).is_none() && held.ends.is_empty());
    }

    #[test]
    fn tokens_are_bounded() {
        let (mut held, start) = (held(), Instant::now());
        for number in 0..=TOKENS_MAX {
            held.note(began("a", &format!("t.{number}")), start + Duration::from_micros(number as u64));
        }
        assert_eq!((held.by_token.len(), held.ends.len()), (TOKENS_MAX, TOKENS_MAX));
        assert_eq!(held.user("t.0", start), None);
    }
}
