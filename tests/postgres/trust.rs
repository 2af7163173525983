//! Who the server is: certificates, channel binding, and lines of `pg_hba.conf` that trust.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    SignatureAlgorithm, date_time_ymd,
};
use tandem::effects::Outcome;
use tandem::effects::postgres::{Server, Verifier, change, login, preflight, previous};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, change_of, credential, on_every_version, reason, server};

/// The user that the lab's servers run as.
const POSTGRES: u32 = 999;

/// An authority of our own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(algorithm: &'static SignatureAlgorithm) -> Result<Self> {
        let key = KeyPair::generate_for(algorithm)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for the host that ended in the past or ends in the future, and its key.
    fn sign(&self, host: &str, until: i32) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// A server whose certificate can be replaced, by a session that was there before.
struct Certified {
    scene: Scene,
    root: tokio_postgres::Client,
}

impl Certified {
    async fn new(lab: &tandem_lab::Lab) -> Result<Self> {
        let scene = Scene::new(lab, PostgresOptions::default()).await?;
        let root = scene.stage.postgres.superuser();
        let root = scene
            .stage
            .postgres
            .connect_as(&root.user, &root.password, "appdb")
            .await?;
        Ok(Self { scene, root })
    }

    async fn show(&self, certificate: &str, key: &str) -> Result<()> {
        let postgres = &self.scene.stage.postgres;
        let namespace = self.scene.stage.namespace.name();
        let dir = self
            .scene
            .lab
            .dir()
            .join("postgres")
            .join(namespace)
            .join(postgres.name());
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = dir.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            chown(&path, Some(POSTGRES), Some(POSTGRES))?;
        }
        self.root.batch_execute("SELECT pg_reload_conf()").await?;
        // The server's main process reloads when it gets to it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    fn trusting(&self, pem: &str) -> Server {
        server(&self.scene.stage.postgres.host(), 5432, "appdb", Some(pem)).unwrap()
    }

    /// Nothing that Tandem does may go on with such a server.
    async fn refuses(&self, pem: &str, because: &str) {
        let server = self.trusting(pem);
        let outcome = login(&server, &self.scene.b, None, None, Some(&self.scene.admin)).await;
        let (reason, message) = refused(&outcome);
        assert_eq!(reason, "TlsFailed", "{because}");
        assert!(message.contains(because), "{message}");
        let last = previous(&server, &self.scene.b).await;
        assert!(matches!(last, Previous::Unreachable(_)), "{because}: {last:?}");
        let (findings, identity) = preflight(&server, &self.scene.admin, self.scene.wanted()).await;
        let reasons: Vec<_> = findings.iter().map(|finding| finding.reason).collect();
        assert_eq!((reasons, identity), (vec!["TlsFailed"], None), "{because}");
        let verifier = Verifier::compute(&self.scene.b.password);
        let outcome = change(
            &server,
            &self.scene.admin,
            change_of(&self.scene.b.user, &verifier),
        )
        .await;
        assert!(
            matches!(outcome, Ok(Outcome::Refused(_))),
            "{because}: {outcome:?}"
        );
    }

    async fn accepts(&self, pem: &str) {
        let outcome = login(&self.trusting(pem), &self.scene.b, None, None, None).await;
        assert!(matches!(outcome, Login::Accepted(_)), "{outcome:?}");
    }
}

fn refused(login: &Login) -> (&'static str, &str) {
    match login {
        Login::Refused(finding) => (finding.reason, &finding.message),
        Login::Accepted(_) | Login::WrongPassword | Login::NotYet => (reason(login), ""),
    }
}

#[test]
fn fm29_a_certificate_that_proves_nothing_is_refused_and_a_new_authority_counts_at_once() {
    run(|lab| async move {
        let certified = Certified::new(&lab).await?;
        let host = certified.scene.stage.postgres.host();
        let (old, new) = (lab.ca_pem(), Authority::new(&PKCS_ECDSA_P256_SHA256)?);
        certified.accepts(old).await;
        certified.refuses(&new.pem, "UnknownIssuer").await;

        let (certificate, key) = new.sign(&host, 2100)?;
        certified.show(&certificate, &key).await?;
        certified.refuses(old, "UnknownIssuer").await;
        certified.accepts(&new.pem).await;
        // While the authority changes, both stand in the bundle.
        certified.accepts(&format!("{old}\n{}", new.pem)).await;

        let (certificate, key) = new.sign("other.example", 2100)?;
        certified.show(&certificate, &key).await?;
        certified.refuses(&new.pem, "not valid for name").await;

        let (certificate, key) = new.sign(&host, 2001)?;
        certified.show(&certificate, &key).await?;
        certified.refuses(&new.pem, "certificate expired").await;

        let alone = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![host])?.self_signed(&alone)?;
        certified.show(&certificate.pem(), &alone.serialize_pem()).await?;
        certified.refuses(&new.pem, "invalid peer certificate").await;
        Ok(())
    });
}

