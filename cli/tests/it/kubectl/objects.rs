//! Everything else that kubectl does with objects: made, changed, compared, selected, shown, asked about.

use std::process::Output;

use super::Kubectl;

pub(super) fn run(kubectl: &Kubectl) {
    created(kubectl);
    changed(kubectl);
    applied(kubectl);
    printed(kubectl);
    allowed(kubectl);
    explained(kubectl);
    refused(kubectl);
}

fn created(kubectl: &Kubectl) {
    kubectl.file("settings.txt", "a=1\n");
    for (line, wanted) in [
        ("configmap settings --from-file=settings.txt --from-literal=x=y", "configmap/settings created"),
        ("secret generic keys --from-literal=p=word", "secret/keys created"),
        ("secret docker-registry pull --docker-username=u --docker-password=p", "secret/pull created"),
        ("serviceaccount robot", "serviceaccount/robot created"),
        ("role reader --verb=get,list --resource=pods,pods/log", "role.rbac.authorization.k8s.io/reader created"),
        (
            "rolebinding robots --role=reader --serviceaccount=*:robot",
            "rolebinding.rbac.authorization.k8s.io/robots created",
        ),
        ("deployment idle --image=raftsman-sample:1 --replicas=0 --port=8080", "deployment.apps/idle created"),
        ("service clusterip plain --tcp=80:8080", "service/plain created"),
    ] {
        kubectl.ok(&format!("create {}", line.replace('*', &kubectl.namespace))).is(wanted);
    }
    assert_eq!(kubectl.ok("create token robot --duration=10m").text().split('.').count(), 3, "a signed token");
    kubectl.ok("expose deployment idle --port=80 --target-port=8080").is("service/idle exposed");
    kubectl
        .ok("get services")
        .has("idle ClusterIP 10.96.* <none> 80/TCP *")
        .has("plain ClusterIP 10.96.* <none> 80/TCP *");
    let dry = kubectl.ok("run dry --image=x --restart=Never --dry-run=client -o yaml -- sleep 1");
    dry.has("kind: Pod").has("restartPolicy: Never");
    kubectl
        .ok("create configmap never --from-literal=a=b --dry-run=server")
        .is("configmap/never created (server dry run)");
    kubectl.ok("get configmap never --ignore-not-found").is("");
    let map = kubectl.ok("describe configmap settings");
    map.has("settings.txt:").has("a=1").has("BinaryData").has("Events: <none>");
    kubectl.ok("describe secret keys").has("Type: Opaque").has("p: 4 bytes");
    kubectl.ok("describe serviceaccount robot").has("Image pull secrets: <none>").has("Events: <none>");
    kubectl.ok("describe role reader").has("pods/log [] [] [get list]");
    kubectl.ok("describe rolebinding robots").has(&format!("ServiceAccount robot {}", kubectl.namespace));
    kubectl.ok("get secrets").has("keys Opaque 1 *").has("pull kubernetes.io/dockerconfigjson 1 *");
    kubectl.ok("get rolebindings -o wide").has(&format!("robots Role/reader * {}/robot", kubectl.namespace));
}

fn edit(kubectl: &Kubectl, program: &str) -> Output {
    kubectl.command("edit configmap settings").env("KUBE_EDITOR", program).output().expect("it runs")
}

fn changed(kubectl: &Kubectl) {
    kubectl.ok("label configmap settings tier=front").is("configmap/settings labeled");
    let kept = kubectl.fails("label configmap settings tier=back");
    kept.is("error: 'tier' already has a value (front), and --overwrite is false");
    kubectl.ok("label configmap settings tier=back --overwrite").is("configmap/settings labeled");
    kubectl.ok("label configmap settings tier-").is("configmap/settings unlabeled");
    kubectl.ok("annotate configmap settings note='a b'").is("configmap/settings annotated");
    for (line, wanted) in [
        ("deployment idle -p '{\"spec\":{\"paused\":true}}'", "deployment.apps/idle patched"),
        (
            "deployment idle --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/paused\"}]'",
            "deployment.apps/idle patched",
        ),
        ("deployment idle --type=merge -p '{\"metadata\":{\"labels\":{\"q\":\"r\"}}}'", "deployment.apps/idle patched"),
        (
            "deployment idle --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":0}}'",
            "scale.autoscaling/idle patched",
        ),
    ] {
        kubectl.ok(&format!("patch {line}")).has(&format!("{wanted} ..."));
    }
    let told = |output: Output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    assert_eq!(told(edit(kubectl, "sed -i s/a=1/a=2/")), "configmap/settings edited");
    assert_eq!(told(edit(kubectl, "sed -i s/a=1/a=2/")), "Edit cancelled, no changes made.");
    let yaml = kubectl.ok("get configmap settings -o yaml");
    yaml.has("a=2").has("x: \"y\"").has("note: a b");
    kubectl.file("settings.yaml", &yaml.text().replace("a=2", "a=3"));
    kubectl.ok("replace -f settings.yaml").is("configmap/settings replaced");
    let stale = kubectl.fails("replace -f settings.yaml");
    stale.has("Error from server (Conflict): error when replacing \"settings.yaml\": Operation cannot be fulfilled on configmaps \"settings\": the object has been modified; please apply your changes to the latest version and try again");
    let forced = kubectl.ok("replace --force -f settings.yaml");
    forced.is("configmap \"settings\" deleted\nconfigmap/settings replaced");
    kubectl.ok("delete service plain idle").is("service \"plain\" deleted\nservice \"idle\" deleted");
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, labels: {set: one}}\ndata: {a: b}\n";

