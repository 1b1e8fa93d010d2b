//! Claims and volumes: a class for those that name none, no removal while in use, no growth that nobody can do.
//!
//! Source: k8s.io/kubernetes `plugin/pkg/admission/storage/{storageclass/setdefault,storageobjectinuseprotection,
//! persistentvolume/resize}`.

use serde_json::{Value, json};

use super::{Cluster, Operation, Request};
use crate::controllers::volume::DEFAULT_CLASS;
use crate::kind;
use crate::quantity;
use crate::registry::prepare::{meta_str, metadata};
use crate::status::Status;

/// Keeps a claim while a pod uses it.
pub(crate) const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim is bound to it.
pub(crate) const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Names a claim's class in old objects.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// DefaultStorageClass.
pub(super) fn default_class(request: &Request<'_>, cluster: &dyn Cluster, claim: &mut Value) -> Result<(), Status> {
    let named =
        !claim["spec"]["storageClassName"].is_null() || claim["metadata"]["annotations"].get(OLD_CLASS).is_some();
    if request.operation != Operation::Create || !request.is("", "persistentvolumeclaims") || named {
        return Ok(());
    }
    let classes = kind::find("storage.k8s.io", "v1", "storageclasses").expect("a row of the table");
    let mut defaults = cluster.list(classes, "");
    defaults.retain(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true");
    // The newest one; of those of one second, the first by name.
    let age = |class: &Value| meta_str(class, "creationTimestamp").to_owned();
    defaults.sort_by(|a, b| age(b).cmp(&age(a)).then_with(|| meta_str(a, "name").cmp(meta_str(b, "name"))));
    if let (Some(class), true) = (defaults.first(), claim["spec"].is_object()) {
        claim["spec"]["storageClassName"] = meta_str(class, "name").into();
    }
    Ok(())
}

/// StorageObjectInUseProtection.
pub(super) fn protect(request: &Request<'_>, _: &dyn Cluster, object: &mut Value) -> Result<(), Status> {
    let finalizer = match (request.operation, request.subresource, request.kind.group, request.kind.resource) {
        (Operation::Create, "", "", "persistentvolumeclaims") => CLAIM_PROTECTION,
        (Operation::Create, "", "", "persistentvolumes") => VOLUME_PROTECTION,
        _ => return Ok(()),
    };
    let mut all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !all.iter().any(|held| held == finalizer) {
        all.push(finalizer.into());
        metadata(object).insert("finalizers".into(), json!(all));
    }
    Ok(())
}

/// PersistentVolumeClaimResize.
pub(super) fn resize(request: &Request<'_>, cluster: &dyn Cluster, claim: &Value) -> Result<Vec<String>, Status> {
    let (true, Some(old)) =
        (request.operation == Operation::Update && request.is("", "persistentvolumeclaims"), request.old)
    else {
        return Ok(Vec::new());
    };
    let size = |claim: &Value| quantity::units(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(claim) <= size(old) {
        return Ok(Vec::new());
    }
    if old["status"]["phase"] != "Bound" {
        return Err(request.forbid(claim, "only bound persistent volume claims can be expanded"));
    }
    let class = |claim: &Value| claim["spec"]["storageClassName"].as_str().unwrap_or_default().to_owned();
    let classes = kind::find("storage.k8s.io", "v1", "storageclasses").expect("a row of the table");
    let grows = |name: &str| cluster.get(classes, "", name).is_some_and(|class| class["allowVolumeExpansion"] == true);
    if class(claim).is_empty() || class(claim) != class(old) || !grows(&class(claim)) {
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        return Err(request.forbid(claim, why));
    }
    Ok(Vec::new())
}
