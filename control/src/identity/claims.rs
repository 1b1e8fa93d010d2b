//! PURE: what service-account tokens claim, and when those claims hold.
//!
//! Source: k8s.io/kubernetes `pkg/serviceaccount/{claims,util}.go`, k8s.io/apiserver `authentication/serviceaccount`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::identity::User;
use crate::kind::{self, Kind};
use crate::registry::prepare::meta_str;

/// Who signs, and whom tokens are for unless they say otherwise: the API itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What servers' clocks may differ by. Units: seconds.
const LEEWAY: i64 = 60;

/// Which object, and which one of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Named {
    /// An object that is there.
    pub fn of(object: &Value) -> Named {
        Named { name: meta_str(object, "name").to_owned(), uid: meta_str(object, "uid").to_owned() }
    }
}

/// The claim `kubernetes.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Of the account and of what it is bound to.
    pub namespace: String,
    /// The node of the pod, or what the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    /// The token holds as long as this pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    /// The token holds as long as this secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    /// Whose token it is.
    pub serviceaccount: Named,
}

/// All claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom the token is for.
    pub aud: Vec<String>,
    /// Until when it holds. Units, as below: seconds since 1970.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Names this one token.
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    /// From when it holds.
    pub nbf: i64,
    /// The user's name.
    pub sub: String,
}

impl Claims {
    /// Checks what needs no look at any object; answers for whom of those that ask the token is.
    ///
    /// # Errors
    /// Why it does not hold.
    pub fn hold(&self, now: i64, asking: &[String]) -> Result<Vec<String>, String> {
        if now - LEEWAY > self.exp {
            return Err("service account token has expired".to_owned());
        }
        if now + LEEWAY < self.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        if now + LEEWAY < self.iat {
            return Err("service account token is issued in the future".to_owned());
        }
        let common: Vec<String> = self.aud.iter().filter(|audience| asking.contains(audience)).cloned().collect();
        if common.is_empty() {
            let (held, asking) = (quoted(&self.aud), quoted(asking));
            return Err(format!("token audiences {held} is invalid for the target audiences {asking}"));
        }
        Ok(common)
    }

    /// Checks that the account and what the token is bound to are still there.
    ///
    /// # Errors
    /// What is not.
    pub fn alive(&self, now: i64, look: &dyn Fn(&'static Kind, &str, &str) -> Option<Value>) -> Result<(), String> {
        let Bound { namespace, node, pod, secret, serviceaccount } = &self.bound;
        let account = look(kind::core("serviceaccounts"), namespace, &serviceaccount.name)
            .ok_or_else(|| format!("serviceaccount \"{}\" not found", serviceaccount.name))?;
        if gone(&account, now) {
            return Err(format!("service account {namespace}/{} has been deleted", serviceaccount.name));
        }
        if meta_str(&account, "uid") != serviceaccount.uid {
            let (uid, claimed) = (meta_str(&account, "uid"), &serviceaccount.uid);
            return Err(format!("service account UID ({uid}) does not match claim ({claimed})"));
        }
        // A node that a pod's token names says where the pod was, not what the token is bound to.
        let node = node.as_ref().filter(|_| pod.is_none());
        for (resource, place, claimed) in
            [("pods", namespace.as_str(), pod.as_ref()), ("secrets", namespace, secret.as_ref()), ("nodes", "", node)]
        {
            let Some(claimed) = claimed else { continue };
            let held = look(kind::core(resource), place, &claimed.name).filter(|object| !gone(object, now));
            let held = held.ok_or("service account token has been invalidated")?;
            if meta_str(&held, "uid") != claimed.uid {
                let (what, uid) = (resource.trim_end_matches('s'), meta_str(&held, "uid"));
                let claimed = &claimed.uid;
                return Err(format!("{what} UID ({uid}) does not match service account {what} ref claim ({claimed})"));
            }
        }
        Ok(())
    }

    /// The user that the token speaks for.
    pub fn user(&self) -> User {
        let Bound { namespace, node, pod, serviceaccount, .. } = &self.bound;
        let mut user = User::service_account(namespace, &serviceaccount.name, &serviceaccount.uid);
        let mut say = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
            }
        };
        if !self.jti.is_empty() {
            say("credential-id", &format!("JTI={}", self.jti));
        }
        for (what, named) in [("node", node), ("pod", pod)] {
            if let Some(named) = named {
                say(&format!("{what}-name"), &named.name);
                say(&format!("{what}-uid"), &named.uid);
            }
        }
        user
    }
}

