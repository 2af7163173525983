//! One controller process in the simulated world, for one turn of the real driver loop.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use tandem::api::RotationPolicy;
use tandem::controller::turn::{Mind, Next, turn};
use tandem::effects::{Error, Fresh, Outcome, Seen, World};
use tandem::machine::endpoints::Door;
use tandem::machine::facts::{Finding, Login, Previous, Refused};
use tandem::machine::project::Projection;
use tandem::machine::step::Entry;
use tandem::machine::{Action, Query};
use tandem::policy::Policy;

use super::answers::{View, load, look};
use super::data::{
    Cluster, Controller, Credential, Flight, LEASE, RETRY, SQL_DEADLINE, State, Write, millis,
};
use super::events::{Event, Fault, Life, Meddle, SENTINEL, live, lives, meddle, meddles, rotating};
use super::failover::expected;
use super::reloader;
use super::rules::{self, Broken};
use super::writes::{Made, land, lifetime, make};

/// What is to happen in a turn, by the number of the call into the world before which, or in which, it happens.
pub type Plan = Vec<(usize, Event)>;

/// A call into the world: a place where something can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// A read of the API server, and which old ones would show something else.
    Read(Vec<usize>),
    /// A look at the database.
    Probe,
    /// A write, by its label, and what could happen just before it.
    Write(&'static str, Vec<Life>, Vec<Meddle>),
    /// A write of the status.
    Publish,
}

/// What one turn remembers.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    pub view: View,
    /// What was seen to log in since the last write.
    pub proven: BTreeSet<Credential>,
    /// The same at every other endpoint.
    pub proven_everywhere: BTreeSet<Credential>,
    /// The old password was seen to be refused since the last write.
    pub refused: bool,
    /// The old password was seen to log in since the last write.
    pub way_back: bool,
    /// The password that applications are told was seen to be refused, outside a rotation.
    pub lost: bool,
    /// The server that was looked at last is not of the cluster on which the rotation began.
    pub elsewhere: bool,
    /// The retiring user's sessions were ended.
    pub terminated: bool,
}

/// How a turn went.
pub struct Took {
    pub state: State,
    pub points: Vec<Point>,
    /// Labels of the writes that were made, `publish` not among them.
    pub writes: Vec<&'static str>,
    pub broken: Option<Broken>,
    /// How many events of the plan came true.
    pub fired: usize,
    pub published: usize,
    /// What the turn ended with.
    pub end: String,
}

/// The hands of one process.
pub struct Hands<'m, M> {
    pub state: State,
    mind: &'m M,
    plan: Plan,
    /// Another replica whose lease has run out; the server refuses its changes of roles.
    fenced: bool,
    /// What its first load shows is so many writes old.
    first_load: usize,
    turn: Turn,
    points: Vec<Point>,
    writes: Vec<&'static str>,
    broken: Option<Broken>,
    fired: usize,
    published: usize,
    disturbed: bool,
    crashed: bool,
}

/// Takes one turn with the real driver loop, and lets happen in it what the plan says.
pub fn take(mind: &impl Mind, mut state: State, plan: &Plan) -> Took {
    // Replication has caught up since the last turn.
    state.database.replica = state.database.primary;
    let (mut hands, end) = drive(Hands::new(mind, state, plan.clone()));
    let state = &mut hands.state;
    let now = state.now;
    let (wake, end) = match end {
        Poll::Pending => {
            state.controller = Controller {
                leads_from: now + LEASE,
                ..Controller::default()
            };
            (Some(now + LEASE), "the process ended".to_owned())
        }
        Poll::Ready(Ok(Next::OnChange)) => (None, "waits for a change".to_owned()),
        Poll::Ready(Ok(Next::At(at))) => {
            let at = millis(at);
            if at <= now {
                hands
                    .broken
                    .get_or_insert(format!("L: the next turn is set to {at}, not after {now}"));
            }
            (Some(at), format!("waits {} ms", at - now))
        }
        Poll::Ready(Err(error)) => {
            if let Error::Broken(broken) = &error {
                hands.broken.get_or_insert(format!("permits: {broken}"));
            }
            let text = error.to_string();
            if text.contains(SENTINEL) {
                hands
                    .broken
                    .get_or_insert("S6: an error shows what the journal holds".into());
            }
            (Some(now + RETRY), text)
        }
    };
    let woken = hands.state.controller.wake.take();
    // An event during the turn wakes the controller again as soon as the turn has ended.
    hands.state.controller.wake = match (woken, wake) {
        (Some(woken), Some(wake)) => Some(woken.max(now + 1).min(wake)),
        (Some(woken), None) => Some(woken.max(now + 1)),
        (None, wake) => wake,
    };
    Took {
        state: hands.state,
        points: hands.points,
        writes: hands.writes,
        broken: hands.broken,
        fired: hands.fired,
        published: hands.published,
        end,
    }
}

