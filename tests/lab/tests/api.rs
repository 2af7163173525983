//! The cluster itself: rights, the audit log, names.

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tandem_lab::{Lab, run};

const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [secrets], resourceNames: [mine], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
";

#[test]
fn a_service_account_may_do_what_it_was_granted_and_the_audit_log_has_it() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("rights").await?;
        namespace.apply(READER).await?;
        namespace.secret("mine", &[("key", "value")]).await?;
        namespace.secret("other", &[("key", "value")]).await?;
        let audit = lab
            .audit()
            .from_here()?
            .service_account(namespace.name(), "reader");
        let secrets: Api<Secret> = Api::default_namespaced(lab.client_as(namespace.name(), "reader").await?);
        let data = secrets.get("mine").await?.data.unwrap_or_default();
        assert_eq!(data["key"].0, b"value");
        assert!(secrets.get("other").await.is_err());
        let found = audit.read()?;
        let seen: Vec<_> = found
            .iter()
            .map(|request| (request.name.as_deref(), request.code))
            .collect();
        assert_eq!(seen, [(Some("mine"), 200), (Some("other"), 403)]);
        assert!(
            found
                .iter()
                .all(|request| request.resource == "secrets" && !request.is_write())
        );
        assert_eq!(
            lab.audit()
                .namespace(namespace.name())
                .user("system:nobody")
                .read()?,
            []
        );
        Ok(())
    });
}

#[test]
fn names_of_the_cluster_resolve_in_the_test_itself() {
    run(|_lab: Lab| async move {
        let mut found = tokio::net::lookup_host("kubernetes.default.svc:443").await?;
        assert_eq!(
            found.next().map(|address| address.to_string()).as_deref(),
            Some("10.96.0.1:443")
        );
        Ok(())
    });
}

#[test]
fn what_is_wrong_with_a_manifest_is_said() {
    run(|lab: Lab| async move {
        let refused: Result<()> = lab
            .apply(None, "{apiVersion: v1, kind: Namespace, metadata: {name: Upper}}")
            .await;
        assert!(refused.unwrap_err().to_string().contains("Upper"));
        assert!(
            lab.kubectl(&["get", "nothing"])
                .unwrap_err()
                .to_string()
                .contains("nothing")
        );
        Ok(())
    });
}
