//! Tokens of the pods' service accounts: asked of a server when a volume needs one, kept in memory, asked for again before
//! they expire. No text here reaches a log.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use parking_lot::Mutex;
use proto::agent::{TokenRequest, TokenResponse};
use tokio::sync::{Notify, oneshot};

use crate::plan::spec;

/// A server answers within this time.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a token holds unless the volume says, and the longest time that one is kept. Units: milliseconds.
const HOUR_MS: i64 = 60 * 60 * 1000;
const KEPT_MS: i64 = 24 * HOUR_MS;
/// A token is replaced when this share of its time is over.
const DUE_PERCENT: i64 = 80;

/// Audience (empty: the API) and how long it shall hold, in seconds: what tells the tokens of one pod apart.
pub type Sort = (String, i64);

/// Which token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    /// The pod.
    uid: String,
    sort: Sort,
}

struct Held {
    token: String,
    made_ms: i64,
    expires_ms: i64,
}

impl Held {
    fn due(&self, now_ms: i64) -> bool {
        let age = now_ms - self.made_ms;
        age > KEPT_MS || age * 100 > (self.expires_ms - self.made_ms) * DUE_PERCENT
    }
}

type Waiting = oneshot::Sender<Result<String, String>>;

#[derive(Default)]
struct Inner {
    held: BTreeMap<Wanted, Held>,
    /// By number of the request.
    asked: BTreeMap<u64, (Wanted, Vec<Waiting>)>,
    queue: VecDeque<TokenRequest>,
    next: u64,
    connected: bool,
}

/// The tokens of a node's pods.
#[derive(Default)]
pub struct Tokens {
    inner: Mutex<Inner>,
    filled: Notify,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// What sort of token a projection wants.
pub fn sort(projection: &ServiceAccountTokenProjection) -> Sort {
    (projection.audience.clone().unwrap_or_default(), projection.expiration_seconds.unwrap_or(HOUR_MS / 1000))
}

impl Inner {
    /// Puts a request in the queue, unless the same is on its way already.
    fn ask(&mut self, pod: &Pod, wanted: &Wanted, waiting: Option<Waiting>) {
        if let Some((_, all)) = self.asked.values_mut().find(|(asked, _)| asked == wanted) {
            all.extend(waiting);
            return;
        }
        self.next += 1;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (audience, expiration_seconds) = wanted.sort.clone();
        self.queue.push_back(TokenRequest {
            id: self.next,
            pod_namespace: text(&pod.metadata.namespace),
            pod_name: text(&pod.metadata.name),
            pod_uid: wanted.uid.clone(),
            service_account: text(&spec::of(pod).service_account_name),
            audiences: (!audience.is_empty()).then_some(audience).into_iter().collect(),
            expiration_seconds,
        });
        self.asked.insert(self.next, (wanted.clone(), waiting.into_iter().collect()));
    }
}

impl Tokens {
    /// The tokens that a pod's volumes need, as far as there are any; one that is about to expire is asked for again
    /// meanwhile. The text says why the others are not there.
    pub async fn of(&self, pod: &Pod) -> (BTreeMap<Sort, String>, Result<(), String>) {
        let volumes = spec::of(pod).volumes.iter().flatten();
        let sources = volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|p| p.sources.iter().flatten());
        let (mut found, mut result) = (BTreeMap::new(), Ok(()));
        for sort in sources.filter_map(|source| source.service_account_token.as_ref()).map(sort) {
            match self.one(pod, sort.clone()).await {
                Ok(token) => {
                    found.insert(sort, token);
                }
                Err(why) => result = Err(why),
            }
        }
        (found, result)
    }

