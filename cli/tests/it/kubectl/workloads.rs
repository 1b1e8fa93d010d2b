//! A Deployment behind a Service: made, looked at, changed, rolled back, asked, followed, removed.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use super::{Cluster, Kubectl};
use crate::member::{exchange, text};
use crate::process::PATIENCE;

const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: raftsman-sample:1
          command: [sh, -c, "echo it begins; exec busybox httpd -f -v -p 8080 -h /www"]
          ports: [{name: http, containerPort: 8080}]
          env: [{name: COLOUR, value: blue}]
          resources: {requests: {cpu: 10m, memory: 8Mi}}
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
          volumeMounts: [{name: www, mountPath: /www}]
      volumes: [{name: www, configMap: {name: pages}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
"#;
/// What the application says.
const PAGE: &str = "good day";

pub(super) fn run(kubectl: &Kubectl, cluster: &Cluster) {
    deployed(kubectl);
    described(kubectl);
    answered(kubectl, cluster);
    opened(kubectl);
    rolled(kubectl);
    followed(kubectl);
    measured(kubectl);
    unhealthy(kubectl);
    removed(kubectl);
}

fn deployed(kubectl: &Kubectl) {
    kubectl.file("index.html", PAGE);
    kubectl.file("web.yaml", APPLICATION);
    kubectl.ok("create configmap pages --from-file=index.html").is("configmap/pages created");
    kubectl.ok("apply -f web.yaml").is("deployment.apps/web created\nservice/web created");
    let done = "deployment \"web\" successfully rolled out";
    kubectl.ok("rollout status deployment/web --timeout=60s").has(done);
    kubectl.ok("apply -f web.yaml").is("deployment.apps/web unchanged\nservice/web unchanged");
    kubectl.ok("wait --for=condition=Available deployment/web").is("deployment.apps/web condition met");

    let pods = kubectl.ok("get pods -o wide");
    pods.has("NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    pods.has("web-* 1/1 Running 0 * 10.244.*.* node-* <none> <none>");
    let deployment = kubectl.ok("get deployments -o wide");
    deployment.has("NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR");
    deployment.has("web 2/2 2 2 * web raftsman-sample:1 app=web");
    kubectl.ok("get rs -o wide").has("web-* 2 2 2 * web raftsman-sample:1 app=web,pod-template-hash=*");
    kubectl.ok("get svc -o wide").has("web NodePort 10.96.* <none> 80:3*/TCP * app=web");
    kubectl.ok("get endpoints").has("web 10.244.*:8080,10.244.*:8080 *");
    kubectl.ok("get endpointslices").has("web-* IPv4 8080 10.244.*,10.244.* *");
    let all = kubectl.ok("get all");
    all.has("pod/web-* 1/1 Running 0 *").has("service/web NodePort ...").has("replicaset.apps/web-* 2 2 2 *");
    let events = kubectl.ok("events");
    events.has("LAST SEEN TYPE REASON OBJECT MESSAGE");
    events.has("* Normal ScalingReplicaSet Deployment/web Scaled up replica set web-* from 0 to 2");
    events.has("* Normal SuccessfulCreate ReplicaSet/web-* Created pod: web-*");
    let scheduled = format!("* Normal Scheduled Pod/web-* Successfully assigned {}/web-* to node-*", kubectl.namespace);
    events.has(&scheduled);
    kubectl.ok("get events --field-selector reason=Started").has("* Normal Started pod/web-* ...");
}

fn described(kubectl: &Kubectl) {
    let pods = kubectl.ok("get pods -l app=web -o name");
    let first = pods.text().lines().next().expect("a pod");
    let pod = kubectl.ok(&format!("describe {first}"));
    pod.has("Service Account: default").has("Node: node-*/*").has("Status: Running").has("IP: 10.244.*");
    pod.has("Controlled By: ReplicaSet/web-*").has("Container ID: docker://*").has("Image: raftsman-sample:1");
    pod.has("Port: 8080/TCP").has("Host Port: 0/TCP").has("State: Running").has("Ready: True");
    pod.has("Restart Count: 0").has("cpu: 10m").has("COLOUR: blue").has("/www from www (rw)");
    pod.has("Readiness: http-get http://:http/ delay=0s timeout=1s period=1s #success=1 #failure=3");
    pod.has("ContainersReady True").has("PodScheduled True").has("QoS Class: Burstable");
    pod.has("Type: ConfigMap (a volume populated by a ConfigMap)");
    pod.has("Tolerations: node.kubernetes.io/not-ready:NoExecute op=Exists for 300s");
    pod.has("Normal Scheduled * default-scheduler Successfully assigned ...").has("Normal Started * kubelet ...");
    pod.has("Normal Pulled * kubelet Container image \"raftsman-sample:1\" already present on machine");
    let deployment = kubectl.ok("describe deployment web");
    deployment.has("Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable");
    deployment
        .has("RollingUpdateStrategy: 25% max unavailable, 25% max surge")
        .has("Available True MinimumReplicasAvailable");
    deployment.has("NewReplicaSet: web-* (2/2 replicas created)").has("Progressing True NewReplicaSetAvailable");
    let service = kubectl.ok("describe service web");
    service.has("Type: NodePort").has("Port: http 80/TCP").has("TargetPort: http/TCP").has("NodePort: http 3*/TCP");
    service.has("Endpoints: 10.244.*:8080,10.244.*:8080").has("Session Affinity: None").has("Events: <none>");
}

/// Through the Service's own address from a pod, named by its variables too, and through every node's.
fn answered(kubectl: &Kubectl, cluster: &Cluster) {
    let address = kubectl.ok("get service web -o jsonpath='{.spec.clusterIP}'");
    let asks = format!(
        "wget -qO- http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT/; echo; wget -qO- http://{}/; echo; \
         echo $WEB_PORT_80_TCP",
        address.text()
    );
    kubectl.ok(&format!("run asks --image=raftsman-sample:1 --restart=Never -- sh -c '{asks}'")).is("pod/asks created");
    let ended = "wait --for=jsonpath='{.status.phase}'=Succeeded pod/asks --timeout=30s";
    kubectl.ok(ended).is("pod/asks condition met");
    kubectl.ok("logs asks").is(&format!("{PAGE}\n{PAGE}\ntcp://{}:80", address.text()));
    let port = kubectl.ok("get service web -o jsonpath='{.spec.ports[0].nodePort}'");
    for (name, address) in &cluster.nodes {
        let began = Instant::now();
        let answer = loop {
            let answer = page(&format!("{address}:{}", port.text())).unwrap_or_else(|error| error.to_string());
            if answer.ends_with(PAGE) || began.elapsed() > PATIENCE {
                break answer;
            }
        };
        assert!(answer.ends_with(PAGE), "through {name}: {answer}");
    }
}

/// A port of the node that is a pod's.
fn opened(kubectl: &Kubectl) {
    let port = 18_000 + kubectl.minor;
    let spec = format!(
        r#"{{"spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"door","image":"raftsman-sample:1",
            "command":["busybox","httpd","-f","-p","80","-h","/bin"],"ports":[{{"containerPort":80,"hostPort":{port}}}]}}]}}}}"#
    );
    kubectl.ok(&format!("run door --image=raftsman-sample:1 --overrides='{spec}'")).is("pod/door created");
    kubectl.ok("wait --for=condition=Ready pod/door --timeout=30s").is("pod/door condition met");
    let address = kubectl.ok("get pod door -o jsonpath='{.status.hostIP}'");
    let began = Instant::now();
    while let Err(error) = page(&format!("{}:{port}", address.text())) {
        assert!(began.elapsed() < PATIENCE, "{error}");
    }
    kubectl.ok("delete pod door").is("pod \"door\" deleted");
}

