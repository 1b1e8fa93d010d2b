//! PURE: the columns, kind by kind.

use jiff::Timestamp;
use serde_json::Value;

use super::About::{Field, Words};
use super::cells::{
    access_modes, containers, controller, count, node_address, node_roles, node_status, number, or, pairs, phase,
    selector, storage_class, subjects, text,
};
use super::duration::age;
use super::{About, Column, network, pod};
use crate::kind::Kind;

const fn column(name: &'static str, about: About, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { name, kind: "string", wide: false, about, cell }
}

const META: &str = "pkg.apis.meta.v1.ObjectMeta";
const NAME: Column = column("Name", Field(META, "name"), |object, _| object["metadata"]["name"].clone());
const AGE: Column =
    column("Age", Field(META, "creationTimestamp"), |object, now| age(&object["metadata"]["creationTimestamp"], now));
const CONTAINERS: Column = column("Containers", Words("Names of each container in the template."), |object, _| {
    containers(object, "name").into()
})
.wide();
const IMAGES: Column = column("Images", Words("Images referenced by each container in the template."), |object, _| {
    containers(object, "image").into()
})
.wide();

/// Of kinds without columns of their own.
const PLAIN: &[Column] = &[
    NAME,
    column("Created At", Field(META, "creationTimestamp"), |object, _| object["metadata"]["creationTimestamp"].clone())
        .of_type("date"),
];
const CONFIG_MAPS: &[Column] = &[
    NAME,
    column("Data", Field("core.v1.ConfigMap", "data"), |object, _| {
        (count(&object["data"]) + count(&object["binaryData"])).into()
    }),
    AGE,
];
const SECRETS: &[Column] = &[
    NAME,
    column("Type", Field("core.v1.Secret", "type"), |object, _| text(&object["type"]).into()),
    column("Data", Field("core.v1.Secret", "data"), |object, _| count(&object["data"]).into()),
    AGE,
];
const SERVICE_ACCOUNTS: &[Column] = &[NAME, AGE];
const NAMESPACES: &[Column] = &[
    NAME,
    column("Status", Words("The status of the namespace"), |object, _| text(&object["status"]["phase"]).into()),
    AGE,
];
const NODE_INFO: &str = "core.v1.NodeSystemInfo";
const NODES: &[Column] = &[
    NAME,
    column("Status", Words("The status of the node"), |object, _| node_status(object).into()),
    column("Roles", Words("The roles of the node"), |object, _| node_roles(object).into()),
    AGE,
    column("Version", Field(NODE_INFO, "kubeletVersion"), |object, _| {
        text(&object["status"]["nodeInfo"]["kubeletVersion"]).into()
    }),
    column("Internal-IP", Field("core.v1.NodeStatus", "addresses"), |object, _| {
        node_address(object, "InternalIP").into()
    })
    .wide(),
    column("External-IP", Field("core.v1.NodeStatus", "addresses"), |object, _| {
        node_address(object, "ExternalIP").into()
    })
    .wide(),
    column("OS-Image", Field(NODE_INFO, "osImage"), |object, _| {
        or(&object["status"]["nodeInfo"]["osImage"], "<unknown>").into()
    })
    .wide(),
    column("Kernel-Version", Field(NODE_INFO, "kernelVersion"), |object, _| kernel(object).into()).wide(),
    column("Container-Runtime", Field(NODE_INFO, "containerRuntimeVersion"), |object, _| {
        or(&object["status"]["nodeInfo"]["containerRuntimeVersion"], "<unknown>").into()
    })
    .wide(),
];
const PODS: &[Column] = &[
    NAME,
    column("Ready", Words("The aggregate readiness state of this pod for accepting traffic."), |object, _| {
        pod::ready(object).into()
    }),
    column("Status", Words("The aggregate status of the containers in this pod."), |object, _| {
        pod::status(object).into()
    }),
    column(
        "Restarts",
        Words(
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        ),
        |object, now| pod::restarts(object, now).into(),
    ),
    AGE,
    column("IP", Field("core.v1.PodStatus", "podIP"), |object, _| match or(&object["status"]["podIPs"][0]["ip"], "") {
        "" => or(&object["status"]["podIP"], "<none>").into(),
        first => first.into(),
    })
    .wide(),
    column("Node", Field("core.v1.PodSpec", "nodeName"), |object, _| or(&object["spec"]["nodeName"], "<none>").into())
        .wide(),
    column("Nominated Node", Field("core.v1.PodStatus", "nominatedNodeName"), |object, _| {
        or(&object["status"]["nominatedNodeName"], "<none>").into()
    })
    .wide(),
    column("Readiness Gates", Field("core.v1.PodSpec", "readinessGates"), |object, _| {
        pod::readiness_gates(object).into()
    })
    .wide(),
];
const SERVICE: &str = "core.v1.ServiceSpec";
const SERVICES: &[Column] = &[
    NAME,
    column("Type", Field(SERVICE, "type"), |object, _| text(&object["spec"]["type"]).into()),
    column("Cluster-IP", Field(SERVICE, "clusterIP"), |object, _| network::cluster_ip(object).into()),
    column("External-IP", Field(SERVICE, "externalIPs"), |object, _| network::external_ip(object).into()),
    column("Port(s)", Field(SERVICE, "ports"), |object, _| network::ports(object).into()),
    AGE,
    column("Selector", Field(SERVICE, "selector"), |object, _| pairs(&object["spec"]["selector"]).into()).wide(),
];
const ENDPOINTS: &[Column] = &[
    NAME,
    column("Endpoints", Field("core.v1.Endpoints", "subsets"), |object, _| network::endpoints(object).into()),
    AGE,
];
/// The words of the first versions of the kind, which the table keeps.
const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    column(
        "AddressType",
        Words(
            "addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice must be the same \
             type. This field is immutable after creation. The following address types are currently supported: * IPv4: Represents \
             an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN: Represents a Fully Qualified Domain Name.",
        ),
        |object, _| text(&object["addressType"]).into(),
    ),
    column(
        "Ports",
        Words(
            "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name. \
             When ports is empty, it indicates that there are no defined ports. When a port is defined with a nil port value, it \
             indicates \"all ports\". Each slice may include a maximum of 100 ports.",
        ),
        |object, _| network::slice_ports(object).into(),
    ),
    column("Endpoints", Field("discovery.v1.EndpointSlice", "endpoints"), |object, _| {
        network::slice_endpoints(object).into()
    }),
    AGE,
];
const VOLUME: &str = "core.v1.PersistentVolumeSpec";
const VOLUMES: &[Column] = &[
    NAME,
    column("Capacity", Field(VOLUME, "capacity"), |object, _| capacity(&object["spec"]["capacity"]).into()),
    column("Access Modes", Field(VOLUME, "accessModes"), |object, _| {
        access_modes(&object["spec"]["accessModes"]).into()
    }),
    column("Reclaim Policy", Field(VOLUME, "persistentVolumeReclaimPolicy"), |object, _| {
        text(&object["spec"]["persistentVolumeReclaimPolicy"]).into()
    }),
    column("Status", Field("core.v1.PersistentVolumeStatus", "phase"), |object, _| phase(object).into()),
    column("Claim", Field(VOLUME, "claimRef"), |object, _| claim(object).into()),
    column("StorageClass", Words("StorageClass of the pv"), |object, _| storage_class(object).into()),
    column("VolumeAttributesClass", Words("VolumeAttributesClass of the pv"), |object, _| {
        object["spec"]["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into()
    }),
    column("Reason", Field("core.v1.PersistentVolumeStatus", "reason"), |object, _| {
        text(&object["status"]["reason"]).into()
    }),
    AGE,
    column("VolumeMode", Field(VOLUME, "volumeMode"), |object, _| {
        object["spec"]["volumeMode"].as_str().unwrap_or("<unset>").into()
    })
    .wide(),
];
const CLAIM: &str = "core.v1.PersistentVolumeClaimStatus";
const CLAIMS: &[Column] = &[
    NAME,
    column("Status", Field(CLAIM, "phase"), |object, _| phase(object).into()),
    column("Volume", Field("core.v1.PersistentVolumeClaimSpec", "volumeName"), |object, _| {
        text(&object["spec"]["volumeName"]).into()
    }),
    column("Capacity", Field(CLAIM, "capacity"), |object, _| match text(&object["spec"]["volumeName"]) {
        "" => "".into(),
        _ => capacity(&object["status"]["capacity"]).into(),
    }),
    column("Access Modes", Field(CLAIM, "accessModes"), |object, _| match text(&object["spec"]["volumeName"]) {
        "" => "".into(),
        _ => access_modes(&object["status"]["accessModes"]).into(),
    }),
    column("StorageClass", Words("StorageClass of the pvc"), |object, _| storage_class(object).into()),
    column("VolumeAttributesClass", Words("VolumeAttributesClass of the pvc"), |object, _| {
        object["spec"]["volumeAttributesClassName"].as_str().unwrap_or("<unset>").into()
    }),
    AGE,
    column("VolumeMode", Field("core.v1.PersistentVolumeClaimSpec", "volumeMode"), |object, _| {
        object["spec"]["volumeMode"].as_str().unwrap_or("<unset>").into()
    })
    .wide(),
];
const STORAGE_CLASS: &str = "storage.v1.StorageClass";
const STORAGE_CLASSES: &[Column] = &[
    column("Name", Field(META, "name"), |object, _| default_class(object).into()),
    column("Provisioner", Field(STORAGE_CLASS, "provisioner"), |object, _| text(&object["provisioner"]).into()),
    column("ReclaimPolicy", Field(STORAGE_CLASS, "reclaimPolicy"), |object, _| {
        or(&object["reclaimPolicy"], "Delete").into()
    }),
    column("VolumeBindingMode", Field(STORAGE_CLASS, "volumeBindingMode"), |object, _| {
        or(&object["volumeBindingMode"], "Immediate").into()
    }),
    column("AllowVolumeExpansion", Field(STORAGE_CLASS, "allowVolumeExpansion"), |object, _| {
        (object["allowVolumeExpansion"] == true).into()
    }),
    AGE,
];
const DEPLOYMENT: &str = "apps.v1.DeploymentStatus";
const DEPLOYMENTS: &[Column] = &[
    NAME,
    column("Ready", Words("Number of the pod with ready state"), |object, _| {
        format!("{}/{}", number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"])).into()
    }),
    column("Up-to-date", Field(DEPLOYMENT, "updatedReplicas"), |object, _| {
        number(&object["status"]["updatedReplicas"]).into()
    }),
    column("Available", Field(DEPLOYMENT, "availableReplicas"), |object, _| {
        number(&object["status"]["availableReplicas"]).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    column("Selector", Field("apps.v1.DeploymentSpec", "selector"), |object, _| {
        crate::selector::printed(&object["spec"]["selector"]).into()
    })
    .wide(),
];
const REPLICA_SETS: &[Column] = &[
    NAME,
    column("Desired", Field("apps.v1.ReplicaSetSpec", "replicas"), |object, _| {
        number(&object["spec"]["replicas"]).into()
    })
    .of_type("integer"),
    column("Current", Field("apps.v1.ReplicaSetStatus", "replicas"), |object, _| {
        number(&object["status"]["replicas"]).into()
    })
    .of_type("integer"),
    column("Ready", Field("apps.v1.ReplicaSetStatus", "readyReplicas"), |object, _| {
        number(&object["status"]["readyReplicas"]).into()
    })
    .of_type("integer"),
    AGE,
    CONTAINERS,
    IMAGES,
    column("Selector", Field("apps.v1.ReplicaSetSpec", "selector"), |object, _| {
        selector(&object["spec"]["selector"]).into()
    })
    .wide(),
];
const REVISIONS: &[Column] = &[
    NAME,
    column("Controller", Words("Controller of the object"), |object, _| controller(object).into()),
    column("Revision", Field("apps.v1.ControllerRevision", "revision"), |object, _| number(&object["revision"]).into()),
    AGE,
];
const ROLE: fn(&Value, Timestamp) -> Value =
    |object, _| format!("{}/{}", text(&object["roleRef"]["kind"]), text(&object["roleRef"]["name"])).into();
const USERS: fn(&Value, Timestamp) -> Value = |object, _| subjects(object, "User").into();
const GROUPS: fn(&Value, Timestamp) -> Value = |object, _| subjects(object, "Group").into();
const ACCOUNTS: fn(&Value, Timestamp) -> Value = |object, _| subjects(object, "ServiceAccount").into();
const ROLE_BINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        Words(
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot \
             be resolved, the Authorizer must return an error.",
        ),
        ROLE,
    ),
    AGE,
    column("Users", Words("Users in the roleBinding"), USERS).wide(),
    column("Groups", Words("Groups in the roleBinding"), GROUPS).wide(),
    column("ServiceAccounts", Words("ServiceAccounts in the roleBinding"), ACCOUNTS).wide(),
];
const CLUSTER_ROLE_BINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        Words(
            "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer \
             must return an error.",
        ),
        ROLE,
    ),
    AGE,
    column("Users", Words("Users in the clusterRoleBinding"), USERS).wide(),
    column("Groups", Words("Groups in the clusterRoleBinding"), GROUPS).wide(),
    column("ServiceAccounts", Words("ServiceAccounts in the clusterRoleBinding"), ACCOUNTS).wide(),
];
const LEASES: &[Column] = &[
    NAME,
    column("Holder", Field("coordination.v1.LeaseSpec", "holderIdentity"), |object, _| {
        text(&object["spec"]["holderIdentity"]).into()
    }),
    AGE,
];
const EVENT: &str = "core.v1.Event";
const EVENTS: &[Column] = &[
    column("Last Seen", Field(EVENT, "lastTimestamp"), last_seen),
    column("Type", Field(EVENT, "type"), |object, _| text(&object["type"]).into()),
    column("Reason", Field(EVENT, "reason"), |object, _| text(&object["reason"]).into()),
    column("Object", Field(EVENT, "involvedObject"), |object, _| involved(object).into()),
    column("Subobject", Field("core.v1.ObjectReference", "fieldPath"), |object, _| {
        text(&object["involvedObject"]["fieldPath"]).into()
    })
    .wide(),
    column("Source", Field(EVENT, "source"), |object, _| source(object).into()).wide(),
    column("Message", Field(EVENT, "message"), |object, _| text(&object["message"]).trim().into()),
    column("First Seen", Field(EVENT, "firstTimestamp"), first_seen).wide(),
    column("Count", Field(EVENT, "count"), |object, _| times(object).into()).wide(),
    column("Name", Field(META, "name"), |object, _| object["metadata"]["name"].clone()).wide(),
];