    async fn one(&self, pod: &Pod, sort: Sort) -> Result<String, String> {
        let wanted = Wanted { uid: pod.metadata.uid.clone().unwrap_or_default(), sort };
        let (sender, answer) = oneshot::channel();
        {
            let (mut inner, now_ms) = (self.inner.lock(), Timestamp::now().as_millisecond());
            let held = inner.held.get(&wanted).filter(|held| held.expires_ms > now_ms);
            let (token, due) = (held.map(|held| held.token.clone()), held.is_some_and(|held| held.due(now_ms)));
            let connected = inner.connected;
            if connected && (due || token.is_none()) {
                inner.ask(pod, &wanted, token.is_none().then_some(sender));
                self.filled.notify_one();
            }
            match token {
                Some(token) => return Ok(token),
                None if !connected => return Err("no server is connected that could give a token".to_owned()),
                None => {}
            }
        }
        match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the session with the server ended before it gave a token".to_owned()),
            Err(_) => Err("no server gave a token in time".to_owned()),
        }
    }

    /// The next requests to send; waits until there are some.
    pub(crate) async fn next(&self) -> Vec<TokenRequest> {
        loop {
            let queue: Vec<TokenRequest> = self.inner.lock().queue.drain(..).collect();
            if !queue.is_empty() {
                return queue;
            }
            self.filled.notified().await;
        }
    }

    /// A server has answered.
    pub(crate) fn answered(&self, response: TokenResponse) {
        let mut inner = self.inner.lock();
        let Some((wanted, waiting)) = inner.asked.remove(&response.id) else { return };
        let answer = if response.error.is_empty() { Ok(response.token) } else { Err(response.error) };
        if let Ok(token) = &answer {
            let made_ms = Timestamp::now().as_millisecond();
            inner.held.insert(wanted, Held { token: token.clone(), made_ms, expires_ms: response.expires_at_ms });
        }
        for sender in waiting {
            // Nobody waits any more: the next look finds it.
            let _ = sender.send(answer.clone());
        }
    }

    /// A session has begun, or ended: what was asked in it will not be answered.
    pub(crate) fn connected(&self, connected: bool) {
        let mut inner = self.inner.lock();
        inner.connected = connected;
        inner.asked.clear();
        inner.queue.clear();
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.inner.lock().held.retain(|wanted, _| wanted.uid != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        let source = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } });
        let volume = json!({ "name": "v", "projected": { "sources": [source] } });
        let spec = json!({ "serviceAccountName": "web", "containers": [], "volumes": [volume] });
        let meta = json!({ "namespace": "ns", "name": "p", "uid": "u" });
        serde_json::from_value(json!({ "metadata": meta, "spec": spec })).expect("a pod")
    }

    fn response(id: u64, token: &str, seconds: i64) -> TokenResponse {
        let expires_at_ms = Timestamp::now().as_millisecond() + seconds * 1000;
        TokenResponse { id, token: token.to_owned(), expires_at_ms, error: String::new() }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_again_before_it_expires() {
        let (tokens, pod) = (Tokens::default(), pod());
        assert!(tokens.of(&pod).await.1.is_err_and(|why| why.contains("no server")));
        tokens.connected(true);
        let answer = async {
            let asked = tokens.next().await;
            assert_eq!((asked.len(), asked[0].service_account.as_str(), asked[0].expiration_seconds), (1, "web", 3607));
            tokens.answered(response(asked[0].id, "first", 3607));
        };
        let ((found, result), ()) = tokio::join!(tokens.of(&pod), answer);
        assert_eq!((found[&(String::new(), 3607)].as_str(), result), ("first", Ok(())));
        assert_eq!(tokens.of(&pod).await.0.len(), 1);
        assert!(tokens.inner.lock().queue.is_empty(), "a token that holds is not asked for");
        tokens.inner.lock().held.values_mut().for_each(|held| held.made_ms -= 9 * 3607 * 1000);
        assert_eq!(tokens.of(&pod).await.0[&(String::new(), 3607)], "first", "it serves until the next one is there");
        let asked = tokens.next().await;
        tokens.answered(response(asked[0].id, "second", 3607));
        assert_eq!(tokens.of(&pod).await.0[&(String::new(), 3607)], "second");
        tokens.forget("u");
        tokens.connected(false);
        assert!(tokens.of(&pod).await.0.is_empty());
    }

    #[tokio::test]
    async fn a_refusal_and_a_lost_session_are_told() {
        let (tokens, pod) = (Tokens::default(), pod());
        tokens.connected(true);
        let refuse = async {
            let id = tokens.next().await[0].id;
            tokens.answered(TokenResponse { id, error: "no".to_owned(), ..TokenResponse::default() });
        };
        let ((_, result), ()) = tokio::join!(tokens.of(&pod), refuse);
        assert_eq!(result, Err("no".to_owned()));
        let lose = async {
            tokens.next().await;
            tokens.connected(false);
        };
        let ((_, result), ()) = tokio::join!(tokens.of(&pod), lose);
        assert!(result.is_err_and(|why| why.contains("session")));
    }
}
