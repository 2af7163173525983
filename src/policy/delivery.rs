//! How a credential comes into the application Secret: written there, or through a store.

use super::template::Template;
use super::{Invalid, SecretKeyPair, secret_name};
use crate::api::spec::{AwsSecretSpec, DeliverySpec, ExternalSecretDelivery, SecretDelivery};

/// The application Secret, and how a credential comes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name of the Secret and keys of the credential.
    pub target: SecretKeyPair,
    /// Who writes it.
    pub route: Route,
}

/// How a credential comes into the application Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Tandem writes it.
    Direct {
        /// Further keys, rendered.
        templates: Vec<(String, Template)>,
    },
    /// Tandem writes the store, and an operator brings it from there.
    StoreFirst {
        /// Name of the `ExternalSecret`.
        external_secret: String,
        /// What it reads.
        source: StoredSecret,
    },
}

impl Delivery {
    /// The secret in the store, where that comes first.
    #[must_use]
    pub fn source(&self) -> Option<&StoredSecret> {
        match &self.route {
            Route::Direct { .. } => None,
            Route::StoreFirst { source, .. } => Some(source),
        }
    }

    /// What Tandem renders into the Secret besides the credential.
    #[must_use]
    pub fn templates(&self) -> &[(String, Template)] {
        match &self.route {
            Route::Direct { templates } => templates,
            Route::StoreFirst { .. } => &[],
        }
    }
}

/// A JSON document in AWS Secrets Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// Name or ARN.
    pub id: String,
    /// Region.
    pub region: String,
    /// Property of the user name.
    pub username_key: String,
    /// Property of the password.
    pub password_key: String,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// External id for that.
    pub external_id: Option<String>,
}

pub(super) fn parse_delivery(delivery: &DeliverySpec) -> Result<Delivery, Invalid> {
    match (&delivery.secret, &delivery.external_secret) {
        (Some(secret), None) => parse_direct(secret),
        (None, Some(external)) => parse_store_first(external),
        (None, None) | (Some(_), Some(_)) => Err(Invalid::new(
            "delivery",
            "give exactly one of secret and externalSecret",
        )),
    }
}

fn parse_store_first(delivery: &ExternalSecretDelivery) -> Result<Delivery, Invalid> {
    let keys = &delivery.keys;
    if keys.username == keys.password {
        return Err(Invalid::new(
            "delivery.externalSecret.keys",
            "username and password must be two different keys",
        ));
    }
    let field = "delivery.externalSecret.name";
    let external_secret = secret_name(field, &delivery.name)?.to_string();
    let secret = match &delivery.secret_name {
        Some(name) => secret_name("delivery.externalSecret.secretName", name)?,
        None => secret_name(field, &delivery.name)?,
    };
    Ok(Delivery {
        target: SecretKeyPair {
            secret,
            username_key: keys.username.clone(),
            password_key: keys.password.clone(),
        },
        route: Route::StoreFirst {
            external_secret,
            source: parse_stored(
                "delivery.externalSecret.awsSecretsManager",
                &delivery.aws_secrets_manager,
            )?,
        },
    })
}

pub(super) fn parse_stored(field: &str, stored: &AwsSecretSpec) -> Result<StoredSecret, Invalid> {
    if stored.username_key == stored.password_key {
        return Err(Invalid::new(
            field,
            "usernameKey and passwordKey must be two different properties",
        ));
    }
    if stored.external_id.is_some() && stored.role_arn.is_none() {
        return Err(Invalid::new(field, "externalId has no meaning without roleArn"));
    }
    Ok(StoredSecret {
        id: stored.secret_id.clone(),
        region: stored.region.clone(),
        username_key: stored.username_key.clone(),
        password_key: stored.password_key.clone(),
        role_arn: stored.role_arn.clone(),
        external_id: stored.external_id.clone(),
    })
}

fn parse_direct(delivery: &SecretDelivery) -> Result<Delivery, Invalid> {
    let keys = &delivery.keys;
    if keys.username == keys.password {
        return Err(Invalid::new(
            "delivery.secret.keys",
            "username and password must be two different keys",
        ));
    }
    let templates = delivery
        .templates
        .iter()
        .map(|(key, text)| {
            if *key == keys.username || *key == keys.password {
                return Err(Invalid::new(
                    "delivery.secret.templates",
                    format!("{key:?} is already one of delivery.secret.keys"),
                ));
            }
            Template::parse(text)
                .map(|template| (key.clone(), template))
                .map_err(|problem| Invalid::new(format!("delivery.secret.templates[{key}]"), problem))
        })
        .collect::<Result<_, _>>()?;
    Ok(Delivery {
        target: SecretKeyPair {
            secret: secret_name("delivery.secret.name", &delivery.name)?,
            username_key: keys.username.clone(),
            password_key: keys.password.clone(),
        },
        route: Route::Direct { templates },
    })
}
