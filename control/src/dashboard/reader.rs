//! Reading for pages: one picture of the local replica, as one user may see it.

use store::View;

use crate::api::serve::Api;
use crate::authz::{Attributes, ResourceAttributes};
use crate::dashboard::order::Refusal;
use crate::dashboard::view::{Listing, Source};
use crate::identity::User;
use crate::kind::Kind;
use crate::registry::key;
use crate::registry::shell::Target;
use serde_json::Value;

/// Objects of a kind that are read for one page; those beyond are not shown.
const OBJECTS_MAX: usize = 5000;

/// The objects of one revision, for one user.
pub(crate) struct Reader {
    pub(crate) api: Api,
    pub(crate) user: User,
    pub(crate) view: View,
}

impl Reader {
    /// Whether the user may do this with objects of a kind.
    pub(crate) fn may(&self, verb: &str, kind: &Kind, namespace: &str, name: &str) -> Result<(), Refusal> {
        let resource = ResourceAttributes {
            group: kind.group.to_owned(),
            resource: kind.resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..ResourceAttributes::default()
        };
        let attributes = Attributes { verb: verb.to_owned(), resource: Some(resource), ..Attributes::default() };
        self.api.authorize(&self.user, &attributes).map_err(Refusal::from)
    }
}

impl Source for Reader {
    fn list(&self, kind: &'static Kind, namespace: &str) -> Result<Listing, Refusal> {
        let namespace = if kind.namespaced { namespace } else { "" };
        self.may("list", kind, namespace, "")?;
        let prefix = key::prefix(kind, namespace);
        let rows = self.view.range(prefix.as_bytes(), &key::range_end(&prefix));
        let mut listing = Listing::default();
        for kv in rows {
            if listing.items.len() == OBJECTS_MAX {
                listing.more = true;
                break;
            }
            // One that cannot be read must not hide the others.
            match self.api.registry.open(&kv) {
                Ok(object) => listing.items.push(object.value),
                Err(status) => tracing::warn!(%status, "an object cannot be shown"),
            }
        }
        Ok(listing)
    }

    fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Refusal> {
        self.may("get", kind, namespace, name)?;
        let target = Target { kind, namespace, name, subresource: "" };
        self.api.registry.get(&self.view, target).map(|object| object.value).map_err(Refusal::from)
    }
}