/// A kind's own columns, if it has any.
pub(super) fn own(kind: &Kind) -> Option<&'static [Column]> {
    Some(match (kind.group, kind.resource) {
        ("", "configmaps") => CONFIG_MAPS,
        ("", "endpoints") => ENDPOINTS,
        ("", "events") => EVENTS,
        ("", "namespaces") => NAMESPACES,
        ("", "nodes") => NODES,
        ("", "persistentvolumeclaims") => CLAIMS,
        ("", "persistentvolumes") => VOLUMES,
        ("", "pods") => PODS,
        ("", "secrets") => SECRETS,
        ("", "serviceaccounts") => SERVICE_ACCOUNTS,
        ("", "services") => SERVICES,
        ("apps", "controllerrevisions") => REVISIONS,
        ("apps", "deployments") => DEPLOYMENTS,
        ("apps", "replicasets") => REPLICA_SETS,
        ("coordination.k8s.io", "leases") => LEASES,
        ("discovery.k8s.io", "endpointslices") => ENDPOINT_SLICES,
        ("events.k8s.io", "events") => EVENTS,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => CLUSTER_ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "rolebindings") => ROLE_BINDINGS,
        ("storage.k8s.io", "storageclasses") => STORAGE_CLASSES,
        _ => return None,
    })
}

