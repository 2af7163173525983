//! The turn of one policy, as the runtime calls it.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::{Client, ResourceExt as _};
use tracing::Instrument as _;

use super::retry::Backoff;
use super::turn::{Machine, Next, turn};
use crate::api::{FINALIZER, RotationPolicy};
use crate::effects::Error;
use crate::effects::ambient::Ambient;
use crate::effects::live::Hands;
use crate::telemetry::metrics::Metrics;

/// What all turns share.
pub(super) struct Context {
    client: Client,
    hands: Hands,
    metrics: Arc<Metrics>,
    backoff: Backoff,
}

impl Context {
    pub(super) fn new(client: Client, hands: Hands, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            hands,
            metrics,
            backoff: Backoff::default(),
        }
    }
}

/// Why a turn did not come to an end.
pub(super) type Failure = finalizer::Error<Error>;

/// Takes a turn, or says farewell to a policy that is being deleted.
pub(super) async fn reconcile(policy: Arc<RotationPolicy>, context: Arc<Context>) -> Result<Action, Failure> {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let uid = policy.uid().unwrap_or_default();
    let span = tracing::info_span!("turn", %namespace, policy = %name);
    let policies: Api<RotationPolicy> = Api::namespaced(context.client.clone(), &namespace);
    context.metrics.turn();
    let action = finalizer(&policies, FINALIZER, policy, async |event| match event {
        Event::Apply(policy) => Box::pin(take_turn(&policy, &context)).await,
        // The journal goes with the policy. Wherever a rotation stood, everybody can log in: both users' passwords
        // are valid until the old one is retired, and after that nobody uses it.
        Event::Cleanup(policy) => {
            context.hands.world(&policy).farewell(&policy).await;
            Ok(Action::await_change())
        }
    })
    .instrument(span)
    .await?;
    context.backoff.succeeded(&uid);
    Ok(action)
}

async fn take_turn(policy: &RotationPolicy, context: &Context) -> Result<Action, Error> {
    Ok(
        match Box::pin(turn(&Machine, &mut context.hands.world(policy))).await? {
            Next::OnChange => Action::await_change(),
            Next::At(at) => Action::requeue(
                at.duration_since(Ambient.now())
                    .try_into()
                    .unwrap_or(Duration::ZERO),
            ),
        },
    )
}

/// Tries again, the later the more often it failed.
#[expect(clippy::needless_pass_by_value, reason = "the runtime hands both over")]
pub(super) fn on_error(policy: Arc<RotationPolicy>, failure: &Failure, context: Arc<Context>) -> Action {
    let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
    let uid = policy.uid().unwrap_or_default();
    context.hands.failed(&policy);
    let pause = match failure {
        finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error) => {
            context.metrics.error(error.label());
            tracing::warn!(namespace, policy = name, %error, "turn did not come to an end; trying again");
            context.backoff.failed(&uid, error)
        }
        finalizer::Error::AddFinalizer(source) | finalizer::Error::RemoveFinalizer(source) => {
            context.metrics.error("finalizer");
            tracing::warn!(namespace, policy = name, error = %source, "failed to change the policy's finalizers; trying again");
            Duration::from_secs(5)
        }
        finalizer::Error::UnnamedObject | finalizer::Error::InvalidFinalizer => Duration::from_mins(1),
    };
    Action::requeue(pause)
}