fn page(place: &str) -> std::io::Result<String> {
    let address = place.parse().expect("an address");
    Ok(text(&exchange(address, Duration::from_secs(2), b"GET / HTTP/1.0\r\n\r\n")?))
}

fn rolled(kubectl: &Kubectl) {
    let status = "rollout status deployment/web --timeout=60s";
    let done = "deployment \"web\" successfully rolled out";
    kubectl.ok("scale deployment/web --replicas=3").is("deployment.apps/web scaled");
    kubectl.ok(status).has(done);
    let wrong = kubectl.fails("scale --current-replicas=2 --replicas=4 deployment/web");
    wrong.is("error: Expected replicas to be 2, was 3");
    kubectl.ok("annotate deployment/web kubernetes.io/change-cause=first").is("deployment.apps/web annotated");
    kubectl.until("rollout history deployment/web", "1 first");

    kubectl.ok("set image deployment/web web=localhost:1/none:1").is("deployment.apps/web image updated");
    kubectl.until("get pods", "web-* 0/1 *ImagePull* 0 *");
    let events = kubectl.ok("events --types=Warning");
    events.has("* Warning Failed Pod/web-* Failed to pull image \"localhost:1/none:1\": ...");
    kubectl.ok("events").has("* Normal Pulling Pod/web-* Pulling image \"localhost:1/none:1\"");
    kubectl.ok("get deployment web").has("web 3/3 1 3 *");
    kubectl.ok("rollout undo deployment/web").is("deployment.apps/web rolled back");
    kubectl.ok(status).has(done);
    let history = kubectl.ok("rollout history deployment/web");
    history.has("deployment.apps/web").has("REVISION CHANGE-CAUSE").lacks("1 ...").has("2 ...").has("3 first");
    kubectl.ok("rollout history deployment/web --revision=3").has("Image: raftsman-sample:1");
    let missing = kubectl.fails("rollout undo deployment/web --to-revision=9");
    missing.is("error: unable to find specified revision 9 in history");

    kubectl.ok("rollout restart deployment/web").is("deployment.apps/web restarted");
    kubectl.ok(status).has(done);
    kubectl.ok("rollout pause deployment/web").is("deployment.apps/web paused");
    kubectl.fails("rollout undo deployment/web").has("error: you cannot rollback a paused deployment; ...");
    kubectl.ok("rollout resume deployment/web").is("deployment.apps/web resumed");
    let template = "get deployment web -o jsonpath='{.spec.template.metadata.annotations}'";
    kubectl.ok(template).has("{\"kubectl.kubernetes.io/restartedAt\":*}");
}

