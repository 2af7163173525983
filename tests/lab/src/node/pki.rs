//! Certificates of the cluster and of the databases in it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::network;
use crate::home::Home;

/// Signs the cluster's certificates.
const CLUSTER_AUTHORITY: &str = "tandem-lab-cluster";
/// Signs the databases' certificates.
const DATABASE_AUTHORITY: &str = "tandem-lab-database";

/// Everyone who talks to the API server by certificate: file name, common name, organisation.
///
/// The controllers' names differ from the administrator's, so that the audit log tells a test's requests from theirs.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("admin", "lab-admin", "system:masters"),
    ("manager", "lab-controller-manager", "system:masters"),
    ("scheduler", "lab-scheduler", "system:masters"),
    ("proxy", "lab-proxy", "system:masters"),
];

/// Writes all keys, certificates and kubeconfigs.
pub(super) fn write(home: &Home) -> Result<()> {
    let cluster = Authority::write(home, CLUSTER_AUTHORITY, "ca")?;
    Authority::write(home, DATABASE_AUTHORITY, "database-ca")?;
    let address = network::NODE.to_string();
    let servers = [
        "127.0.0.1",
        &address,
        network::API_SERVICE,
        "localhost",
        "kubernetes.default.svc",
    ];
    cluster.issue(home, "api", "kube-apiserver", None, &servers)?;
    for (file, name, organisation) in CLIENTS {
        cluster.issue(home, file, name, Some(organisation), &[])?;
        kubeconfig(home, file)?;
    }
    let node = format!("system:node:{}", super::NODE);
    cluster.issue(
        home,
        "node",
        &node,
        Some("system:nodes"),
        &[super::NODE, "127.0.0.1", &address],
    )?;
    kubeconfig(home, "node")?;
    let signing = KeyPair::generate()?;
    private(&home.join("pki/sa.key"), &signing.serialize_pem())?;
    fs::write(home.join("pki/sa.pub"), signing.public_key_pem())?;
    Ok(())
}

fn kubeconfig(home: &Home, name: &str) -> Result<()> {
    let pki = home.join("pki");
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority": pki.join("ca.crt")}}],
        "users": [{"name": name, "user": {"client-certificate": pki.join(format!("{name}.crt")), "client-key": pki.join(format!("{name}.key"))}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    });
    private(&home.join(format!("{name}.kubeconfig")), &text.to_string())
}

/// A key that signs, under a fixed name.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn write(home: &Home, name: &str, file: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        private(&home.join(format!("pki/{file}.key")), &key.serialize_pem())?;
        let params = authority(name)?;
        let certificate = params.self_signed(&key)?;
        fs::write(home.join(format!("pki/{file}.crt")), certificate.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
        })
    }

    fn issue(
        &self,
        home: &Home,
        file: &str,
        name: &str,
        organisation: Option<&str>,
        hosts: &[&str],
    ) -> Result<()> {
        let (certificate, key) = self.sign(name, organisation, hosts)?;
        private(&home.join(format!("pki/{file}.key")), &key)?;
        fs::write(home.join(format!("pki/{file}.crt")), certificate)?;
        Ok(())
    }

    /// A certificate and its key, both as PEM.
    pub(crate) fn sign(
        &self,
        name: &str,
        organisation: Option<&str>,
        hosts: &[&str],
    ) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organisation) = organisation {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organisation);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// The authority of a running lab that signs for databases.
pub(crate) fn database_authority(home: &Home) -> Result<Authority> {
    let path = home.join("pki/database-ca.key");
    let pem = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Authority {
        issuer: Issuer::new(authority(DATABASE_AUTHORITY)?, KeyPair::from_pem(&pem)?),
    })
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
}

/// Writes a file that only this user can read.
pub(crate) fn private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let mut file = file.with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
