//! Nodes: looked at, cordoned, drained, tainted.

use super::{Cluster, Kubectl};

const CROWD: &str = "create deployment crowd --image=raftsman-sample:1 --replicas=4 -- busybox httpd -f -p 8080";

pub(super) fn run(kubectl: &Kubectl, cluster: &Cluster) {
    shown(kubectl, cluster);
    kubectl.ok(CROWD).is("deployment.apps/crowd created");
    kubectl
        .ok("patch deployment crowd -p '{\"spec\":{\"template\":{\"spec\":{\"terminationGracePeriodSeconds\":1}}}}'");
    kubectl.ok("rollout status deployment/crowd --timeout=60s");
    drained(kubectl);
    tainted(kubectl);
    kubectl.ok("delete deployment crowd").is("deployment.apps \"crowd\" deleted");
}

fn shown(kubectl: &Kubectl, cluster: &Cluster) {
    let all = kubectl.ok("get nodes -o wide");
    all.has("NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE ...");
    for (name, address) in &cluster.nodes {
        all.has(&format!("{name} Ready <none> * v1.36.0 {address} <none> ..."));
        let node = kubectl.ok(&format!("describe node {name}"));
        node.has(&format!("Name: {name}"))
            .has("kubernetes.io/os=linux")
            .has("Taints: <none>")
            .has("Unschedulable: false");
        node.has("Ready True ... KubeletReady kubelet is posting ready status").lacks("Ready Unknown ...");
        node.has("MemoryPressure False ...").has(&format!("InternalIP: {address}")).has("pods: 110");
        node.has("Container Runtime Version: docker://*")
            .has("PodCIDR: 10.244.*/24")
            .has("Non-terminated Pods: (* in total)");
        node.has("Resource Requests Limits").has("cpu * (*%) * (*%)");
    }
    // Nobody lost sight of a node that had just come.
    kubectl.ok("get events -A --field-selector involvedObject.kind=Node").lacks("... NodeNotReady ...");
    kubectl.ok("label node node-1 disk=ssd").is("node/node-1 labeled");
    kubectl.ok("get nodes -l disk=ssd -o name").is("node/node-1");
    kubectl.ok("label node node-1 disk-").is("node/node-1 unlabeled");
}

fn drained(kubectl: &Kubectl) {
    kubectl.ok("cordon node-1").is("node/node-1 cordoned");
    kubectl.ok("cordon node-1").is("node/node-1 already cordoned");
    kubectl.ok("get nodes").has("node-1 Ready,SchedulingDisabled <none> * *").has("node-2 Ready <none> * *");
    kubectl.until("describe node node-1", "Taints: node.kubernetes.io/unschedulable:NoSchedule");
    let alone = "run alone --image=raftsman-sample:1 --overrides='{\"spec\":{\"nodeName\":\"node-1\"}}' -- sleep 1000";
    kubectl.ok(alone).is("pod/alone created");
    let refused = kubectl.fails("drain node-1");
    refused.has("... cannot delete Pods that declare no controller (use --force to override): */alone");
    let drained = kubectl.ok("drain node-1 --force --grace-period=1 --timeout=60s");
    drained.has("pod/crowd-* evicted").has("pod/alone evicted").has("node/node-1 drained");
    kubectl.ok("get pods --field-selector spec.nodeName=node-1 -o name").is("");
    kubectl.ok("rollout status deployment/crowd --timeout=60s");
    kubectl.ok("uncordon node-1").is("node/node-1 uncordoned");
    kubectl.until("describe node node-1", "Taints: <none>");
}

fn tainted(kubectl: &Kubectl) {
    kubectl.ok("taint nodes node-2 key=value:NoSchedule").is("node/node-2 tainted");
    let twice = kubectl.fails("taint nodes node-2 key=value:NoSchedule");
    twice.is("error: node node-2 already has key taint(s) with same effect(s) and --overwrite is false");
    kubectl.ok("scale deployment/crowd --replicas=6");
    kubectl.ok("rollout status deployment/crowd --timeout=60s");
    let there = kubectl.ok("get pods -l app=crowd --field-selector spec.nodeName=node-1 -o name");
    assert_eq!(there.text().lines().count(), 2, "the new ones avoid the taint: {}", there.text());
    kubectl.ok("taint nodes node-2 key-").is("node/node-2 untainted");

    kubectl.ok("taint nodes node-1 down=now:NoExecute").is("node/node-1 tainted");
    kubectl.until("get events", "* Normal TaintManagerEviction pod/crowd-* Marking for deletion Pod */crowd-*");
    kubectl.ok("rollout status deployment/crowd --timeout=60s");
    kubectl.ok("wait --for=delete pod -l app=crowd --field-selector spec.nodeName=node-1 --timeout=30s");
    kubectl.ok("taint nodes node-1 down-").is("node/node-1 untainted");
}