fn drive<M: Mind>(mut hands: Hands<'_, M>) -> (Hands<'_, M>, Poll<Result<Next, Error>>) {
    let mind = hands.mind;
    hands.state.controller.wake = None;
    let end = {
        let mut context = Context::from_waker(Waker::noop());
        // Nothing in this world takes time, so one poll is a whole turn; a process that ends never answers.
        pin!(turn(mind, &mut hands)).poll(&mut context)
    };
    (hands, end)
}

impl<'m, M: Mind> Hands<'m, M> {
    pub fn new(mind: &'m M, state: State, plan: Plan) -> Self {
        Self {
            state,
            mind,
            plan,
            fenced: false,
            first_load: 0,
            turn: Turn::default(),
            points: Vec::new(),
            writes: Vec::new(),
            broken: None,
            fired: 0,
            published: 0,
            disturbed: false,
            crashed: false,
        }
    }

    /// A call into the world: lets happen what the plan has for it, and gives the fault that strikes the call itself.
    fn arrive(&mut self, point: Point) -> Option<Fault> {
        let here = self.points.len();
        self.points.push(point);
        let due: Vec<_> = self
            .plan
            .iter()
            .filter(|(at, _)| *at == here)
            .map(|(_, event)| *event)
            .collect();
        let mut strikes = None;
        for event in due {
            self.fired += 1;
            self.disturbed = true;
            match event {
                Event::Life(what) => {
                    let broken = live(&mut self.state, what);
                    self.broken = self.broken.take().or(broken);
                }
                Event::Fault(Fault::Meddle(what)) => self.meddle(what),
                Event::Fault(Fault::Rival(old)) => self.rival(old),
                Event::Fault(fault) => strikes = Some(fault),
            }
        }
        strikes
    }

    fn arrive_at_write(&mut self, label: &'static str) -> Option<Fault> {
        // What happens to pods has an order only with what is done about pods.
        let about_pods = matches!(
            label,
            "flip" | "sync" | "deliver" | "restart" | "roll_out" | "retire" | "roll_back"
        );
        let mut lives = lives(&self.state);
        lives.retain(|life| about_pods || matches!(life, Life::Befall(_)));
        self.arrive(Point::Write(label, lives, meddles(&self.state)))
    }

    fn meddle(&mut self, what: Meddle) {
        if meddle(&mut self.state, what) {
            self.state.controller.wake = Some(self.state.now);
        }
    }

    /// Another replica takes a whole turn here. It shares nothing with this one but the world.
    fn rival(&mut self, old: usize) {
        let memory = std::mem::take(&mut self.state.controller);
        let mut rival = Hands::new(self.mind, self.state.clone(), Vec::new());
        rival.fenced = true;
        rival.first_load = old;
        rival.disturbed = true;
        let (rival, _) = drive(rival);
        self.state = rival.state;
        self.state.controller = memory;
        self.broken = self.broken.take().or(rival.broken);
    }

    /// What a read of the API server shows now. `same` tells whether an old one shows the same of what is asked for.
    fn shown(&mut self, same: impl Fn(&Cluster, &Cluster) -> bool) -> Arc<Cluster> {
        let state = &self.state;
        let other = |old: &usize| !same(&state.cluster, &state.recent[*old - 1]);
        let old = (1..=state.recent.len()).filter(other).collect();
        let old = match self.arrive(Point::Read(old)) {
            Some(Fault::Stale(old)) => old,
            Some(_) | None => std::mem::take(&mut self.first_load),
        };
        match old.checked_sub(1).and_then(|index| self.state.recent.get(index)) {
            Some(cluster) => Arc::clone(cluster),
            None => Arc::new(self.state.cluster.clone()),
        }
    }

