//! PURE: roles and bindings, found by whom they are for: what an authorization looks at, whatever else there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde::Deserialize;
use serde_json::Value;

use crate::identity::User;

/// Namespace (empty: the whole cluster) and name.
type Place = (String, String);

/// A binding, as far as decisions need it.
#[derive(Clone, Debug, Deserialize)]
pub struct Binding {
    /// What it grants.
    #[serde(rename = "roleRef")]
    pub role: RoleRef,
    /// To whom.
    #[serde(default)]
    pub subjects: Vec<Subject>,
}

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

/// All roles and bindings of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Index {
    roles: HashMap<Place, Arc<[PolicyRule]>>,
    bindings: BTreeMap<Place, Arc<Binding>>,
    /// Names of bindings by their namespace and by a subject.
    granted: HashMap<Place, BTreeSet<String>>,
}

/// A user as bindings name it. A service account is a user of a certain name.
fn user_key(name: &str) -> String {
    format!("u:{name}")
}

fn group_key(name: &str) -> String {
    format!("g:{name}")
}

/// The key of a subject in a binding of a namespace.
fn subject_key(subject: &Subject, namespace: &str) -> Option<String> {
    match subject.kind.as_str() {
        "User" => Some(user_key(&subject.name)),
        "Group" => Some(group_key(&subject.name)),
        "ServiceAccount" => {
            let place = subject.namespace.as_deref().filter(|place| !place.is_empty()).unwrap_or(namespace);
            (!place.is_empty()).then(|| user_key(&format!("system:serviceaccount:{place}:{}", subject.name)))
        }
        _ => None,
    }
}

impl Index {
    /// Takes the next version of an object in, none when it is gone. What cannot be read grants nothing.
    pub fn put(&mut self, resource: &str, namespace: &str, name: &str, object: Option<Value>) {
        let place = (namespace.to_owned(), name.to_owned());
        match resource {
            "clusterroles" | "roles" => {
                let role: Option<Role> = object.and_then(|object| serde_json::from_value(object).ok());
                match role {
                    Some(role) => self.roles.insert(place, role.rules.unwrap_or_default().into()),
                    None => self.roles.remove(&place),
                };
            }
            "clusterrolebindings" | "rolebindings" => {
                self.unlist(&place);
                let binding: Option<Binding> = object.and_then(|object| serde_json::from_value(object).ok());
                if let Some(binding) = binding {
                    self.list(&place, &binding);
                    self.bindings.insert(place, Arc::new(binding));
                }
            }
            _ => {}
        }
    }

    fn list(&mut self, (namespace, name): &Place, binding: &Binding) {
        for key in binding.subjects.iter().filter_map(|subject| subject_key(subject, namespace)) {
            self.granted.entry((namespace.clone(), key)).or_default().insert(name.clone());
        }
    }

    fn unlist(&mut self, place: &Place) {
        let Some(old) = self.bindings.remove(place) else { return };
        for key in old.subjects.iter().filter_map(|subject| subject_key(subject, &place.0)) {
            let slot = (place.0.clone(), key);
            if let Some(names) = self.granted.get_mut(&slot) {
                names.remove(&place.1);
                if names.is_empty() {
                    self.granted.remove(&slot);
                }
            }
        }
    }

    /// The rules of a role; of a cluster role where the namespace is empty.
    pub fn rules(&self, namespace: &str, name: &str) -> Option<&Arc<[PolicyRule]>> {
        self.roles.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// The bindings of a namespace (empty: of the cluster) that name the user or a group of it, with the first subject
    /// that does.
    pub fn bindings<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Binding, &'a Subject)> {
        let keys: Vec<String> =
            std::iter::once(user_key(&user.name)).chain(user.groups.iter().map(|group| group_key(group))).collect();
        let found = |key: &String| self.granted.get(&(namespace.to_owned(), key.clone()));
        let names: BTreeSet<&str> = keys.iter().filter_map(found).flatten().map(String::as_str).collect();
        names.into_iter().filter_map(move |name| {
            let binding = self.bindings.get(&(namespace.to_owned(), name.to_owned()))?;
            let named = |subject: &&Subject| subject_key(subject, namespace).is_some_and(|key| keys.contains(&key));
            Some((name, &**binding, binding.subjects.iter().find(named)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn names(index: &Index, user: &User, namespace: &str) -> Vec<String> {
        index.bindings(user, namespace).map(|(name, ..)| name.to_owned()).collect()
    }

    #[test]
    fn a_binding_is_found_by_its_newest_subjects_alone() {
        let mut index = Index::default();
        let binding = |subjects: Value| {
            Some(json!({ "roleRef": { "apiGroup": "", "kind": "Role", "name": "r" }, "subjects": subjects }))
        };
        let alice = User::from_certificate("alice", &["devs".to_owned()]);
        let web = User::service_account("ns", "web", "u");
        index.put("rolebindings", "ns", "b", binding(json!([{ "kind": "ServiceAccount", "name": "web" }])));
        assert_eq!((names(&index, &web, "ns"), names(&index, &alice, "ns")), (vec!["b".to_owned()], vec![]));
        assert!(names(&index, &web, "").is_empty() && names(&index, &web, "other").is_empty());
        let both = json!([{ "kind": "Group", "name": "devs" }, { "kind": "User", "name": "alice" }]);
        index.put("rolebindings", "ns", "b", binding(both));
        assert!(names(&index, &web, "ns").is_empty());
        let (_, _, subject) = index.bindings(&alice, "ns").next().expect("found once");
        assert_eq!((subject.kind.as_str(), index.bindings(&alice, "ns").count()), ("Group", 1));
        index.put("rolebindings", "ns", "b", Some(json!({ "subjects": 3 })));
        assert!(index.bindings.is_empty() && index.granted.is_empty());
    }

    proptest! {
        /// Whatever came before, the index is that of the newest objects.
        #[test]
        fn history_leaves_no_trace(steps in prop::collection::vec((0_usize..3, prop::option::of(0_usize..4)), 0..40)) {
            let object = |who: usize| json!({
                "roleRef": { "apiGroup": "", "kind": "ClusterRole", "name": "r" },
                "subjects": (0..who).map(|n| json!({ "kind": "User", "name": format!("u{n}") })).collect::<Vec<_>>(),
            });
            let (mut index, mut newest) = (Index::default(), BTreeMap::new());
            for (name, who) in steps {
                index.put("clusterrolebindings", "", &name.to_string(), who.map(object));
                newest.insert(name, who);
            }
            let mut fresh = Index::default();
            for (name, who) in newest {
                fresh.put("clusterrolebindings", "", &name.to_string(), who.map(object));
            }
            for n in 0..4 {
                let user = User::from_certificate(&format!("u{n}"), &[]);
                prop_assert_eq!(names(&index, &user, ""), names(&fresh, &user, ""));
            }
            prop_assert_eq!(index.granted, fresh.granted);
        }
    }
}
