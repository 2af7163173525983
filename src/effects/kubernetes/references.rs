//! What a policy refers to. Read afresh at each use and never kept: a managed database changes its administrator's
//! password by itself, and a certificate authority is replaced in its object.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::Cluster;
use super::secret::text;
use crate::api::spec::CaKind;
use crate::effects::Error;
use crate::machine::facts::Finding;
use crate::policy::{CaSource, Policy, SecretKeyPair, Tls, Trust};
use crate::sensitive::Sensitive;

/// Credential of the administrator.
#[derive(Clone, Debug)]
pub struct Administrator {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Sensitive,
}

/// Certificate of the administrator, in PEM form.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// Its chain.
    pub chain: Vec<u8>,
    /// Its private key.
    pub key: Sensitive,
}

impl Cluster {
    /// The login of the administrator or of a console, as `whose` says in messages; a finding when it is not where the
    /// policy says. Who shows a certificate need not have a password.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn administrator(
        &self,
        keys: &SecretKeyPair,
        whose: &str,
        certified: bool,
    ) -> Result<Result<Administrator, Finding>, Error> {
        let secret: Option<Secret> = self.get(keys.secret.as_str()).await?;
        let absent = |problem: &str| {
            finding(
                "AdminSecretUnusable",
                format!(
                    "{} with the login of {whose} {problem}. Mend it with: printf %s \"$PASSWORD\" | kubectl -n {} create secret generic {} --from-literal={}=ADMIN --from-file={}=/dev/stdin --dry-run=client -o yaml | kubectl apply -f -",
                    self.named("Secret", keys.secret.as_str()),
                    self.namespace,
                    keys.secret,
                    keys.username_key,
                    keys.password_key,
                ),
            )
        };
        let Some(secret) = secret else {
            return Ok(Err(absent("does not exist")));
        };
        let user = text(&secret, &keys.username_key);
        let password = text(&secret, &keys.password_key).or(certified.then_some(""));
        Ok(match (user, password) {
            (Some(user), Some(password)) if !user.is_empty() && (certified || !password.is_empty()) => {
                Ok(Administrator {
                    user: user.to_owned(),
                    password: Sensitive::new(password.to_owned()),
                })
            }
            (None, _) => Err(absent(&format!(
                "has no text under the key {:?}",
                keys.username_key
            ))),
            (_, None) => Err(absent(&format!(
                "has no text under the key {:?}",
                keys.password_key
            ))),
            (Some(_), Some(_)) => Err(absent("has an empty user name or password")),
        })
    }

    /// The certificate that the administrator shows; nothing when the policy names none.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn certificate(
        &self,
        policy: &Policy,
    ) -> Result<Result<Option<ClientCertificate>, Finding>, Error> {
        let Some(name) = &policy.database.admin_certificate else {
            return Ok(Ok(None));
        };
        let secret: Option<Secret> = self.get(name.as_str()).await?;
        let problem = match &secret {
            None => "does not exist",
            Some(secret) => match (text(secret, "tls.crt"), text(secret, "tls.key")) {
                (Some(chain), Some(key)) => {
                    return Ok(Ok(Some(ClientCertificate {
                        chain: chain.as_bytes().to_vec(),
                        key: Sensitive::new(key.to_owned()),
                    })));
                }
                (None, _) => "has no text under the key tls.crt",
                (Some(_), None) => "has no text under the key tls.key",
            },
        };
        Ok(Err(finding(
            "ClientCertificateUnusable",
            format!(
                "{} with the administrator's certificate {problem}. Mend it with: kubectl -n {} create secret tls {name} --cert=admin.crt --key=admin.key --dry-run=client -o yaml | kubectl apply -f -",
                self.named("Secret", name.as_str()),
                self.namespace,
            ),
        )))
    }

    /// The certificate authority in PEM form; nothing when the policy names none.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn authority(&self, tls: &Tls) -> Result<Result<Option<Vec<u8>>, Finding>, Error> {
        let Tls::VerifyFull(Trust {
            authority: Some(source),
            ..
        }) = tls
        else {
            return Ok(Ok(None));
        };
        let CaSource { kind, name, key } = source;
        let (exists, pem) = match kind {
            CaKind::ConfigMap => {
                let map: Option<ConfigMap> = self.get(name).await?;
                (map.is_some(), map.and_then(|map| from_map(map, key)))
            }
            CaKind::Secret => {
                let secret: Option<Secret> = self.get(name).await?;
                (
                    secret.is_some(),
                    secret.and_then(|s| s.data?.remove(key)).map(|bytes| bytes.0),
                )
            }
        };
        if let Some(pem) = pem.filter(|pem| !pem.is_empty()) {
            return Ok(Ok(Some(pem)));
        }
        let (kind, create) = match kind {
            CaKind::ConfigMap => ("ConfigMap", "configmap"),
            CaKind::Secret => ("Secret", "secret generic"),
        };
        let problem = if exists {
            format!("has nothing under the key {key:?}")
        } else {
            "does not exist".to_owned()
        };
        Ok(Err(finding(
            "CertificateAuthorityUnusable",
            format!(
                "{} with the server's certificate authority {problem}. Mend it with: kubectl -n {} create {create} {name} --from-file={key}=ca.pem --dry-run=client -o yaml | kubectl apply -f -",
                self.named(kind, name),
                self.namespace,
            ),
        )))
    }
}

fn from_map(map: ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = map
        .data
        .and_then(|mut data| data.remove(key))
        .map(String::into_bytes);
    text.or_else(|| {
        map.binary_data
            .and_then(|mut data| data.remove(key))
            .map(|bytes| bytes.0)
    })
}

fn finding(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: true,
        reason,
        message,
    }
}