    fn land(&mut self, write: &Write) -> Result<(), Error> {
        let running = rotating(&self.state);
        land(&mut self.state, write)?;
        let s1 = rules::everybody_logs_in(&mut self.state);
        let s4 = rules::one_pending(&mut self.state, running, write);
        let s9 = reloader::once(&self.state);
        self.broken = self.broken.take().or(s1).or(s4).or(s9);
        Ok(())
    }

    /// Sends one write through whatever strikes it.
    async fn send(&mut self, write: Write, fault: Option<Fault>) -> Result<(), Error> {
        let sent = rules::sending(&self.state, &self.turn, &write);
        self.broken = self.broken.take().or(sent);
        let is_role = matches!(write, Write::Role { .. });
        if self.fenced && matches!(write, Write::Role { .. } | Write::Terminate { .. }) {
            return Err(Error::Fenced);
        }
        let result = match fault {
            Some(Fault::CrashAfter) => {
                let _ = self.land(&write);
                return self.crash().await;
            }
            Some(Fault::Paused) => {
                self.depart(write);
                return self.crash().await;
            }
            Some(Fault::NotApplied) => Err(lost()),
            Some(Fault::Applied) => self.land(&write).and(Err(lost())),
            Some(Fault::Late) => {
                self.depart(write);
                Err(lost())
            }
            Some(Fault::Twice) => {
                let _ = self.land(&write);
                self.land(&write)
            }
            Some(
                Fault::CrashBefore | Fault::Stale(_) | Fault::Missed(_) | Fault::Rival(_) | Fault::Meddle(_),
            )
            | None => self.land(&write),
        };
        if is_role && matches!(result, Err(Error::TimedOut { .. })) {
            self.state.controller.unsettled_until = self.state.now + SQL_DEADLINE;
        }
        result
    }

    fn depart(&mut self, write: Write) {
        let expires = self.state.now + lifetime(&self.state, &write);
        self.state.flights.push(Flight { write, expires });
        rules::forsake(&mut self.state);
    }

    async fn crash<T>(&mut self) -> T {
        self.crashed = true;
        std::future::pending().await
    }
}

fn same_policy(now: &Cluster, old: &Cluster) -> bool {
    let revision = |cluster: &Cluster| cluster.journal.as_ref().map(|kept| kept.revision);
    let policy = |cluster: &Cluster| {
        cluster
            .policy
            .as_ref()
            .map(|p| (p.generation, p.deleting, p.rotate_now, p.abort, p.reapply))
    };
    revision(now) == revision(old) && policy(now) == policy(old)
}

fn finding(reason: &'static str) -> Finding {
    Finding {
        blocks: true,
        reason,
        message: format!("{reason}: refusing the write"),
    }
}

fn lost() -> Error {
    Error::TimedOut {
        what: "the write".into(),
        seconds: 10,
    }
}

