//! PURE: what every namespace has: the ServiceAccount `default` and the cluster's authority in `kube-root-ca.crt`.

use serde_json::{Value, json};

use crate::controllers::{Observed, Plan};
use crate::kind;
use crate::reconcile::world::{Changed, World};
use crate::registry::commit::{Change, Part};
use crate::registry::key::Key;

const ACCOUNT: &str = "default";
const AUTHORITY: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// As clients of Kubernetes know it (`pkg/controller/certificates/rootcacertpublisher`).
const ABOUT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                     as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                     distributions of Kubernetes clusters.";

/// Wakes namespaces: themselves, and when one of these objects changes.
pub(crate) fn wakes(_: &World, changed: &Changed, keys: &mut Vec<Key>) {
    if changed.is("", "namespaces") {
        keys.push(changed.key.clone());
    } else if (changed.is("", "serviceaccounts") && changed.key.name == ACCOUNT)
        || (changed.is("", "configmaps") && changed.key.name == AUTHORITY)
    {
        keys.push(Key {
            kind: kind::core("namespaces"),
            namespace: String::new(),
            name: changed.key.namespace.clone(),
        });
    }
}

fn lives(observed: &Observed<'_>, namespace: &Key) -> bool {
    observed.world.get(namespace).is_some_and(|namespace| !namespace.deleting())
}

pub(crate) fn plan(observed: &Observed<'_>, key: &Key) -> Plan {
    let kind = kind::core("serviceaccounts");
    if !lives(observed, key) || observed.world.named(kind, &key.name, ACCOUNT).is_some() {
        return Plan::default();
    }
    let object =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": ACCOUNT, "namespace": key.name } });
    Plan::of(vec![Change::Create { kind, object }])
}

/// Keeps the authority where pods find it.
pub(crate) fn publish(observed: &Observed<'_>, key: &Key) -> Plan {
    if !lives(observed, key) {
        return Plan::default();
    }
    let kind = kind::core("configmaps");
    let data: Value = json!({ "ca.crt": observed.settings.ca_pem });
    let Some(held) = observed.world.named(kind, &key.name, AUTHORITY) else {
        let meta = json!({ "name": AUTHORITY, "namespace": key.name, "annotations": { DESCRIPTION: ABOUT } });
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data });
        return Plan::of(vec![Change::Create { kind, object }]);
    };
    let described = &held.value["metadata"]["annotations"][DESCRIPTION];
    if held.value["data"] == data && described.as_str().is_some_and(|text| !text.is_empty()) {
        return Plan::default();
    }
    let mut object = held.value.clone();
    object["metadata"]["annotations"][DESCRIPTION] = ABOUT.into();
    object["data"] = data;
    Plan::of(vec![Change::Update { kind, part: Part::Main, object }])
}