fn applied(kubectl: &Kubectl) {
    kubectl.file("set/one.yaml", &MAP.replace("NAME", "one"));
    kubectl.file("set/two.yaml", &MAP.replace("NAME", "two"));
    let prune = "apply -f set --prune -l set=one --prune-allowlist=core/v1/ConfigMap";
    kubectl.ok(prune).has("configmap/one created").has("configmap/two created");
    kubectl.file("set/two.yaml", &MAP.replace("NAME", "three"));
    kubectl.ok(prune).has("configmap/one unchanged").has("configmap/three created").has("configmap/two pruned");

    kubectl.file("set/two.yaml", &MAP.replace("NAME", "three").replace("a: b", "a: c"));
    let different = kubectl.fails("diff -f set");
    different.has("- a: b").has("+ a: c").lacks("... one ...");
    let dry = kubectl.ok("apply -f set --dry-run=server");
    dry.is("configmap/one unchanged (server dry run)\nconfigmap/three configured (server dry run)");
    let conflict = kubectl.fails("apply -f set/two.yaml --server-side --field-manager=other");
    conflict.has("error: Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.a");
    let forced = kubectl.ok("apply -f set/two.yaml --server-side --field-manager=other --force-conflicts");
    forced.is("configmap/three serverside-applied");
    kubectl.ok("get configmap three -o jsonpath='{.data.a}'").is("c");
    kubectl.ok("get configmap three --show-managed-fields -o yaml").has("manager: other").has("operation: Apply");

    kubectl.file("kustom/kustomization.yaml", "resources: [one.yaml]\nnamePrefix: z-\n");
    kubectl.file("kustom/one.yaml", &MAP.replace("NAME", "one"));
    kubectl.ok("apply -k kustom").is("configmap/z-one created");
    kubectl.ok("delete -k kustom").is("configmap \"z-one\" deleted");
    if kubectl.minor >= 31 {
        kubectl.ok("wait --for=create configmap/one --timeout=5s").is("configmap/one condition met");
    }
    let selected = kubectl.ok("delete configmap -l set=one");
    selected.has("configmap \"one\" deleted").has("configmap \"three\" deleted");
}

fn printed(kubectl: &Kubectl) {
    kubectl.ok("get deployments -o jsonpath='{.items[*].metadata.name}'").is("idle");
    kubectl.ok("get deployments -o custom-columns=NAME:.metadata.name,R:.spec.replicas").has("NAME R").has("idle 0");
    kubectl.ok("get deployments -o go-template='{{range .items}}{{.metadata.name}};{{end}}'").is("idle;");
    kubectl.ok("get deployments,serviceaccounts -o name").has("deployment.apps/idle").has("serviceaccount/robot");
    let json: serde_json::Value = serde_json::from_str(kubectl.ok("get configmaps -o json").text()).expect("JSON");
    assert_eq!(json["kind"], "List");
    let sorted = kubectl.ok("get configmaps --sort-by=.metadata.creationTimestamp -o name");
    let names: Vec<&str> = sorted.text().lines().collect();
    assert_eq!(names.last(), Some(&"configmap/settings"), "{names:?}");
    kubectl.ok("get configmaps --field-selector metadata.name=settings --no-headers").has("settings 2 *");
    kubectl.ok("get configmaps --chunk-size=1 -o name").has("configmap/kube-root-ca.crt").has("configmap/settings");
    kubectl.ok("get deployments --show-labels -L app").has("idle 0/0 0 0 * idle app=idle,q=r");
    kubectl.ok("get --raw /healthz").is("ok");
    kubectl.ok("get --raw /readyz?verbose").has("readyz check passed");
    kubectl.ok("get namespaces").has("default Active *").has("kube-system Active *");
    kubectl.ok("get storageclasses").has("local (default) raftsman.io/local Delete WaitForFirstConsumer false *");
    kubectl.ok("get clusterroles").has("cluster-admin 20*");
    kubectl.ok("get clusterrolebindings -o wide").has("cluster-admin ClusterRole/cluster-admin * system:masters");
    kubectl.ok("get endpoints -n default").has("kubernetes *:6443,*:6443,*:6443 *");
}