pub(super) fn of(kind: &Kind) -> &'static [Column] {
    own(kind).unwrap_or(PLAIN)
}

fn kernel(node: &Value) -> String {
    let info = &node["status"]["nodeInfo"];
    match (or(&info["kernelVersion"], "<unknown>"), or(&info["architecture"], "")) {
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    }
}

fn capacity(of: &Value) -> &str {
    or(&of["storage"], "0")
}

fn claim(volume: &Value) -> String {
    let claim = &volume["spec"]["claimRef"];
    if claim.is_object() { format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])) } else { String::new() }
}

fn default_class(class: &Value) -> String {
    let marked = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|key| class["metadata"]["annotations"][*key] == "true");
    let name = text(&class["metadata"]["name"]);
    if marked { format!("{name} (default)") } else { name.to_owned() }
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    let first = &event["firstTimestamp"];
    age(if first.is_null() { &event["eventTime"] } else { first }, now)
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    match (&event["series"], &event["lastTimestamp"]) {
        (Value::Object(series), _) => age(series.get("lastObservedTime").unwrap_or(&Value::Null), now),
        (_, Value::Null) => first_seen(event, now),
        (_, last) => age(last, now),
    }
}

fn times(event: &Value) -> i64 {
    match (&event["series"], number(&event["count"])) {
        (series @ Value::Object(_), _) => number(&series["count"]),
        (_, count) => count.max(1),
    }
}

fn involved(event: &Value) -> String {
    let about = &event["involvedObject"];
    let kind = text(&about["kind"]).to_lowercase();
    match text(&about["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let component = or(&event["source"]["component"], text(&event["reportingComponent"]));
    match or(&event["source"]["host"], text(&event["reportingInstance"])) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}
