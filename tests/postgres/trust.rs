//! Who the server is: certificates, channel binding, and lines of `pg_hba.conf` that trust.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    SignatureAlgorithm, date_time_ymd,
};
use tandem::effects::Outcome;
use tandem::effects::postgres::{Server, Shown, Verifier, change, login, preflight, previous};
use tandem::machine::facts::{Finding, Login, Previous};
use tandem::policy::target::SecretName;
use tandem::policy::{Database, Tls, Trust};
use tandem::sensitive::Sensitive;
use tandem_lab::{PostgresOptions, run};

use crate::scene::{
    Scene, change_of, credential, described, on_every_version, reason, refusal, server, trust,
};

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

    /// A certificate that a role shows, and its key.
    fn vouch(&self, user: &str) -> Result<(String, Sensitive)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        Ok((
            params.signed_by(&key, &self.issuer)?.pem(),
            Sensitive::new(key.serialize_pem()),
        ))
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
        self.put(&[("server.crt", certificate), ("server.key", key)])?;
        self.reload().await
    }

    /// Into the server's directory.
    fn put(&self, files: &[(&str, &str)]) -> Result<()> {
        let postgres = &self.scene.stage.postgres;
        let namespace = self.scene.stage.namespace.name();
        let dir = self
            .scene
            .lab
            .dir()
            .join("postgres")
            .join(namespace)
            .join(postgres.name());
        for (name, text) in files {
            let path = dir.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            chown(&path, Some(POSTGRES), Some(POSTGRES))?;
        }
        Ok(())
    }

    async fn reload(&self) -> Result<()> {
        self.root.batch_execute("SELECT pg_reload_conf()").await?;
        // The server's main process reloads when it gets to it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    fn described(&self, trust: Trust) -> Database {
        Database {
            tls: Tls::VerifyFull(trust),
            ..described(&self.scene.stage.postgres.host(), 5432, "appdb", true)
        }
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
fn fm29_a_name_that_leads_elsewhere_is_proven_by_the_name_in_the_certificate() {
    run(|lab| async move {
        let certified = Certified::new(&lab).await?;
        let authority = Authority::new(&PKCS_ECDSA_P256_SHA256)?;
        let (certificate, key) = authority.sign("db.example", 2100)?;
        certified.show(&certificate, &key).await?;
        certified.refuses(&authority.pem, "not valid for name").await;

        let named = |name: &str| {
            let trust = Trust {
                server_name: Some(name.to_owned()),
                ..trust()
            };
            Server::new(&certified.described(trust), Some(authority.pem.as_bytes()), None)
        };
        let proven = login(
            &named("db.example").unwrap(),
            &certified.scene.b,
            None,
            None,
            None,
        )
        .await;
        assert!(matches!(proven, Login::Accepted(_)), "{proven:?}");
        let other = login(
            &named("other.example").unwrap(),
            &certified.scene.b,
            None,
            None,
            None,
        )
        .await;
        let (reason, message) = refused(&other);
        assert_eq!(reason, "TlsFailed");
        assert!(message.contains("-servername other.example"), "{message}");
        let finding = named("no name").unwrap_err();
        assert_eq!(finding.reason, "HostNotCertifiable");
        assert!(
            finding.message.contains("tls.serverName \"no name\""),
            "{}",
            finding.message
        );
        Ok(())
    });
}

#[test]
fn fm29_an_older_tls_than_the_policy_allows_is_not_spoken() {
    run(|lab| async move {
        let certified = Certified::new(&lab).await?;
        let speaking = |only_tls13| {
            let trust = Trust {
                only_tls13,
                ..trust()
            };
            Server::new(&certified.described(trust), Some(lab.ca_pem().as_bytes()), None).unwrap()
        };
        let (any, newest) = (speaking(false), speaking(true));
        let b = &certified.scene.b;
        let outcome = login(&newest, b, None, None, None).await;
        assert!(matches!(outcome, Login::Accepted(_)), "{outcome:?}");
        certified
            .root
            .batch_execute("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'")
            .await?;
        certified.reload().await?;
        let outcome = login(&any, b, None, None, None).await;
        assert!(matches!(outcome, Login::Accepted(_)), "{outcome:?}");
        let outcome = login(&newest, b, None, None, None).await;
        let (reason, message) = refused(&outcome);
        assert_eq!(reason, "TlsFailed");
        assert!(message.contains("ProtocolVersion"), "{message}");
        Ok(())
    });
}

#[test]
fn fm29_an_administrator_may_be_known_by_its_certificate_alone() {
    run(|lab| async move {
        let certified = Certified::new(&lab).await?;
        let (scene, ca) = (&certified.scene, lab.ca_pem().as_bytes());
        let authority = Authority::new(&PKCS_ECDSA_P256_SHA256)?;
        certified.put(&[("clients.crt", &authority.pem)])?;
        certified
            .root
            .batch_execute("ALTER SYSTEM SET ssl_ca_file = '/server/clients.crt'")
            .await?;
        let admin = &scene.admin.user;
        scene
            .stage
            .postgres
            .set_hba(&format!(
                "hostssl all {admin} all cert\nhostssl all all all scram-sha-256"
            ))
            .await?;
        certified.reload().await?;
        let database = Database {
            admin_certificate: Some(SecretName::new("admin-tls").unwrap()),
            ..certified.described(trust())
        };
        let showing = |(chain, key): &(String, Sensitive)| {
            let chain = chain.as_bytes();
            Server::new(&database, Some(ca), Some(Shown { chain, key })).unwrap()
        };
        // It has no password at all.
        let nameless = credential(admin.as_str(), "");
        let reasons = async |server: &Server| {
            let (findings, _) = preflight(server, &nameless, scene.wanted()).await;
            let blockers = findings.iter().filter(|finding| finding.blocks);
            blockers.map(|finding| finding.reason).collect::<Vec<_>>()
        };
        let vouched = authority.vouch(admin.as_str())?;
        assert_eq!(reasons(&showing(&vouched)).await, Vec::<&str>::new());
        let verifier = Verifier::compute(&scene.b.password);
        let outcome = change(&showing(&vouched), &nameless, change_of(&scene.b.user, &verifier)).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        // The two users show nothing, and are bound to their TLS as ever.
        let outcome = login(&showing(&vouched), &scene.b, None, None, Some(&nameless)).await;
        assert!(matches!(outcome, Login::Accepted(_)), "{outcome:?}");

        // Somebody else's, one of another authority, and none.
        assert_eq!(
            reasons(&showing(&authority.vouch("app_a")?)).await,
            ["HbaRejected"]
        );
        let stranger = Authority::new(&PKCS_ECDSA_P256_SHA256)?.vouch(admin.as_str())?;
        assert_eq!(reasons(&showing(&stranger)).await, ["TlsFailed"]);
        assert_eq!(reasons(&scene.server).await, ["HbaRejected"]);
        let outcome = change(&scene.server, &nameless, change_of(&scene.b.user, &verifier)).await;
        let (reason, message) = refusal(outcome);
        assert_eq!(reason, "HbaRejected");
        assert!(message.contains("admin.certificateRef"), "{message}");
        Ok(())
    });
}

#[test]
fn fm29_a_certificate_that_cannot_be_shown_is_found_before_anything_is_sent() {
    let authority = Authority::new(&PKCS_ECDSA_P256_SHA256).unwrap();
    let (chain, key) = authority.vouch("admin").unwrap();
    let (_, other) = authority.vouch("admin").unwrap();
    let database = Database {
        admin_certificate: Some(SecretName::new("admin-tls").unwrap()),
        ..described("db.example", 5432, "appdb", true)
    };
    let shown = |chain: &str, key: &Sensitive| -> Result<Server, Finding> {
        let chain = chain.as_bytes();
        Server::new(
            &database,
            Some(authority.pem.as_bytes()),
            Some(Shown { chain, key }),
        )
    };
    assert!(shown(&chain, &key).is_ok());
    for (chain, key, because) in [
        ("", &key, "no BEGIN CERTIFICATE"),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            &key,
            "tls.crt is not in PEM form",
        ),
        (
            &chain,
            &Sensitive::new("none".into()),
            "tls.key is no private key",
        ),
        (&chain, &other, "keys may not be consistent"),
    ] {
        let finding = shown(chain, key).unwrap_err();
        assert_eq!(
            (finding.reason, finding.blocks),
            ("ClientCertificateUnusable", true)
        );
        assert!(finding.message.contains(because), "{}", finding.message);
        assert!(
            finding.message.contains("kubectl create secret tls admin-tls"),
            "{}",
            finding.message
        );
    }
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
