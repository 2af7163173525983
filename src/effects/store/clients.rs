//! Who calls AWS: credentials and clients, made once for all policies.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{IdentityCache, SharedCredentialsProvider};

use super::secrets_manager::SecretsManager;
use crate::effects::Error;
use crate::effects::kubernetes::references::Administrator;
use crate::machine::facts::Finding;
use crate::policy::StoredSecret;
use crate::telemetry::metrics::Metrics;

/// In the user agent, and as the name of a session of an assumed role: by it AWS's records tell who it was.
const NAME: &str = "tandem";
/// Of one call, the first included. All repeat the same token.
const ATTEMPTS: u32 = 3;
/// To connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// For one attempt: short enough that there is time for another one.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// For a call, all attempts included.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(8);
/// For a role's credentials: less than a call, and less than the client itself allows them.
const ASSUME_LIMIT: Duration = Duration::from_secs(4);

/// All that is needed to open a secret; cheap to clone.
#[derive(Clone)]
pub struct Stores(Arc<Shared>);

struct Shared {
    config: SdkConfig,
    clients: Mutex<HashMap<Caller, Client>>,
    metrics: Arc<Metrics>,
}

/// What makes one client differ from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Caller {
    region: String,
    role_arn: Option<String>,
    external_id: Option<String>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl Stores {
    /// As the environment of this process says: web identity, container, or keys in variables; endpoints too. Asks
    /// nobody anything yet.
    pub async fn from_environment(metrics: Arc<Metrics>) -> Self {
        // Each policy names its region. Without one here, the SDK would look for it on the network.
        let region = Region::from_static("us-east-1");
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
        Self::new(&loader.load().await, metrics)
    }

    /// With the credentials and endpoints of this configuration.
    #[must_use]
    pub fn new(config: &SdkConfig, metrics: Arc<Metrics>) -> Self {
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let mut config = config
            .to_builder()
            .timeout_config(limits)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            // The limits above are all there is: a slow answer is none.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_app_name(AppName::new(NAME).ok());
        Self(Arc::new(Shared {
            config: config.build(),
            clients: Mutex::default(),
            metrics,
        }))
    }

    /// One secret; asks nobody anything yet.
    #[must_use]
    pub fn open(&self, secret: &StoredSecret) -> SecretsManager {
        SecretsManager::new(self.clone(), secret.clone())
    }

    /// The administrator's credential that a secret holds, read afresh: RDS rotates its own.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn administrator(
        &self,
        source: &StoredSecret,
    ) -> Result<Result<Administrator, Finding>, Error> {
        self.open(source).administrator().await
    }

    /// The client that may use this secret. It keeps the credentials of an assumed role until they expire.
    pub(super) async fn client(&self, secret: &StoredSecret) -> Client {
        let caller = Caller {
            region: secret.region.clone(),
            role_arn: secret.role_arn.clone(),
            external_id: secret.external_id.clone(),
        };
        let clients = || self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients().get(&caller) {
            return client.clone();
        }
        // Boxed: it is large, seldom needed, and would be part of every future that makes a call.
        let made = Box::pin(self.make(&caller)).await;
        // Somebody else may have made one meanwhile; it may hold credentials already.
        clients().entry(caller).or_insert(made).clone()
    }

    async fn make(&self, caller: &Caller) -> Client {
        let region = Region::new(caller.region.clone());
        let config = self.0.config.to_builder().region(region.clone());
        let Some(role) = &caller.role_arn else {
            return Client::new(&config.build());
        };
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(CONNECT_LIMIT)
            .operation_timeout(ASSUME_LIMIT)
            .build();
        let mut provider = AssumeRoleProvider::builder(role)
            .configure(&self.0.config.to_builder().timeout_config(limits).build())
            .region(region)
            .session_name(NAME);
        if let Some(id) = &caller.external_id {
            provider = provider.external_id(id);
        }
        let config = config
            .credentials_provider(SharedCredentialsProvider::new(provider.build().await))
            // Its own: the shared one forgets when many roles are in use.
            .identity_cache(IdentityCache::lazy().build())
            .build();
        Client::new(&config)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}
