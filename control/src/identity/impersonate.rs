//! PURE: acting as somebody else: what the headers ask for, and whether the caller may.
//!
//! Source: k8s.io/apiserver `endpoints/filters/impersonation` (constrained impersonation, KEP-5284).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::authz::node::GROUP as NODES;
use crate::authz::{Attributes, Decision, ResourceAttributes, forbidden};
use crate::identity::{AUTHENTICATED, UNAUTHENTICATED, User};
use crate::status::Status;

const ANONYMOUS: &str = "system:anonymous";
const ACCOUNT: &str = "system:serviceaccount:";
const NODE: &str = "system:node:";
const EXTRA: &str = "impersonate-extra-";
/// The group of the resources that constrained verbs are checked on.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom the headers name (names in lower case, in their order); none when they name nobody.
///
/// # Errors
/// 400 when they say more about somebody without a name.
pub fn wanted<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Option<User>, Status> {
    let mut user = User::default();
    for (name, value) in headers {
        match name {
            "impersonate-user" if user.name.is_empty() => user.name = value.to_owned(),
            "impersonate-uid" if user.uid.is_empty() => user.uid = value.to_owned(),
            "impersonate-group" => user.groups.push(value.to_owned()),
            _ => {
                let Some(key) = name.strip_prefix(EXTRA) else { continue };
                user.extra.entry(unescaped(key)).or_default().push(value.to_owned());
            }
        }
    }
    let more = !user.uid.is_empty() || !user.groups.is_empty() || !user.extra.is_empty();
    match (user.name.is_empty(), more) {
        (false, _) => Ok(Some(user)),
        (true, false) => Ok(None),
        (true, true) => {
            Err(Status::bad_request(format!("requested {} without impersonating a user name", printed(&user))))
        }
    }
}

/// Undoes percent-encoding; a key that is not encoded well stays as it is.
fn unescaped(key: &str) -> String {
    let (bytes, mut out, mut at) = (key.as_bytes(), Vec::with_capacity(key.len()), 0);
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let Some(byte) = key.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            return key.to_owned();
        };
        out.push(byte);
        at += 3;
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