#[test]
fn fm29_a_certificate_without_channel_binding_is_said_to_be_the_cause() {
    run(|lab| async move {
        let certified = Certified::new(&lab).await?;
        let authority = Authority::new(&PKCS_ED25519)?;
        let (certificate, key) = authority.sign(&certified.scene.stage.postgres.host(), 2100)?;
        certified.show(&certificate, &key).await?;
        let server = certified.trusting(&authority.pem);
        let outcome = login(&server, &certified.scene.b, None, None, None).await;
        let (reason, message) = refused(&outcome);
        assert_eq!(reason, "NoChannelBinding");
        assert!(message.contains("Ed25519"), "{message}");
        // Passwords that may be older than Tandem are tried without.
        assert_eq!(previous(&server, &certified.scene.b).await, Previous::Accepted);
        Ok(())
    });
}

#[test]
fn fm29_neither_side_falls_back_to_the_clear() {
    run(|lab| async move {
        let plain = Scene::new(&lab, PostgresOptions::default().without_tls()).await?;
        let host = plain.stage.postgres.host();
        let verifying = server(&host, 5432, "appdb", Some(lab.ca_pem())).unwrap();
        let outcome = login(&verifying, &plain.b, None, None, None).await;
        let (reason, message) = refused(&outcome);
        assert_eq!(reason, "TlsFailed");
        assert!(message.contains("the server offers no TLS"), "{message}");

        let strict = Scene::new(&lab, PostgresOptions::default()).await?;
        let clear = server(&strict.stage.postgres.host(), 5432, "appdb", None).unwrap();
        let outcome = login(&clear, &strict.b, None, None, None).await;
        assert_eq!(refused(&outcome).0, "HbaRejected");
        Ok(())
    });
}

#[test]
fn fm29_an_authority_that_is_none_is_found_before_anything_is_sent() {
    for (pem, because) in [
        ("", "no BEGIN CERTIFICATE"),
        ("not a certificate", "no BEGIN CERTIFICATE"),
        (
            "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n",
            "invalid peer certificate",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            "not in PEM form",
        ),
    ] {
        let finding = server("db.example", 5432, "appdb", Some(pem)).unwrap_err();
        assert_eq!((finding.reason, finding.blocks), ("CaUnusable", true));
        assert!(finding.message.contains(because), "{}", finding.message);
        assert!(
            finding.message.contains("kubectl get configmap db-ca"),
            "{}",
            finding.message
        );
    }
    let pem = Authority::new(&PKCS_ECDSA_P256_SHA256).unwrap().pem;
    assert!(server("db.example", 5432, "appdb", Some(&pem)).is_ok());
    let finding = server("not a host name", 5432, "appdb", Some(&pem)).unwrap_err();
    assert_eq!(finding.reason, "HostNotCertifiable");
}

#[test]
fn fm16_a_server_that_asks_for_no_password_proves_nothing() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let wrong = credential("app_b", "any at all");
            scene
                .stage
                .postgres
                .set_hba("hostssl all app_b all trust\nhostssl all all all scram-sha-256")
                .await?;
            assert_eq!(
                refused(&scene.login(&wrong).await).0,
                "NoChannelBinding",
                "{version}"
            );
            // Everything that can be said of the last password is that it would do, as any other.
            assert_eq!(previous(&scene.server, &wrong).await, Previous::Accepted);
            // Nor is the password sent in the clear to whom asks for that (FM25).
            scene
                .stage
                .postgres
                .set_hba("hostssl all app_b all password\nhostssl all all all scram-sha-256")
                .await?;
            assert_eq!(
                refused(&scene.login(&scene.b).await).0,
                "NoChannelBinding",
                "{version}"
            );
            Ok(())
        })
        .await
    });
}

#[test]
fn fm16_without_tls_a_server_that_asks_for_no_password_is_found_out_too() {
    run(|lab| async move {
        on_every_version(
            &lab,
            PostgresOptions::default().without_tls(),
            async |scene, version| {
                assert_eq!(scene.reasons().await.0, Vec::<&str>::new(), "{version}");
                assert!(
                    matches!(scene.login(&scene.b).await, Login::Accepted(_)),
                    "{version}"
                );
                scene
                    .stage
                    .postgres
                    .set_hba("host all app_a,app_b all trust\nhost all all all scram-sha-256")
                    .await?;
                assert_eq!(scene.reasons().await.0, ["NoPasswordAsked"], "{version}");
                if version >= 16 {
                    assert_eq!(refused(&scene.login(&scene.b).await).0, "NoPasswordAsked");
                }
                Ok(())
            },
        )
        .await
    });
}
