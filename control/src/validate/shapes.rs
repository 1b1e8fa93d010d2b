//! PURE: Go's types of cluster objects, as messages show them.
//!
//! Source: k8s.io/kubernetes `pkg/apis/{core,rbac}/types.go`, k8s.io/apimachinery `pkg/apis/meta/v1/types.go`.

use crate::validate::show::{Member, Struct};

/// A field as it is called in Go and in objects, and what is shown where there is none: `""` leaves it out.
const fn member(shown: &'static str, field: &'static str, zero: &'static str) -> Member {
    Member { shown, field, zero, of: None }
}

/// Strings.
const EMPTY: &str = "\"\"";

/// `metav1.OwnerReference`
pub const OWNER_REFERENCE: Struct = Struct(&[
    member("apiVersion", "apiVersion", EMPTY),
    member("kind", "kind", EMPTY),
    member("name", "name", EMPTY),
    member("uid", "uid", EMPTY),
    member("controller", "controller", ""),
    member("blockOwnerDeletion", "blockOwnerDeletion", ""),
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
