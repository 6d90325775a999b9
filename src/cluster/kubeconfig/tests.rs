use std::path::Path;

use insta::assert_snapshot;

use super::*;
use crate::host::fake::FakeHost;

const KIND: &str = "
apiVersion: v1
kind: Config
current-context: kind-macula
clusters:
- cluster:
    certificate-authority-data: QUJD
    server: https://127.0.0.1:40123
  name: kind-macula
contexts:
- context: {cluster: kind-macula, user: kind-macula}
  name: kind-macula
users:
- name: kind-macula
  user:
    client-certificate-data: REVG
    client-key-data: R0hJ
";

fn entry() -> Entry {
    Entry::of_provider(KIND, "macula").unwrap()
}

/// As people have them: two clusters, comments, an exec plugin, blank lines, another order of keys.
const LIVED_IN: &str = "# mine
apiVersion: v1
kind: Config
current-context: work   # do not touch
preferences: {}

# --- clusters
clusters:
  - name: work
    cluster:
      server: https://k8s.example.com   # VPN!
  # the old one
  - cluster: {server: 'https://old.example.com'}
    name: old

contexts:
- {name: work, context: {cluster: work, user: me, namespace: team}}
users:
- name: me
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: login
      args:
      - --quiet
      interactiveMode: IfAvailable
# the end
";

