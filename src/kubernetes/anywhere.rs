//! The API server that the user's own kubeconfig names.

use std::path::{Path, PathBuf};

use kube::config::{Kubeconfig, KubeconfigError};

use super::{Kubernetes, KubernetesError};
use crate::model::AnyError;

impl Kubernetes {
    /// From the user's kubeconfigs, the first of which to say something counts, and from one of their contexts; `None`:
    /// the current one. Nothing is sent yet.
    ///
    /// # Errors
    /// [`KubernetesError::Kubeconfig`] and [`KubernetesError::NoContext`].
    pub async fn connect_anywhere(files: &[(PathBuf, String)], context: Option<&str>) -> Result<Self, KubernetesError> {
        let kubeconfig = merged(files)?;
        let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
        let chosen = context.map(str::to_owned).or_else(|| kubeconfig.current_context.clone());
        let Some(chosen) = chosen.clone().filter(|name| known.contains(name)) else {
            return Err(KubernetesError::NoContext { context: chosen, known });
        };
        if let Some(proxy) = proxy(&kubeconfig, &chosen) {
            let said = format!("the context {chosen} goes through the proxy {proxy}, and Macula speaks to no proxies");
            return Err(KubernetesError::Kubeconfig { source: AnyError::said(said) });
        }
        Self::connect_to(kubeconfig, &chosen).await
    }
}

fn merged(files: &[(PathBuf, String)]) -> Result<Kubeconfig, KubernetesError> {
    let mut all = Kubeconfig::default();
    for (path, text) in files {
        let wrong =
            |error: KubeconfigError| KubernetesError::KubeconfigFile { path: path.clone(), source: error.into() };
        let mut one = Kubeconfig::from_yaml(text).map_err(wrong)?;
        // what is empty says nothing, and another file may
        one.current_context = one.current_context.filter(|name| !name.is_empty());
        if let Some(folder) = path.parent() {
            absolute(&mut one, folder);
        }
        all = all.merge(one).map_err(wrong)?;
    }
    Ok(all)
}

/// Files that a kubeconfig names lie where it says, seen from its own folder.
fn absolute(kubeconfig: &mut Kubeconfig, folder: &Path) {
    let from = |path: &mut Option<String>| {
        if let Some(text) = path.as_ref().filter(|text| !text.is_empty() && Path::new(text.as_str()).is_relative()) {
            *path = Some(folder.join(text).display().to_string());
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        from(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        from(&mut user.client_certificate);
        from(&mut user.client_key);
        from(&mut user.token_file);
        // a bare name is looked for in PATH
        if let Some(login) =
            user.exec.as_mut().filter(|login| login.command.as_ref().is_some_and(|it| it.contains('/')))
        {
            from(&mut login.command);
        }
    }
}

/// That of the cluster which a context leads to.
fn proxy(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let context = kubeconfig.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|proxy| !proxy.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_kubeconfig_names_lie_beside_it() {
        let text = "users:\n- name: a\n  user: {client-certificate: a.pem, client-key: /b.key, exec: {command: bin/login}}\n\
                    - name: b\n  user: {exec: {command: login}}\n\
                    clusters:\n- name: a\n  cluster: {server: 'https://x', certificate-authority: ca.pem}\n";
        let all = merged(&[("/home/user/.kube/config".into(), text.into())]).unwrap();
        let user = all.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.client_certificate.as_deref(), Some("/home/user/.kube/a.pem"));
        assert_eq!(user.client_key.as_deref(), Some("/b.key"));
        assert_eq!(user.exec.as_ref().unwrap().command.as_deref(), Some("/home/user/.kube/bin/login"));
        let other = all.auth_infos[1].auth_info.as_ref().unwrap();
        assert_eq!(other.exec.as_ref().unwrap().command.as_deref(), Some("login"));
        let cluster = all.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.certificate_authority.as_deref(), Some("/home/user/.kube/ca.pem"));
    }

    #[tokio::test]
    async fn the_first_file_that_says_something_counts() {
        let one = "current-context: \"\"\ncontexts: []\n";
        let two = "current-context: far\ncontexts:\n- name: far\n  context: {cluster: far, user: me}\n\
                   clusters:\n- name: far\n  cluster: {server: 'https://far:6443', proxy-url: 'http://proxy:3128'}\n\
                   users:\n- {name: me, user: {}}\n";
        let files = |texts: &[&str]| -> Vec<(PathBuf, String)> {
            texts.iter().map(|text| ("/k/config".into(), (*text).to_owned())).collect()
        };
        let error = Kubernetes::connect_anywhere(&files(&[one]), None).await.unwrap_err();
        assert_eq!(error.to_string(), "the kubeconfig has no current context");
        let error = Kubernetes::connect_anywhere(&files(&[one, two]), Some("fra")).await.unwrap_err();
        assert_eq!(error, KubernetesError::NoContext { context: Some("fra".into()), known: vec!["far".into()] });
        let error = Kubernetes::connect_anywhere(&files(&[two]), None).await.unwrap_err();
        insta::assert_snapshot!(error, @"the kubeconfig cannot be used: the context far goes through the proxy http://proxy:3128, and Macula speaks to no proxies");
        let direct = two.replace(", proxy-url: 'http://proxy:3128'", "");
        for texts in [vec![direct.as_str()], vec![one, direct.as_str()]] {
            let kubernetes = Kubernetes::connect_anywhere(&files(&texts), None).await.unwrap();
            assert_eq!(kubernetes.server, "https://far:6443");
        }
        let error = Kubernetes::connect_anywhere(&files(&["contexts: ["]), None).await.unwrap_err();
        assert!(error.to_string().starts_with("the kubeconfig cannot be used: /k/config: "), "{error}");
    }
}
