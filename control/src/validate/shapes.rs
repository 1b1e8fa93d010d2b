//! PURE: Go's types of cluster objects, as messages show them.
//!
//! Source: k8s.io/kubernetes `pkg/apis/{core,rbac}/types.go`, k8s.io/apimachinery `pkg/apis/meta/v1/types.go`.

use crate::validate::show::{EMPTY, LABEL_SELECTOR, NIL, Struct, member, nested};

/// `metav1.OwnerReference`
pub const OWNER_REFERENCE: Struct = Struct(&[
    member("apiVersion", "apiVersion", EMPTY),
    member("kind", "kind", EMPTY),
    member("name", "name", EMPTY),
    member("uid", "uid", EMPTY),
    member("controller", "controller", ""),
    member("blockOwnerDeletion", "blockOwnerDeletion", ""),
]);

/// `core.Taint`
pub const TAINT: Struct = Struct(&[
    member("Key", "key", EMPTY),
    member("Value", "value", EMPTY),
    member("Effect", "effect", EMPTY),
    member("TimeAdded", "timeAdded", NIL),
]);

/// `core.NodeAddress`
pub const NODE_ADDRESS: Struct = Struct(&[member("Type", "type", EMPTY), member("Address", "address", EMPTY)]);

/// `core.ServicePort`
pub const SERVICE_PORT: Struct = Struct(&[
    member("Name", "name", EMPTY),
    member("Protocol", "protocol", EMPTY),
    member("AppProtocol", "appProtocol", NIL),
    member("Port", "port", "0"),
    member("TargetPort", "targetPort", "0"),
    member("NodePort", "nodePort", "0"),
]);

/// `rbac.RoleRef`
pub const ROLE_REF: Struct =
    Struct(&[member("APIGroup", "apiGroup", EMPTY), member("Kind", "kind", EMPTY), member("Name", "name", EMPTY)]);

/// `core.ObjectReference`
pub const OBJECT_REFERENCE: Struct = Struct(&[
    member("Kind", "kind", EMPTY),
    member("Namespace", "namespace", EMPTY),
    member("Name", "name", EMPTY),
    member("UID", "uid", EMPTY),
    member("APIVersion", "apiVersion", EMPTY),
    member("ResourceVersion", "resourceVersion", EMPTY),
    member("FieldPath", "fieldPath", EMPTY),
]);

/// `core.EventSource`
pub const EVENT_SOURCE: Struct = Struct(&[member("Component", "component", EMPTY), member("Host", "host", EMPTY)]);

/// `core.PersistentVolumeClaimSpec`
pub const CLAIM_SPEC: Struct = Struct(&[
    member("AccessModes", "accessModes", NIL),
    nested("Selector", "selector", NIL, &LABEL_SELECTOR),
    nested("Resources", "resources", r#"{"Limits":null,"Requests":null}"#, &CLAIM_RESOURCES),
    member("VolumeName", "volumeName", EMPTY),
    member("StorageClassName", "storageClassName", NIL),
    member("VolumeMode", "volumeMode", NIL),
    nested("DataSource", "dataSource", NIL, &DATA_SOURCE),
    nested("DataSourceRef", "dataSourceRef", NIL, &DATA_SOURCE_REF),
    member("VolumeAttributesClassName", "volumeAttributesClassName", NIL),
]);
const CLAIM_RESOURCES: Struct = Struct(&[member("Limits", "limits", NIL), member("Requests", "requests", NIL)]);
const DATA_SOURCE: Struct =
    Struct(&[member("APIGroup", "apiGroup", NIL), member("Kind", "kind", EMPTY), member("Name", "name", EMPTY)]);
const DATA_SOURCE_REF: Struct = Struct(&[
    member("APIGroup", "apiGroup", NIL),
    member("Kind", "kind", EMPTY),
    member("Name", "name", EMPTY),
    member("Namespace", "namespace", NIL),
]);

/// `core.VolumeNodeAffinity`
pub const VOLUME_NODE_AFFINITY: Struct = Struct(&[nested("Required", "required", NIL, &NODE_SELECTOR)]);
const NODE_SELECTOR: Struct =
    Struct(&[nested("NodeSelectorTerms", "nodeSelectorTerms", NIL, &crate::validate::show::NODE_SELECTOR_TERM)]);

const FALSE: &str = "false";
const SECRET_REFERENCE: Struct = Struct(&[member("Name", "name", EMPTY), member("Namespace", "namespace", EMPTY)]);

/// `core.PersistentVolumeSource`: of the many, those that are in use; others are shown as they stand.
pub const VOLUME_SOURCE: Struct = Struct(&[
    member("GCEPersistentDisk", "gcePersistentDisk", NIL),
    member("AWSElasticBlockStore", "awsElasticBlockStore", NIL),
    nested("HostPath", "hostPath", NIL, &Struct(&[member("Path", "path", EMPTY), member("Type", "type", NIL)])),
    member("Glusterfs", "glusterfs", NIL),
    nested(
        "NFS",
        "nfs",
        NIL,
        &Struct(&[
            member("Server", "server", EMPTY),
            member("Path", "path", EMPTY),
            member("ReadOnly", "readOnly", FALSE),
        ]),
    ),
    member("RBD", "rbd", NIL),
    member("Quobyte", "quobyte", NIL),
    member("ISCSI", "iscsi", NIL),
    member("FlexVolume", "flexVolume", NIL),
    member("Cinder", "cinder", NIL),
    member("CephFS", "cephfs", NIL),
    member("FC", "fc", NIL),
    member("Flocker", "flocker", NIL),
    member("AzureFile", "azureFile", NIL),
    member("VsphereVolume", "vsphereVolume", NIL),
    member("AzureDisk", "azureDisk", NIL),
    member("PhotonPersistentDisk", "photonPersistentDisk", NIL),
    member("PortworxVolume", "portworxVolume", NIL),
    member("ScaleIO", "scaleIO", NIL),
    nested("Local", "local", NIL, &Struct(&[member("Path", "path", EMPTY), member("FSType", "fsType", NIL)])),
    member("StorageOS", "storageos", NIL),
    nested("CSI", "csi", NIL, &CSI_SOURCE),
]);
const CSI_SOURCE: Struct = Struct(&[
    member("Driver", "driver", EMPTY),
    member("VolumeHandle", "volumeHandle", EMPTY),
    member("ReadOnly", "readOnly", FALSE),
    member("FSType", "fsType", EMPTY),
    member("VolumeAttributes", "volumeAttributes", NIL),
    nested("ControllerPublishSecretRef", "controllerPublishSecretRef", NIL, &SECRET_REFERENCE),
    nested("NodeStageSecretRef", "nodeStageSecretRef", NIL, &SECRET_REFERENCE),
    nested("NodePublishSecretRef", "nodePublishSecretRef", NIL, &SECRET_REFERENCE),
    nested("ControllerExpandSecretRef", "controllerExpandSecretRef", NIL, &SECRET_REFERENCE),
    nested("NodeExpandSecretRef", "nodeExpandSecretRef", NIL, &SECRET_REFERENCE),
]);
