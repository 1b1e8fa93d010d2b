//! Plans and statuses followed through a pod's life, as text.

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::json;

use super::model::{Model, images_present, summary};
use super::pod::plan;

fn pod(spec: serde_json::Value) -> Pod {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 3}});
    pod["spec"] = spec;
    serde_json::from_value(pod).expect("a pod")
}

fn app(extra: serde_json::Value) -> Pod {
    let mut container = json!({"name": "app", "image": "busybox:1"});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    pod(json!({"containers": [container]}))
}

fn delete(model: &mut Model, grace_s: i64) {
    let meta = json!({"name": "p", "namespace": "default", "uid": "u",
        "deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": grace_s});
    model.pod.metadata = serde_json::from_value(meta).expect("metadata");
}

const UP: &str = "PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled";

#[test]
fn a_pod_starts_and_is_removed() {
    let mut model = Model::new(app(json!({})));
    assert_eq!(summary(&mut model), "Pending app=ContainerCreatingx0 | Initialized PodScheduled");
    assert_eq!(model.settle().join(", "), "volumes, sandbox 0, network, image app, start app #0 next+0s");
    assert_eq!(summary(&mut model), format!("Running app=readyx0 | {UP}"));
    delete(&mut model, 30);
    assert_eq!(model.settle().join(", "), "term app, remove app, stop sandbox, remove sandbox, tear down, finish");
    assert!(model.observed.memory.finished);
}

#[test]
fn crashes_back_off_from_10_seconds_to_5_minutes_and_forget() {
    let mut model = Model::new(app(json!({})));
    model.settle();
    model.exit("app", 1);
    assert_eq!(model.settle().join(", "), "image app, start app #1 next+10s", "the first restart is immediate");
    let mut delays = Vec::new();
    for _ in 0..7 {
        model.exit("app", 1);
        assert!(model.settle().iter().all(|s| s.starts_with("remove")), "waits");
        let status = summary(&mut model);
        assert!(status.starts_with("Running app=CrashLoopBackOff"), "{status}");
        let wake = model.plan().wake_at.expect("it will look again");
        delays.push(wake.duration_since(model.now).as_secs());
        model.now = wake;
        model.settle();
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(model.observed.containers.len(), 2, "only the instance before the current one is kept");
    model.wait(601);
    model.exit("app", 1);
    assert_eq!(model.settle()[1], "start app #9 next+10s", "a long run is forgiven");
}

#[test]
fn the_message_of_a_crash_loop_is_the_kubelets() {
    let mut model = Model::new(app(json!({})));
    for _ in 0..2 {
        model.settle();
        model.exit("app", 1);
    }
    summary(&mut model);
    let statuses = model.observed.previous.container_statuses.clone().unwrap();
    let message = statuses[0].state.clone().unwrap().waiting.unwrap().message.unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=app pod=p_default(u)");
    assert_eq!(statuses[0].last_state.clone().unwrap().terminated.unwrap().exit_code, 1);
}

#[test]
fn init_containers_run_one_after_the_other_and_sidecars_stay() {
    let mut model = Model::new(pod(json!({
        "initContainers": [{"name": "a", "image": "i:1"}, {"name": "side", "image": "i:1", "restartPolicy": "Always"},
            {"name": "b", "image": "i:1"}],
        "containers": [{"name": "app", "image": "i:1"}], "restartPolicy": "Never"})));
    images_present(&mut model);
    assert_eq!(model.settle().last().unwrap(), "start a #0 next+0s");
    assert_eq!(
        summary(&mut model),
        "Pending a=runningx0 side=PodInitializingx0 b=PodInitializingx0 app=PodInitializingx0 | PodReadyToStartContainers PodScheduled"
    );
    model.exit("a", 0);
    assert_eq!(model.settle().join(", "), "start side #0 next+0s, start b #0 next+0s");
    model.exit("b", 0);
    assert_eq!(model.settle().join(", "), "start app #0 next+0s");
    assert_eq!(
        summary(&mut model),
        format!("Running a=Completed(0)x0 side=readyx0 b=Completed(0)x0 app=readyx0 | {UP}")
    );
    model.exit("app", 0);
    assert_eq!(model.settle().join(", "), "term side, stop sandbox, tear down");
    assert!(summary(&mut model).starts_with("Succeeded"));
}

#[test]
fn a_failed_init_container_is_tried_again_or_fails_the_pod() {
    for (policy, phase) in [("Always", "Pending"), ("Never", "Failed")] {
        let mut model = Model::new(pod(json!({"restartPolicy": policy,
            "initContainers": [{"name": "a", "image": "i:1"}], "containers": [{"name": "app", "image": "i:1"}]})));
        model.settle();
        model.exit("a", 3);
        let steps = model.settle();
        assert_eq!(steps.contains(&"start a #1 next+10s".to_owned()), policy == "Always", "{policy}");
        let status = summary(&mut model);
        assert!(status.starts_with(phase), "{policy}: {status}");
    }
}

#[test]
fn restart_policies_decide_the_phase() {
    for (policy, code, phase) in [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"),
        ("Always", 0, "Running"),
    ] {
        let mut model =
            Model::new(pod(json!({"restartPolicy": policy, "containers": [{"name": "app", "image": "i:1"}]})));
        model.settle();
        model.exit("app", code);
        model.settle();
        let status = summary(&mut model);
        assert!(status.starts_with(phase), "{policy} {code}: {status}");
    }
}

#[test]
fn a_stubborn_container_gets_its_hook_then_its_grace_then_sigkill() {
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}});
    let mut model = Model::new(app(hook));
    model.settle();
    model.stubborn.insert("app".to_owned());
    delete(&mut model, 20);
    assert_eq!(model.settle().join(", "), "pre-stop app, term app");
    model.wait(19);
    assert_eq!(model.settle(), Vec::<String>::new());
    model.wait(1);
    assert_eq!(model.settle()[0], "kill app");
    assert!(model.observed.memory.finished);
}

