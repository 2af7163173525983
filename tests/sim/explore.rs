//! The explorer: breadth-first over worlds and the budget of faults that is left, every call into the world being a
//! place where each fault can strike.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;

use tandem::controller::turn::Mind;

use super::calm::{converges, help};
use super::data::State;
use super::events::{Event, Fault, Life, Meddle, live, lives, meddle, meddles};
use super::hands::{Plan, Point, Took, take};
use super::key::key;
use super::rules::Broken;

/// One edge of the exploration, between two turns or a whole turn.
#[derive(Clone, Debug)]
pub enum Move {
    Event(Event),
    Turn(Plan),
    /// A person does what the condition says.
    Help(Meddle),
}

/// A rule that was broken, and how the world came there.
#[derive(Debug)]
pub struct Found {
    pub broken: Broken,
    pub story: String,
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    pub states: usize,
    pub turns: usize,
}

/// A policy that a person changed and whose watch event was lost is looked at again so much later.
const RESYNC: i64 = 600_000;

struct Node {
    parent: usize,
    step: Move,
}

/// Explores everything that can happen from `start` with so many faults.
///
/// # Errors
/// The shortest way to a broken rule.
pub fn explore(mind: &impl Mind, start: &State, budget: u8) -> Result<Explored, Box<Found>> {
    let mut search = Search {
        mind,
        seen: HashMap::new(),
        good: HashSet::new(),
        nodes: vec![Node {
            parent: 0,
            step: Move::Turn(Vec::new()),
        }],
        queue: VecDeque::from([(start.clone(), budget, 0)]),
        turns: 0,
    };
    while let Some((state, budget, node)) = search.queue.pop_front() {
        if let Err((broken, last)) = search.expand(&state, budget, node) {
            return Err(Box::new(Found {
                broken,
                story: search.story(start, node, last),
            }));
        }
    }
    Ok(Explored {
        states: search.nodes.len(),
        turns: search.turns,
    })
}

struct Search<'m, M> {
    mind: &'m M,
    /// The largest budget that each world was reached with.
    seen: HashMap<u64, u8>,
    /// Worlds that end well without further faults.
    good: HashSet<u64>,
    nodes: Vec<Node>,
    queue: VecDeque<(State, u8, usize)>,
    turns: usize,
}

/// A broken rule, and the moves to it from the node that is looked at.
type Broke = (Broken, Vec<Move>);

impl<M: Mind> Search<'_, M> {
    fn expand(&mut self, state: &State, budget: u8, node: usize) -> Result<(), Broke> {
        converges(self.mind, state, &mut self.good)?;
        for life in lives(state) {
            let mut next = state.clone();
            let step = Move::Event(Event::Life(life));
            if let Some(broken) = live(&mut next, life) {
                return Err((broken, vec![step]));
            }
            self.push(next, budget, node, step);
        }
        if budget > 0 {
            for what in meddles(state) {
                self.meddle(state, budget - 1, node, what);
            }
        }
        if state.controller.wake.is_some() {
            self.turns(state, budget, node)?;
        }
        Ok(())
    }

    fn meddle(&mut self, state: &State, budget: u8, node: usize, what: Meddle) {
        let mut next = state.clone();
        if meddle(&mut next, what) {
            let mut missed = next.clone();
            missed.controller.wake = Some(state.controller.wake.unwrap_or(state.now + RESYNC));
            self.push(
                missed,
                budget,
                node,
                Move::Event(Event::Fault(Fault::Missed(what))),
            );
            next.controller.wake = Some(next.now);
        }
        self.push(next, budget, node, Move::Event(Event::Fault(Fault::Meddle(what))));
    }

    /// The next turn, undisturbed and disturbed in every way that the budget allows.
    fn turns(&mut self, state: &State, budget: u8, node: usize) -> Result<(), Broke> {
        let state = awake(state);
        let mut plans: Vec<(Plan, u8)> = vec![(Vec::new(), budget)];
        while let Some((plan, budget)) = plans.pop() {
            self.turns += 1;
            let took = take(self.mind, state.clone(), &plan);
            if let Some(broken) = took.broken {
                return Err((broken, vec![Move::Turn(plan)]));
            }
            assert_eq!(
                took.fired,
                plan.len(),
                "not everything that was planned came true: {plan:?}"
            );
            extend(&plan, budget, &took, &mut plans);
            self.push(took.state, budget, node, Move::Turn(plan));
        }
        Ok(())
    }

    fn push(&mut self, mut state: State, budget: u8, parent: usize, step: Move) {
        let now = state.now;
        state.flights.retain(|flight| flight.expires >= now);
        if budget == 0 {
            state.recent.clear();
        }
        let mut known = |key: u64| {
            let best = self.seen.entry(key).or_insert(u8::MAX);
            let known = *best != u8::MAX && *best >= budget;
            if !known {
                *best = budget;
            }
            known
        };
        // A world that was reached with faults to spare covers the same world without.
        let known = if budget == 0 {
            known(key(&state, false))
        } else {
            let known_with_memory = known(key(&state, true) ^ 1);
            known(key(&state, false));
            known_with_memory
        };

        if !known {
            self.nodes.push(Node { parent, step });
            self.queue.push_back((state, budget, self.nodes.len() - 1));
        }
    }

    /// How the world came to this node, told from the start.
    fn story(&self, start: &State, node: usize, last: Vec<Move>) -> String {
        let mut moves = last;
        moves.reverse();
        let mut at = node;
        while at != 0 {
            moves.push(self.nodes[at].step.clone());
            at = self.nodes[at].parent;
        }
        moves.reverse();
        tell(self.mind, start, &moves)
    }
}

