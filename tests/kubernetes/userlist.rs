//! The Secret with a pooler's list of passwords.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tandem::effects::kubernetes::userlist::ListSecret;
use tandem::effects::postgres::Verifier;
use tandem::effects::{Error, Outcome};
use tandem::policy::Userlist;
use tandem::policy::target::SecretName;
use tandem_lab::run;

use crate::scene::{Scene, role, sensitive};

const NAME: &str = "pgbouncer-userlist";
const TEXT: &str = "; ours\n\"app_a\" \"one\"\n\"app_b\" \"two\"\n\"other\" \"three\"";

fn place() -> Userlist {
    Userlist {
        secret: SecretName::new(NAME).unwrap(),
        key: "userlist.txt".into(),
    }
}

impl Scene {
    async fn list(&self) -> Result<ListSecret> {
        let found = self.cluster.userlist(&place()).await?;
        found.map_err(|finding| anyhow::anyhow!(finding.message))
    }

    async fn enlist(&self, version: &str, verifier: &Verifier) -> Result<Outcome, Error> {
        let put = |list: &tandem::effects::postgres::Userlist| list.with(&role("app_b"), verifier);
        self.cluster.put_into_list(&place(), version, put).await
    }

    async fn label(&self, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"labels": {"touched": value}}});
        let params = PatchParams::default();
        self.secrets().patch(NAME, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }
}

#[test]
fn fm24_fm30_one_entry_of_a_list_is_written_in_the_version_that_was_looked_at_and_in_no_other() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let data = [("userlist.txt", TEXT), ("pgbouncer.ini", "[pgbouncer]")];
        scene.namespace.secret(NAME, &data).await?;
        let seen = scene.list().await?;
        assert_eq!(seen.foreign, None);
        let verifier = Verifier::compute(&sensitive("new"));
        assert_eq!(scene.enlist(&seen.version, &verifier).await?, Outcome::Done);
        let live: Secret = scene.secrets().get(NAME).await?;
        let text = |key: &str| -> Result<String> {
            let data = live
                .data
                .as_ref()
                .and_then(|data| data.get(key))
                .context("no key")?;
            Ok(String::from_utf8(data.0.clone())?)
        };
        let expected = TEXT.replace("\"two\"", &format!("\"{}\"", verifier.sensitive().expose()));
        assert_eq!(text("userlist.txt")?, expected);
        assert_eq!(text("pgbouncer.ini")?, "[pgbouncer]");

        // Whoever wrote it meanwhile, and whatever of it: it is looked at again.
        let again = Verifier::compute(&sensitive("newer"));
        let seen = scene.list().await?;
        scene.label("once").await?;
        let stale = scene.enlist(&seen.version, &again).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
        // Another one of the same name is another one.
        scene.secrets().delete(NAME, &DeleteParams::default()).await?;
        let gone = scene.enlist(&seen.version, &again).await?;
        assert!(matches!(gone, Outcome::Refused(_)), "{gone:?}");
        scene.namespace.secret(NAME, &data).await?;
        let other = scene.enlist(&seen.version, &again).await;
        assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
        let untouched = scene.namespace.read_secret(NAME).await?;
        assert_eq!(untouched["userlist.txt"], TEXT);
        Ok(())
    });
}

#[test]
fn fm31_a_list_that_is_not_there_or_that_somebody_else_keeps_writing_is_told() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        let told = async |reason: &str| -> Result<()> {
            let finding = match scene.cluster.userlist(&place()).await? {
                Ok(found) => found.foreign.context("nothing was found")?,
                Err(finding) => finding,
            };
            assert_eq!((finding.reason, finding.blocks), (reason, true));
            let named = format!("{}/{NAME}", scene.namespace.name());
            assert!(
                finding.message.contains(&named) && finding.message.contains("kubectl -n"),
                "{}",
                finding.message
            );
            assert!(!finding.message.contains("three"), "{}", finding.message);
            Ok(())
        };
        told("UserlistMissing").await?;
        scene.namespace.secret(NAME, &[("other", TEXT)]).await?;
        told("UserlistMissing").await?;
        let data = [("userlist.txt", "\"app_a\" \"one\"\napp_b three")];
        scene.namespace.secret(NAME, &data).await?;
        told("UserlistUnusable").await?;
        scene.namespace.secret(NAME, &[("userlist.txt", TEXT)]).await?;
        assert_eq!(scene.list().await?.foreign, None);
        // Server-side apply, as a GitOps tool does it.
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME},
            "stringData": {"userlist.txt": TEXT},
        });
        let params = PatchParams::apply("argocd-controller").force();
        scene
            .secrets()
            .patch(NAME, &params, &Patch::Apply(secret))
            .await?;
        told("UserlistOwnedByController").await
    });
}