#[test]
fn a_grace_period_of_one_second_lasts_one_second() {
    let mut model = Model::new(app(json!({})));
    model.settle();
    model.stubborn.insert("app".to_owned());
    delete(&mut model, 1);
    assert_eq!(model.settle().join(", "), "term app");
    assert_eq!(model.plan().wake_at, Some(model.now + jiff::SignedDuration::from_secs(1)));
    model.wait(1);
    assert!(model.settle().join(", ").starts_with("kill app"));
}

#[test]
fn a_pod_whose_volumes_never_stood_goes_at_once_and_a_failed_removal_is_tried_again() {
    let mut model = Model::new(app(json!({})));
    model.fails.insert("volumes".to_owned());
    for _ in 0..8 {
        model.settle();
        model.now = model.plan().wake_at.expect("it is tried again");
    }
    model.settle();
    delete(&mut model, 30);
    model.fails.insert("tear down".to_owned());
    assert_eq!(model.settle().join(", "), "tear down");
    model.fails.clear();
    model.wait(1);
    assert_eq!(model.settle().join(", "), "tear down, finish");
}

#[test]
fn a_deletion_made_shorter_is_obeyed() {
    let mut model = Model::new(app(json!({})));
    model.settle();
    model.stubborn.insert("app".to_owned());
    delete(&mut model, 600);
    model.settle();
    model.wait(5);
    delete(&mut model, 1);
    assert_eq!(model.settle()[0], "kill app");
}