fn allowed(kubectl: &Kubectl) {
    let robot = format!("--as=system:serviceaccount:{}:robot", kubectl.namespace);
    kubectl.ok("auth can-i delete pods").is("yes");
    kubectl.ok(&format!("auth can-i list pods {robot}")).is("yes");
    kubectl.ok(&format!("auth can-i get pods --subresource=log {robot}")).is("yes");
    kubectl.fails(&format!("auth can-i delete pods {robot}")).is("no");
    kubectl.ok("auth can-i --list").has("*.* [] [] [*]");
    let list = kubectl.ok(&format!("auth can-i --list {robot}"));
    list.has("Resources Non-Resource URLs Resource Names Verbs").has("pods/log [] [] [get list]");
    assert!(!list.text().contains("[*]"), "{}", list.text());
    list.has("selfsubjectreviews.authentication.k8s.io [] [] [create]").has("[/healthz] [] [get]");
    kubectl.ok("create rolebinding viewers --clusterrole=view --user=ann").has("* created");
    kubectl.until("auth can-i list pods.metrics.k8s.io --as=ann", "yes");
    kubectl.fails("auth can-i delete pods.metrics.k8s.io --as=ann").is("no");
    kubectl.ok("auth whoami").has("Groups [system:masters system:authenticated]");
    kubectl.ok(&format!("get pods {robot}"));
    let who = format!("system:serviceaccount:{}:robot", kubectl.namespace);
    let denied = format!(
        "Error from server (Forbidden): secrets is forbidden: User \"{who}\" cannot list resource \"secrets\" in API group \
         \"\" in the namespace \"{}\"",
        kubectl.namespace
    );
    kubectl.fails(&format!("get secrets {robot}")).is(&denied);
}

fn explained(kubectl: &Kubectl) {
    let fields = kubectl.ok("explain deployment.spec");
    fields.has("GROUP: apps").has("KIND: Deployment").has("VERSION: v1").has("FIELD: spec <DeploymentSpec>");
    fields
        .has("replicas <integer>")
        .has("selector <LabelSelector> -required-")
        .has("template <PodTemplateSpec> -required-");
    let all = kubectl.ok("explain deployment.spec --recursive");
    all.has("maxSurge <IntOrString>").has("matchLabels <map[string]string>");
    kubectl.fails("explain deployment.spec.nothing").has("error: field \"nothing\" does not exist");
    let resources = kubectl.ok("api-resources");
    resources.has("NAME SHORTNAMES APIVERSION NAMESPACED KIND").has("deployments deploy apps/v1 true Deployment");
    resources.has("nodes no v1 false Node").has("pods metrics.k8s.io/v1beta1 true PodMetrics");
    kubectl.ok("api-resources --namespaced=false -o name").has("clusterroles.rbac.authorization.k8s.io").lacks("pods");
    kubectl.ok("api-versions").has("apps/v1").has("v1").has("rbac.authorization.k8s.io/v1");
    let cluster = kubectl.ok("cluster-info");
    assert!(cluster.text().contains("is running at") && cluster.text().contains(":6443"), "{}", cluster.text());
    kubectl.ok("version").has("Server Version: v1.36.0*");
}

fn refused(kubectl: &Kubectl) {
    kubectl.fails("get pod nothing").is("Error from server (NotFound): pods \"nothing\" not found");
    kubectl.fails("get widgets").is("error: the server doesn't have a resource type \"widgets\"");
    kubectl.ok("get pods -n nowhere").is("No resources found in nowhere namespace.");
    kubectl.fails("get pods --field-selector=foo=bar").has("Error from server (BadRequest): Unable to find ...");
    kubectl.file("wrong.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndatum: {a: b}\n");
    let strict = kubectl.fails("apply -f wrong.yaml");
    assert!(strict.text().contains("unknown field \"datum\""), "{}", strict.text());
    kubectl.file("wrong.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: No_Name}\nspec: {containers: []}\n");
    let invalid = kubectl.fails("apply -f wrong.yaml");
    assert!(invalid.text().starts_with("The Pod \"No_Name\" is invalid:"), "{}", invalid.text());
    kubectl
        .fails("create configmap settings")
        .has("error: failed to create configmap: configmaps \"settings\" already exists");
    kubectl
        .fails("autoscale deployment idle --max=2")
        .has("Error from server (NotFound): the server could not find the requested resource ...");
}
