//! When what was applied counts as there, and why it does not.

use super::*;

fn pod(status: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [
        {"metadata": {"name": "app-1", "namespace": "space"}, "spec": {"containers": []}, "status": status}]})
}

fn container(state: Value) -> Value {
    json!({"name": "main", "image": "registry.macula.local/app:v2", "imageID": "", "ready": false, "restartCount": 3,
        "state": state, "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}})
}

/// What `ready` says of a pod with this status.
async fn not_ready(status: Value) -> (String, Vec<String>) {
    // what never ran has no log
    let log = if status.to_string().contains("StartError") { "" } else { "reading config\nno such file\n" };
    let server = Server::start(move |request| match request.path() {
        "/apis/apps/v1/namespaces/space/deployments/app" => json_answer(200, deployment(0)),
        "/api/v1/namespaces/space/pods" => json_answer(200, pod(status.clone())),
        "/api/v1/namespaces/space/pods/app-1/log" => Some((200, log.into())),
        "/api/v1/namespaces/space/events" => json_answer(
            200,
            json!({"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": [
                {"metadata": {}, "involvedObject": {}, "lastTimestamp": "2026-01-01T00:00:00Z", "message": "old"},
                {"metadata": {}, "involvedObject": {}, "lastTimestamp": "2026-01-02T00:00:00Z",
                    "message": "Readiness probe failed: HTTP probe failed with statuscode: 500"}]}),
        ),
        _ => panic!("{}", request.line()),
    })
    .await;
    let error = server.kubernetes.ready(&addon(vec![]), Duration::ZERO).await.unwrap_err();
    (error.to_string(), server.lines())
}

#[tokio::test]
async fn a_pod_that_does_not_come_up_says_why() {
    let image = |reason: &str, message: &str| json!({"containerStatuses": [container(json!({"waiting": {"reason": reason, "message": message}}))]});
    let scheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient memory."}]});
    let crash = json!({"containerStatuses": [container(json!({"waiting": {"reason": "CrashLoopBackOff"}}))]});
    let config = image("CreateContainerConfigError", "secret \"x\" not found");
    let starting = json!({"containerStatuses": [container(json!({"waiting": {"reason": "ContainerCreating"}}))]});
    let probe = json!({"containerStatuses": [container(json!({"running": {}}))]});
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    let mut text = String::new();
    for status in [
        image("ErrImagePull", "registry.macula.local/app:v2: not found"),
        image("ImagePullBackOff", "pull access denied"),
        scheduled,
        crash,
        config,
        starting,
        probe,
        evicted,
    ] {
        text.push_str(&not_ready(status).await.0);
        text.push('\n');
    }
    insta::assert_snapshot!(text, @r#"
    pod space/app-1: the image registry.macula.local/app:v2 does not exist: registry.macula.local/app:v2: not found
    pod space/app-1: the image registry.macula.local/app:v2 may not be pulled without a login: pull access denied
    pod space/app-1: no node takes it: 0/1 nodes are available: 1 Insufficient memory.
    pod space/app-1: main ended with 2 (Error), restarted 3 times
        reading config
        no such file
    pod space/app-1: the kubelet cannot start main: CreateContainerConfigError: secret "x" not found
    pod space/app-1: it is being started: Readiness probe failed: HTTP probe failed with statuscode: 500
    pod space/app-1: main runs and is not ready: Readiness probe failed: HTTP probe failed with statuscode: 500
    pod space/app-1: the kubelet cannot start the pod: Evicted: The node was low on resource: memory.
    "#);
}

#[tokio::test]
async fn what_could_not_be_started_says_why() {
    let error =
        json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: \"/app\": no such file"}});
    let (said, _) = not_ready(json!({"containerStatuses": [container(error)]})).await;
    assert!(
        said.ends_with("main ended with 128 (StartError), restarted 3 times\n    exec: \"/app\": no such file"),
        "{said}"
    );
}

#[tokio::test]
async fn the_log_of_the_container_that_crashed_is_asked_for() {
    let crash = json!({"containerStatuses": [container(json!({"waiting": {"reason": "CrashLoopBackOff"}}))]});
    let lines = not_ready(crash).await.1;
    let log = lines.iter().find(|line| line.contains("/log")).unwrap();
    assert!(log.contains("container=main") && log.contains("previous=true") && log.contains("tailLines=8"), "{log}");
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_not_waited_for() {
    let status = json!({"containerStatuses": [container(json!({"waiting":
        {"reason": "ErrImagePull", "message": "registry.macula.local/app:v2: not found"}}))]});
    let server = Server::start(move |request| match request.path() {
        "/apis/apps/v1/namespaces/space/deployments/app" => json_answer(200, deployment(0)),
        _ => json_answer(200, pod(status.clone())),
    })
    .await;
    let hour = Duration::from_secs(3600);
    let error = server.kubernetes.ready(&addon(vec![]), hour).await.unwrap_err();
    let trouble = &error.reasons[0].trouble;
    assert!(matches!(trouble, Trouble::Image { trouble: ImageTrouble::Gone, .. }), "{trouble:?}");
}

#[tokio::test]
async fn waiting_ends_when_the_pods_are_there() {
    let mut looks = 0;
    let server = Server::start(move |_| {
        looks += 1;
        json_answer(200, deployment(i32::from(looks > 2)))
    })
    .await;
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    server.kubernetes.ready_telling(&addon(vec![]), Duration::from_secs(60), &tell).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["0 of 1 pods are ready"]);
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn an_old_generation_is_not_ready() {
    let mut object = deployment(1);
    object["metadata"]["generation"] = json!(3);
    let server = Server::start(move |request| match request.path() {
        "/api/v1/namespaces/space/pods" => {
            json_answer(200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []}))
        }
        _ => json_answer(200, object.clone()),
    })
    .await;
    let error = server.kubernetes.ready(&addon(vec![]), Duration::ZERO).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Deployment space/app: 1 of 1 pods are ready, and some are of an older specification"
    );
}