#[test]
fn probes_gate_readiness_and_kill() {
    let probe = json!({"exec": {"command": ["true"]}});
    let mut model = Model::new(app(json!({"startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe})));
    model.settle();
    assert!(summary(&mut model).starts_with("Running app=runningx0 |"));
    model.health("app", true, false, None);
    assert!(summary(&mut model).starts_with("Running app=runningx0 |"));
    model.health("app", true, true, None);
    assert_eq!(summary(&mut model), format!("Running app=readyx0 | {UP}"));
    model.health("app", true, true, Some("Container app failed liveness probe, will be restarted"));
    assert_eq!(model.settle().join(", "), "term app, image app, start app #1 next+10s");
}

#[test]
fn an_image_that_cannot_be_had_is_told_and_tried_again() {
    let mut model = Model::new(app(json!({})));
    model.fails.insert("image app".to_owned());
    model.settle();
    model.observed.memory.containers.get_mut("app").unwrap().image =
        match model.observed.memory.containers["app"].image.clone() {
            super::memory::Progress::Failed(f) => {
                super::memory::Progress::Failed(super::memory::Failure { reason: "ErrImagePull".to_owned(), ..f })
            }
            other => other,
        };
    assert!(summary(&mut model).starts_with("Pending app=ErrImagePullx0"));
    model.wait(3);
    assert!(summary(&mut model).starts_with("Pending app=ImagePullBackOffx0"));
    model.fails.clear();
    model.wait(7);
    assert_eq!(model.settle().join(", "), "image app, start app #0 next+0s");
}

#[test]
fn a_dead_sandbox_takes_its_containers_with_it() {
    let mut model = Model::new(app(json!({})));
    model.settle();
    model.observed.sandboxes[0].running = false;
    assert_eq!(
        model.settle().join(", "),
        "term app, sandbox 1, remove sandbox, network, image app, start app #1 next+10s"
    );
}

#[test]
fn an_agent_that_restarts_restarts_nothing() {
    let mut model = Model::new(app(json!({"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}})));
    assert_eq!(model.settle().last().unwrap(), "post-start app");
    let before = model.observed.containers.clone();
    model.forget();
    assert_eq!(model.settle().join(", "), "volumes, network");
    assert_eq!(model.observed.containers, before);
}

#[test]
fn a_deadline_ends_the_pod() {
    let mut model =
        Model::new(pod(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "app", "image": "i:1"}]})));
    model.settle();
    let wake = model.plan().wake_at.expect("the deadline");
    model.now = wake;
    assert_eq!(model.settle().join(", "), "term app, stop sandbox, tear down");
    assert_eq!(model.observed.previous.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(summary(&mut model).starts_with("Failed"));
}

#[derive(Debug, Clone)]
enum Event {
    Exit(u8, i32),
    SandboxDies,
    Forget,
    Wait(i64),
    Fail(u8),
    Sick(u8),
    Delete,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4u8, 0..2i32).prop_map(|(c, code)| Event::Exit(c, code)),
        Just(Event::SandboxDies),
        Just(Event::Forget),
        (1..400i64).prop_map(Event::Wait),
        (0..4u8).prop_map(Event::Fail),
        (0..4u8).prop_map(Event::Sick),
        Just(Event::Delete),
    ]
}

const NAMES: [&str; 4] = ["init", "side", "app", "other"];

fn happen(model: &mut Model, event: &Event) {
    let name = |c: u8| NAMES[usize::from(c)];
    match event {
        Event::Exit(c, code) if model.observed.newest(name(*c)).is_some() => model.exit(name(*c), *code),
        Event::Sick(c) if model.observed.newest(name(*c)).is_some() => {
            model.health(name(*c), true, false, Some("sick"));
        }
        Event::SandboxDies => model.observed.sandboxes.iter_mut().for_each(|s| s.running = false),
        Event::Forget => model.forget(),
        Event::Wait(seconds) => model.wait(*seconds),
        Event::Fail(c) => {
            model.fails = [["image app", "network", "volumes", "sandbox 1"][usize::from(*c)].to_owned()].into();
        }
        Event::Delete => delete(model, 30),
        _ => {}
    }
}

proptest! {
    /// Whatever happens, following the plan comes to rest, a plan at rest is empty, a container never runs twice, a
    /// pod that has ended starts nothing, and a deleted pod is gone in the end.
    #[test]
    fn plans_come_to_rest(
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        events in prop::collection::vec(event(), 0..20),
    ) {
        let mut model = Model::new(pod(json!({"restartPolicy": policy,
            "initContainers": [{"name": "init", "image": "i:1"}, {"name": "side", "image": "i:1", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "i:1"}, {"name": "other", "image": "i:1"}]})));
        for event in &events {
            happen(&mut model, event);
            let over = model.observed.previous.phase.as_deref().is_some_and(|p| p == "Succeeded" || p == "Failed");
            let steps = model.settle();
            prop_assert!(!over || !steps.iter().any(|s| s.starts_with("start")), "an ended pod starts: {steps:?}");
            prop_assert!(plan(&model.pod, &model.observed, model.now).steps.is_empty());
            for name in NAMES {
                let running = model.observed.containers.iter().filter(|c| c.name == name && c.running()).count();
                prop_assert!(running <= 1, "{name} runs {running} times");
            }
        }
        model.fails.clear();
        delete(&mut model, 30);
        for _ in 0..50 {
            model.settle();
            model.wait(60);
        }
        prop_assert!(model.observed.memory.finished, "{:?}", model.observed);
        prop_assert!(model.observed.containers.is_empty() && model.observed.sandboxes.is_empty());
    }
}