/// Logs and lists that are followed.
fn followed(kubectl: &Kubectl) {
    let mut watch = kubectl.spawn("get pods -w");
    let mut shown = BufReader::new(watch.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(shown.any(|line| line.starts_with("web-")), "what is there comes first");
    let talks = "for i in 1 2 3; do echo line $i; sleep 1; done";
    kubectl
        .ok(&format!("run talks --image=raftsman-sample:1 --restart=Never -- sh -c '{talks}'"))
        .is("pod/talks created");
    assert!(shown.any(|line| super::fits(&line, "talks 0/1 Pending 0 *")), "what changes follows");
    assert!(shown.any(|line| super::fits(&line, "talks 1/1 Running 0 *")), "also when it runs");

    let mut follow = kubectl.spawn("logs -f talks");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("line 1"));
    kubectl.ok("get pod talks").has("talks 1/1 Running 0 *");
    assert_eq!(lines.collect::<Vec<_>>(), ["line 2", "line 3"]);
    assert!(follow.wait().expect("ended").success(), "it ends with the container");
    assert!(shown.any(|line| super::fits(&line, "talks 0/1 Completed 0 *")), "and when it has ended");
    let _ = watch.kill();
    let _ = watch.wait();

    kubectl.ok("logs talks --tail=1").is("line 3");
    kubectl.ok("logs talks --timestamps --since=1h").has("20*T*Z line 2");
    kubectl.ok("logs deployment/web --all-containers --prefix --tail=-1").has("[pod/web-*/web] it begins");
    kubectl.fails("logs talks -c other").has("error: container other is not valid for pod talks");
    let previous = "Error from server (BadRequest): previous terminated container \"talks\" in pod \"talks\" not found";
    kubectl.fails("logs talks --previous").is(previous);
}

fn measured(kubectl: &Kubectl) {
    kubectl.until("top pod", "web-* *m *Mi");
    kubectl.ok("top pod --containers").has("POD NAME CPU(cores) MEMORY(bytes)").has("web-* web *m *Mi");
    kubectl.ok("top pod -A --sort-by=cpu").has(&format!("{} web-* *m *Mi", kubectl.namespace));
    let nodes = kubectl.ok("top node");
    nodes.has("NAME CPU(cores) * MEMORY(bytes) *").has("node-1 *m *% *Mi *%").has("node-2 *m *% *Mi *%");
}

/// Probes that fail and containers that crash are told of.
fn unhealthy(kubectl: &Kubectl) {
    let probe = r#"{"spec":{"containers":[{"name":"ill","image":"raftsman-sample:1","command":["sleep","1000"],
        "readinessProbe":{"tcpSocket":{"port":81},"periodSeconds":1}}],"terminationGracePeriodSeconds":0}}"#;
    kubectl.ok(&format!("run ill --image=raftsman-sample:1 --overrides='{probe}'")).is("pod/ill created");
    let exits = "run crash --image=raftsman-sample:1 -- sh -c 'exit 3'";
    kubectl.ok(exits).is("pod/crash created");
    let needs = r#"{"spec":{"nodeSelector":{"moon":"full"}}}"#;
    kubectl.ok(&format!("run waits --image=raftsman-sample:1 --overrides='{needs}'")).is("pod/waits created");
    let refused =
        "* Warning Unhealthy Pod/ill Readiness probe failed: dial tcp 10.244.*:81: connect: connection refused";
    kubectl.until("events --for pod/ill", refused);
    kubectl.until("get pods", "crash 0/1 CrashLoopBackOff * (* ago) *");
    let crash = kubectl.ok("describe pod crash");
    crash.has("Reason: CrashLoopBackOff").has("Last State: Terminated").has("Exit Code: 3");
    kubectl.until("events --for pod/crash", "* Warning BackOff Pod/crash Back-off restarting failed container ...");
    kubectl.until(
        "describe pod waits",
        "Warning FailedScheduling * default-scheduler 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
    );
}

fn removed(kubectl: &Kubectl) {
    kubectl.ok("delete pod talks --wait=false").is("pod \"talks\" deleted");
    let forced = kubectl.ok("delete pod ill crash waits asks --grace-period=0 --force");
    forced.has(
        "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. ...",
    );
    forced.has("pod \"crash\" force deleted");
    kubectl
        .ok("delete -f web.yaml --cascade=foreground")
        .is("deployment.apps \"web\" deleted\nservice \"web\" deleted");
    kubectl.ok("get pods -l app=web").is(&format!("No resources found in {} namespace.", kubectl.namespace));
    kubectl.ok("wait --for=delete pod/talks --timeout=20s").is("");
    kubectl.fails("delete pod talks").is("Error from server (NotFound): pods \"talks\" not found");
    kubectl.ok("delete pod talks --ignore-not-found").is("");
}