/// Whether an object's end came so long ago that no clock can doubt it.
fn gone(object: &Value, now: i64) -> bool {
    let end = object["metadata"]["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    end.is_some_and(|end| end.as_second() < now - LEEWAY)
}

/// A list of texts as Go's `%q` prints it.
pub fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(name: &str) -> Named {
        Named { name: name.to_owned(), uid: format!("u-{name}") }
    }

    fn claims() -> Claims {
        let bound = Bound {
            namespace: "ns".to_owned(),
            node: Some(named("n")),
            pod: Some(named("p")),
            secret: None,
            serviceaccount: named("web"),
        };
        let audience = vec![ISSUER.to_owned()];
        let sub = "system:serviceaccount:ns:web".to_owned();
        Claims {
            aud: audience,
            exp: 2000,
            iat: 1000,
            iss: ISSUER.to_owned(),
            jti: "j".to_owned(),
            bound,
            nbf: 1000,
            sub,
        }
    }

    #[test]
    fn they_hold_for_their_time_and_their_audience() {
        let api = [ISSUER.to_owned()];
        assert_eq!(claims().hold(1500, &api), Ok(api.to_vec()));
        for (now, why) in [(2061, "expired"), (939, "not valid yet")] {
            assert!(claims().hold(now, &api).is_err_and(|text| text.contains(why)), "{now}");
        }
        assert_eq!(
            claims().hold(1500, &["a".to_owned(), "b".to_owned()]),
            Err(format!(r#"token audiences ["{ISSUER}"] is invalid for the target audiences ["a" "b"]"#))
        );
    }

    #[test]
    fn they_end_with_the_account_and_the_pod() {
        let there = |object: &Named, ended: Option<&str>| json!({ "metadata": { "name": object.name, "uid": object.uid, "deletionTimestamp": ended } });
        let world = |account: Option<Value>, pod: Option<Value>| {
            claims().alive(1500, &move |kind: &'static Kind, _: &str, _: &str| match kind.resource {
                "serviceaccounts" => account.clone(),
                "pods" => pod.clone(),
                _ => None,
            })
        };
        let (account, pod) = (Some(there(&named("web"), None)), Some(there(&named("p"), None)));
        assert_eq!(world(account.clone(), pod.clone()), Ok(()));
        let other = Some(there(&named("other"), None));
        let past = Some(there(&named("p"), Some("1970-01-01T00:01:00Z")));
        for (account, pod, why) in [
            (None, pod.clone(), "serviceaccount \"web\" not found"),
            (other.clone(), pod.clone(), "service account UID (u-other) does not match claim (u-web)"),
            (account.clone(), None, "service account token has been invalidated"),
            (account.clone(), past, "service account token has been invalidated"),
            (account, other, "pod UID (u-other) does not match service account pod ref claim (u-p)"),
        ] {
            assert_eq!(world(account, pod), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_user_says_where_it_came_from() {
        let user = claims().user();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:ns:web", "u-web"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
        let extra: Vec<_> = user.extra.iter().map(|(key, values)| format!("{key}={}", values[0])).collect();
        assert_eq!(
            extra,
            [
                "authentication.kubernetes.io/credential-id=JTI=j",
                "authentication.kubernetes.io/node-name=n",
                "authentication.kubernetes.io/node-uid=u-n",
                "authentication.kubernetes.io/pod-name=p",
                "authentication.kubernetes.io/pod-uid=u-p",
            ]
        );
    }

    #[test]
    fn they_are_written_as_kubernetes_writes_them() {
        let written = serde_json::to_value(claims()).expect("plain data");
        assert_eq!(written["kubernetes.io"]["serviceaccount"], json!({ "name": "web", "uid": "u-web" }));
        assert!(written["kubernetes.io"].get("secret").is_none());
        assert_eq!(serde_json::from_value::<Claims>(written).expect("read"), claims());
    }
}