#[test]
fn a_new_file_has_what_it_takes() {
    assert_snapshot!(merged("", &entry()).unwrap(), @"
    apiVersion: v1
    kind: Config
    clusters:
    - cluster:
        certificate-authority-data: QUJD
        server: https://127.0.0.1:40123
      name: macula
    contexts:
    - context:
        cluster: macula
        user: macula
      name: macula
    users:
    - user:
        client-certificate-data: REVG
        client-key-data: R0hJ
      name: macula
    current-context: macula
    ");
}

#[test]
fn what_others_wrote_stays_as_it_is() {
    let with = merged(LIVED_IN, &entry()).unwrap();
    assert_snapshot!(with, @"
    # mine
    apiVersion: v1
    kind: Config
    current-context: work   # do not touch
    preferences: {}

    # --- clusters
    clusters:
      - name: work
        cluster:
          server: https://k8s.example.com   # VPN!
      # the old one
      - cluster: {server: 'https://old.example.com'}
        name: old
      - cluster:
          certificate-authority-data: QUJD
          server: https://127.0.0.1:40123
        name: macula

    contexts:
    - {name: work, context: {cluster: work, user: me, namespace: team}}
    - context:
        cluster: macula
        user: macula
      name: macula
    users:
    - name: me
      user:
        exec:
          apiVersion: client.authentication.k8s.io/v1
          command: login
          args:
          - --quiet
          interactiveMode: IfAvailable
    - user:
        client-certificate-data: REVG
        client-key-data: R0hJ
      name: macula
    # the end
    ");
    assert_eq!(merged(&with, &entry()).unwrap(), with, "twice is once");
    assert_eq!(removed(&with, "macula").unwrap().as_deref(), Some(LIVED_IN), "and out again");
    assert_eq!(removed(LIVED_IN, "macula").unwrap(), None);
}

#[test]
fn a_cluster_made_anew_has_its_new_address_in_the_old_place() {
    let old = merged(LIVED_IN, &entry()).unwrap();
    let new = Entry::of_provider(&KIND.replace("40123", "50555"), "macula").unwrap();
    assert_eq!(merged(&old, &new).unwrap(), old.replace("40123", "50555"));
}

#[test]
fn the_current_context_is_set_only_where_there_was_none() {
    for empty in [
        "current-context: \"\"\n",
        "current-context:\n",
        "{}\n",
        "# nothing\n",
        "clusters: []\nusers: null\ncontexts:\n",
    ] {
        let text = merged(empty, &entry()).unwrap();
        let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(value["current-context"], "macula", "{text}");
        assert_eq!(value["clusters"][0]["cluster"]["server"], "https://127.0.0.1:40123");
        let gone: serde_yaml::Value = serde_yaml::from_str(&removed(&text, "macula").unwrap().unwrap()).unwrap();
        assert_eq!((&gone["current-context"], &gone["users"]), (&"".into(), &serde_yaml::Value::Sequence(Vec::new())));
    }
}

#[test]
fn json_stays_json() {
    let text = r#"{"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "a", "cluster": {"server": "https://a"}}], "contexts": [], "users": [], "current-context": "a"}"#;
    let with = merged(text, &entry()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&with).unwrap();
    assert_eq!((value["clusters"][1]["name"].as_str(), value["current-context"].as_str()), (Some("macula"), Some("a")));
}

#[test]
fn flow_style_and_anchors_keep_their_meaning() {
    let text = "clusters: [{name: a, cluster: &c {server: https://a}}, {name: b, cluster: *c}]\nusers: []\ncontexts: []\ncurrent-context: b\n";
    let value: serde_yaml::Value = serde_yaml::from_str(&merged(text, &entry()).unwrap()).unwrap();
    assert_eq!(value["clusters"].as_sequence().unwrap().len(), 3);
    assert_eq!(
        (&value["clusters"][1]["cluster"]["server"], &value["current-context"]),
        (&"https://a".into(), &"b".into())
    );
}

#[test]
fn windows_line_ends_stay() {
    let text = LIVED_IN.replace('\n', "\r\n");
    let with = merged(&text, &entry()).unwrap();
    assert!(with.lines().count() > text.lines().count() && !with.replace("\r\n", "").contains('\n'), "{with:?}");
    assert_eq!(removed(&with, "macula").unwrap(), Some(text));
}

#[test]
fn what_is_no_kubeconfig_is_left_alone() {
    assert!(merged("- a\n- b\n", &entry()).is_err());
    assert!(merged("clusters: {a: b}\n", &entry()).is_err());
    assert!(merged("a: [\n", &entry()).is_err());
    assert!(Entry::of_provider("clusters: []", "macula").is_err());
}

#[test]
fn entries_of_others_are_told_from_ours() {
    let ours = merged(LIVED_IN, &entry()).unwrap();
    // made anew, also where somebody chose a namespace
    let chosen = ours.replace("    user: macula\n", "    user: macula\n    namespace: team\n");
    for text in ["", LIVED_IN, ours.as_str(), chosen.as_str()] {
        assert_eq!(taken(text, "macula").unwrap(), None, "{text}");
    }
    assert_eq!(taken(LIVED_IN, "work").unwrap(), Some("context"));
    assert_eq!(taken(LIVED_IN, "old").unwrap(), Some("cluster"), "no context names it");
    assert_eq!(taken(LIVED_IN, "me").unwrap(), Some("user"));
    let elsewhere = ours.replace("https://127.0.0.1:40123", "https://10.0.0.5:6443");
    assert_eq!(taken(&elsewhere, "macula").unwrap(), Some("cluster"));
    // as minikube writes it
    let extended = ours.replace("    user: macula\n", "    user: macula\n    extensions: []\n");
    assert_eq!(taken(&extended, "macula").unwrap(), Some("context"));
    let shared = ours.replace("user: me, namespace", "user: macula, namespace");
    assert_eq!(taken(&shared, "macula").unwrap(), Some("user"), "another context has it");
    assert_eq!(removed(&elsewhere, "macula").unwrap(), None, "it is somebody else's by now");
}

#[tokio::test]
async fn an_entry_of_somebody_elses_is_never_replaced() {
    let host = FakeHost::new().file("/home/dev/.kube/config", LIVED_IN);
    let file = path(&host);
    let work = Entry::of_provider(KIND, "work").unwrap();
    let error = put(&host, &file, &work, false).await.unwrap_err();
    assert_snapshot!(error, @"/home/dev/.kube/config already has a context called work that macula did not write");
    assert_eq!((host.text(&file).as_deref(), host.paths().len()), (Some(LIVED_IN), 1));
    // unless it is written down that it is ours
    put(&host, &file, &work, true).await.unwrap();
    assert!(host.text(&file).unwrap().contains("40123"));
}

#[tokio::test]
async fn the_file_is_private_locked_and_found_as_kubectl_finds_it() {
    let host = FakeHost::new();
    assert_eq!(path(&host), Path::new("/home/dev/.kube/config"));
    let host = host.env_var("KUBECONFIG", ":/home/dev/a:/home/dev/b");
    let file = path(&host);
    assert_eq!(file, Path::new("/home/dev/a"));
    put(&host, &file, &entry(), false).await.unwrap();
    assert_eq!(host.mode(&file), Some(0o600));
    assert_eq!(host.paths(), std::slice::from_ref(&file), "no lock stays");
    take_out(&host, &file, "macula").await.unwrap();
    assert!(!host.text(&file).unwrap().contains("40123"));

    host.put("/home/dev/a.lock", "");
    let error = put(&host, &file, &entry(), false).await.unwrap_err();
    assert_eq!(error, KubeconfigError::Locked { path: "/home/dev/a.lock".into() });
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_never_written_over() {
    let host = FakeHost::new().file("/home/dev/.kube/config", "clusters: [\n");
    let file = path(&host);
    let error = put(&host, &file, &entry(), false).await.unwrap_err();
    assert!(matches!(error, KubeconfigError::Malformed { .. }), "{error}");
    assert_eq!(host.text(&file).unwrap(), "clusters: [\n");
    assert_eq!(host.paths(), [file], "no lock stays");
    take_out(&FakeHost::new(), Path::new("/home/dev/.kube/config"), "macula").await.unwrap();
}