impl<M: Mind> World for Hands<'_, M> {
    fn now(&self) -> Timestamp {
        self.state.timestamp()
    }

    async fn load(&mut self) -> Result<Option<Fresh>, Error> {
        let cluster = self.shown(same_policy);
        let (fresh, view) = load(&cluster);
        self.turn.view = view;
        Ok(fresh)
    }

    fn object(&self) -> Option<&RotationPolicy> {
        // Both are read at once here, or neither.
        None
    }

    async fn look(&mut self, _policy: &Policy, query: Query) -> Result<Seen, Error> {
        let cluster = match query {
            Query::Secret | Query::Preflight => self.shown(|now, old| now.secret == old.secret),
            Query::Store | Query::Operator => self.shown(|now, old| now.source == old.source),
            Query::Place => Arc::new(self.state.cluster.clone()),
            Query::Lists => self.shown(|now, old| now.list == old.list),
            Query::Consumers => {
                self.shown(|now, old| now.workloads == old.workloads && now.reloader == old.reloader)
            }
            Query::Kept => self.shown(|now, old| now.secret == old.secret && now.source == old.source),
            Query::Pending | Query::Endpoints | Query::Previous | Query::Room | Query::Sessions => {
                self.arrive(Point::Probe);
                Arc::new(self.state.cluster.clone())
            }
        };
        let seen = look(&mut self.state, &cluster, &mut self.turn.view, query)?;
        let identity = match &seen {
            Seen::Pending(Login::Accepted(identity)) => Some(identity),
            Seen::Kept(seen) => seen.identity.as_ref(),
            Seen::Preflight(seen) => seen.identity.as_ref(),
            _ => None,
        };
        if let Some(identity) = identity {
            let expected = expected(&self.turn.view);
            self.turn.elsewhere = expected.is_some_and(|expected| expected != identity.system);
        }
        match &seen {
            Seen::Pending(Login::Accepted(_)) => {
                self.turn
                    .proven
                    .extend(self.turn.view.pending().map(|(_, credential)| credential));
            }
            Seen::Endpoints(endpoints) if endpoints.iter().all(|seen| seen.door == Door::Open) => {
                self.turn
                    .proven_everywhere
                    .extend(self.turn.view.pending().map(|(_, credential)| credential));
            }
            Seen::Kept(seen) => {
                if let Some(Login::Accepted(_)) = seen.active {
                    self.turn.proven.extend(self.turn.view.brought());
                }
                self.turn.lost = seen.active == Some(Login::WrongPassword);
                self.turn.way_back = seen.retired == Previous::Accepted;
            }
            Seen::Previous(Previous::Refused | Previous::Unknown) => self.turn.refused = true,
            Seen::Previous(Previous::Accepted) => self.turn.way_back = true,
            _ => {}
        }
        Ok(seen)
    }

    async fn perform(&mut self, _policy: &Policy, action: &Action) -> Result<Outcome, Error> {
        let fault = self.arrive_at_write(action.label());
        if fault == Some(Fault::CrashBefore) {
            return self.crash().await;
        }
        let delivers = matches!(
            action,
            Action::Flip { .. }
                | Action::Record {
                    entry: Entry::Deliver | Entry::Withdraw,
                    ..
                }
        );
        if delivers {
            self.state.controller.streak = None;
        }
        let write = match make(&mut self.state, &self.turn.view, action)? {
            Made::Write(write) => write,
            Made::Refused(reason) => {
                return Ok(Outcome::Refused(Refused::Otherwise(finding(reason))));
            }
            Made::Another => return Ok(Outcome::Refused(Refused::Password(finding("VersionTaken")))),
        };
        self.send(write, fault).await?;
        self.writes.push(action.label());
        // What the server says does not depend on what a pooler is told; nor does it take back a refusal for a list.
        if !matches!(action, Action::Reload { .. }) {
            self.turn.proven.clear();
        }
        self.turn.proven_everywhere.clear();
        self.turn.refused &= matches!(action, Action::Strike { .. });
        self.turn.way_back = false;
        self.turn.lost = false;
        self.turn.terminated |= matches!(action, Action::Terminate { .. });
        Ok(Outcome::Done)
    }

    async fn publish(&mut self, projection: &Projection, _urgent: bool) -> Result<(), Error> {
        let fault = self.arrive(Point::Publish);
        self.published += 1;
        if fault == Some(Fault::CrashBefore) {
            return self.crash().await;
        }
        if !self.disturbed {
            let lie = rules::claims(&self.state, &projection.status);
            self.broken = self.broken.take().or(lie);
        }
        let notes = projection.notices.iter().map(|notice| notice.note.as_str());
        let messages = projection
            .status
            .conditions
            .iter()
            .map(|condition| condition.message.as_str());
        if notes.chain(messages).any(|text| text.contains(SENTINEL)) {
            self.broken
                .get_or_insert("S6: the status shows what the journal holds".into());
        }
        let expected = self.turn.view.object.as_ref().map_or(0, |object| object.revision);
        let write = Write::Status {
            expected,
            status: Arc::new(projection.status.clone()),
        };
        self.send(write, fault).await
    }
}
