//! Who asks: the authenticated user of a request, and what is kept secret on its behalf.

pub mod at_rest;
pub mod claims;
pub mod impersonate;
pub mod jwt;
pub mod tokens;

use std::collections::BTreeMap;

/// The group of everyone whose credentials were accepted.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that authorization lets pass unasked.
pub const MASTERS: &str = "system:masters";

/// A user as authentication found it (`user.Info` in Kubernetes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// E.g. `system:serviceaccount:default:web`.
    pub name: String,
    /// Empty where the credential carries none.
    pub uid: String,
    /// Every group, the implied ones too.
    pub groups: Vec<String>,
    /// Facts about the credential, e.g. the pod a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Nobody in particular.
    pub fn anonymous() -> User {
        User { name: "system:anonymous".into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() }
    }

    /// The holder of a verified client certificate: CN names the user, each O a group.
    pub fn from_certificate(common_name: &str, organizations: &[String]) -> User {
        let mut groups = organizations.to_vec();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        User { name: common_name.to_owned(), groups, ..User::default() }
    }

    /// A service account, with the groups that every account of its namespace has.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.into(),
            ],
            extra: BTreeMap::new(),
        }
    }

    /// Whether it belongs to the group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|held| held == group)
    }
}