/// The user as Go's `%#v` prints it, which the refusal quotes.
fn printed(user: &User) -> String {
    let list = |values: &[String]| {
        let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        format!("[]string{{{}}}", values.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let mut extra = "map[string][]string".to_owned();
    if user.extra.is_empty() {
        extra.push_str("(nil)");
    } else {
        let pairs: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        let _ = write!(extra, "{{{}}}", pairs.join(", "));
    }
    format!("&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.name, user.uid)
}

/// The user that the caller acts as, if it may for this request: by the verbs of one of the constrained modes, or by
/// the old verb `impersonate` alone.
///
/// # Errors
/// 403, as the first mode that fits refuses.
pub fn become_user(
    caller: &User,
    wanted: &User,
    request: &Attributes,
    may: &dyn Fn(&Attributes) -> Decision,
) -> Result<User, Status> {
    let check = |attributes: &Attributes| {
        let decision = may(attributes);
        if decision.allowed { Ok(()) } else { Err(forbidden(caller, attributes, &decision.reason)) }
    };
    let mode = mode(wanted);
    let constrained = mode.map(|mode| {
        check(&Attributes { verb: format!("impersonate-on:{mode}:{}", request.verb), ..request.clone() })?;
        identities(wanted, &format!("impersonate:{mode}"), AUTHENTICATION).iter().try_for_each(check)
    });
    match constrained {
        Some(Ok(())) => Ok(completed(wanted, mode == Some("arbitrary-node"))),
        refused => {
            let old = identities(wanted, "impersonate", "").iter().try_for_each(check);
            match (old, refused) {
                (Ok(()), _) => Ok(completed(wanted, false)),
                (Err(_), Some(Err(first))) => Err(first),
                (Err(why), _) => Err(why),
            }
        }
    }
}

/// The constrained mode that fits whom is wanted.
fn mode(wanted: &User) -> Option<&'static str> {
    let alone = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
    if wanted.name.starts_with(NODE) {
        alone.then_some("arbitrary-node")
    } else if account(&wanted.name).is_some() {
        alone.then_some("serviceaccount")
    } else {
        Some("user-info")
    }
}

/// Namespace and name of a service account.
fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// What must be allowed of whom is wanted: one check for each part of it.
fn identities(wanted: &User, verb: &str, group: &str) -> Vec<Attributes> {
    let each = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        verb: verb.to_owned(),
        resource: Some(ResourceAttributes {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            selected: BTreeMap::new(),
        }),
        path: String::new(),
    };
    let who = match (account(&wanted.name), wanted.name.strip_prefix(NODE)) {
        (Some((namespace, name)), _) => each(group, "serviceaccounts", "", namespace, name),
        (None, Some(node)) if !group.is_empty() => each(group, "nodes", "", "", node),
        _ => each(group, "users", "", "", &wanted.name),
    };
    let groups = wanted.groups.iter().map(|name| each(group, "groups", "", "", name));
    let uid = (!wanted.uid.is_empty()).then(|| each(AUTHENTICATION, "uids", "", "", &wanted.uid));
    let extra = wanted.extra.iter();
    let extra = extra.flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    let extra = extra.map(|(key, value)| each(AUTHENTICATION, "userextras", key, "", value));
    std::iter::once(who).chain(groups).chain(uid).chain(extra).collect()
}

/// With the groups that nobody needs to name.
fn completed(wanted: &User, node: bool) -> User {
    let mut user = wanted.clone();
    if node {
        user.groups = vec![NODES.to_owned()];
    } else if let (Some((namespace, _)), true) = (account(&user.name), user.groups.is_empty()) {
        user.groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let implied = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(implied) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(implied.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Attributes {
        let resource = ResourceAttributes { resource: "pods".into(), namespace: "ns".into(), ..Default::default() };
        Attributes { verb: "list".into(), resource: Some(resource), path: String::new() }
    }

    /// The caller may whatever `allowed` lists as `verb resource name`.
    fn become_by(allowed: &[&str], headers: &[(&str, &str)]) -> Result<User, String> {
        let caller = User::from_certificate("boss", &[]);
        let wanted = wanted(headers.iter().copied()).map_err(|status| status.message)?.expect("somebody");
        let may = |attributes: &Attributes| {
            let resource = attributes.resource.as_ref().expect("a resource");
            let asked = format!("{} {} {}", attributes.verb, resource.combined(), resource.name);
            Decision { allowed: allowed.contains(&asked.trim_end()), reason: String::new() }
        };
        become_user(&caller, &wanted, &pods(), &may).map_err(|status| status.message)
    }

    #[test]
    fn the_old_verb_is_checked_for_every_part() {
        let headers = [("impersonate-user", "bob"), ("impersonate-group", "devs"), ("impersonate-extra-a%2fb", "x")];
        let all = ["impersonate users bob", "impersonate groups devs", "impersonate userextras/a/b x"];
        let bob = become_by(&all, &headers).expect("allowed");
        assert_eq!((bob.name.as_str(), bob.groups), ("bob", vec!["devs".to_owned(), AUTHENTICATED.to_owned()]));
        assert_eq!(bob.extra["a/b"], ["x"]);
        for missing in 0..all.len() {
            let some: Vec<&str> =
                all.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, one)| *one).collect();
            assert_eq!(
                become_by(&some, &headers).expect_err("not all"),
                r#"pods is forbidden: User "boss" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "ns""#
            );
        }
    }

    #[test]
    fn constrained_verbs_say_whom_and_what_for() {
        let account = [("impersonate-user", "system:serviceaccount:ci:builder")];
        let both = ["impersonate-on:serviceaccount:list pods", "impersonate:serviceaccount serviceaccounts builder"];
        let builder = become_by(&both, &account).expect("allowed");
        assert_eq!(builder.groups, ["system:serviceaccounts", "system:serviceaccounts:ci", AUTHENTICATED]);
        assert!(become_by(&both[1..], &account).is_err() && become_by(&both[..1], &account).is_err());
        let node = [("impersonate-user", "system:node:n1")];
        let node =
            become_by(&["impersonate-on:arbitrary-node:list pods", "impersonate:arbitrary-node nodes n1"], &node);
        assert_eq!(node.expect("allowed").groups, [NODES, AUTHENTICATED]);
    }

    #[test]
    fn nobody_has_no_groups() {
        let refused = |headers: &[(&str, &str)]| become_by(&[], headers).expect_err("nobody");
        assert_eq!(
            refused(&[("impersonate-group", "devs")]),
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"devs"}, Extra:map[string][]string(nil)} without impersonating a user name"#
        );
        assert_eq!(
            refused(&[("impersonate-extra-scopes", "a")]),
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string(nil), Extra:map[string][]string{"scopes":[]string{"a"}}} without impersonating a user name"#
        );
        assert_eq!(wanted([("accept", "x")].into_iter()), Ok(None));
    }

    #[test]
    fn strangers_stay_strangers() {
        let anonymous = become_by(&["impersonate users system:anonymous"], &[("impersonate-user", ANONYMOUS)]);
        assert_eq!(anonymous.expect("allowed").groups, [UNAUTHENTICATED]);
    }
}