/// The world at the time of its next turn.
pub fn awake(state: &State) -> State {
    let mut state = state.clone();
    let controller = &state.controller;
    state.now = controller
        .wake
        .map_or(state.now, |wake| wake.max(state.now).max(controller.leads_from));
    state
}

/// Every plan that goes one event further than this one.
fn extend(plan: &Plan, budget: u8, took: &Took, plans: &mut Vec<(Plan, u8)>) {
    let last = plan.last().map(|(at, event)| {
        (
            *at,
            matches!(event, Event::Life(_) | Event::Fault(Fault::Meddle(_))),
        )
    });
    let lived = plan.iter().any(|(_, event)| matches!(event, Event::Life(_)));
    for (at, point) in took.points.iter().enumerate() {
        // Behind the last event; or with it, when that one happens before the write and not to it.
        let (behind, with) = last.map_or((true, false), |(last, before)| (at > last, at == last && before));
        if !behind && !with {
            continue;
        }
        let mut add = |event: Event, cost: u8| {
            if cost <= budget {
                let mut longer = plan.clone();
                longer.push((at, event));
                plans.push((longer, budget - cost));
            }
        };
        match point {
            Point::Probe => {}
            Point::Read(old) => old
                .iter()
                .for_each(|old| add(Event::Fault(Fault::Stale(*old)), 1)),
            Point::Publish => STRIKES.iter().for_each(|fault| add(Event::Fault(*fault), 1)),
            Point::Write(_, lives, meddles) => {
                for fault in STRIKES.iter().chain(&RIVALS) {
                    add(Event::Fault(*fault), 1);
                }
                if behind {
                    for what in meddles {
                        add(Event::Fault(Fault::Meddle(*what)), 1);
                    }
                    if !lived {
                        for life in lives {
                            add(Event::Life(*life), 0);
                        }
                    }
                }
            }
        }
    }
}

/// What can happen to any write.
pub const STRIKES: [Fault; 6] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::NotApplied,
    Fault::Applied,
    Fault::Twice,
    Fault::Late,
];
/// What can happen to a write besides, when something is decided by it.
pub const RIVALS: [Fault; 4] = [Fault::Paused, Fault::Rival(0), Fault::Rival(1), Fault::Rival(2)];

/// Lives through the moves again, and writes down what happens.
pub fn tell(mind: &impl Mind, start: &State, moves: &[Move]) -> String {
    let mut story = String::new();
    let mut state = start.clone();
    let mut turn = 0;
    let mut waited = 0;
    for (index, step) in moves.iter().enumerate() {
        match step {
            Move::Event(Event::Life(life)) => {
                let _ = writeln!(story, "  {}", describe(&state, &Event::Life(*life)));
                live(&mut state, *life);
            }
            Move::Event(event @ Event::Fault(Fault::Meddle(what) | Fault::Missed(what))) => {
                let _ = writeln!(story, "  {event}");
                let wake = state.controller.wake.unwrap_or(state.now + RESYNC);
                if meddle(&mut state, *what) {
                    let missed = matches!(event, Event::Fault(Fault::Missed(_)));
                    state.controller.wake = Some(if missed { wake } else { state.now });
                }
            }
            Move::Event(event) => {
                let _ = writeln!(story, "  {event}");
            }
            Move::Help(what) => {
                let _ = writeln!(story, "  a person helps: {what:?}");
                help(&mut state, *what);
            }
            Move::Turn(plan) => {
                turn += 1;
                let awake = awake(&state);
                let took = take(mind, awake.clone(), plan);
                let idle = took.writes.is_empty() && took.broken.is_none() && plan.is_empty();
                if idle && matches!(moves.get(index + 1), Some(Move::Turn(plan)) if plan.is_empty()) {
                    waited += 1;
                    state = took.state;
                    continue;
                }
                if waited > 0 {
                    let _ = writeln!(story, "  ({waited} turns that write nothing)");
                    waited = 0;
                }
                let _ = write!(story, "  turn {turn} at {} ms:", awake.now);
                for (at, point) in took.points.iter().enumerate() {
                    let events = plan
                        .iter()
                        .filter(|(here, _)| *here == at)
                        .map(|(_, event)| event.to_string());
                    let events = events.collect::<Vec<_>>().join(", ");
                    match point {
                        Point::Publish | Point::Read(_) | Point::Probe if events.is_empty() => {}
                        Point::Publish => {
                            let _ = write!(story, " publish … {events};");
                        }
                        Point::Write(label, ..) if events.is_empty() => {
                            let _ = write!(story, " {label};");
                        }
                        Point::Write(label, ..) => {
                            let _ = write!(story, " {label} … {events};");
                        }
                        Point::Read(_) | Point::Probe => {
                            let _ = write!(story, " look … {events};");
                        }
                    }
                }
                let _ = writeln!(story, " {}", took.end);
                if let Some(broken) = &took.broken {
                    let _ = writeln!(story, "  => {broken}");
                }
                state = took.state;
            }
        }
    }
    story
}

fn describe(state: &State, event: &Event) -> String {
    match event {
        Event::Life(Life::Land(index)) => {
            format!(
                "late: {:?} lands",
                state.flights.get(*index).map(|flight| flight.write.label())
            )
        }
        event => event.to_string(),
    }
}
