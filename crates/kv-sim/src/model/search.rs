//! Searches of a model.

use std::fmt;

use stateright::{Checker, Model};

use super::cluster::ClusterModel;
use super::state::{Checked, Step};

/// In which order states are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All short runs first.
    BreadthFirst,
    /// One run to its end after the other.
    DepthFirst,
}

/// How far a search came that found nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// How many different states were seen.
    pub states: usize,
    /// How many steps the longest run had.
    pub depth: usize,
    /// Whether there are no other states; otherwise the search was cut off.
    pub whole: bool,
    /// Whether there was a run in which all calls were done.
    pub all_done: bool,
}

/// A run that came to something wrong. Shown with its steps, a line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Wrong {
    /// What is wrong.
    pub finding: String,
    /// The steps to it, from the cluster that serves on.
    pub steps: Vec<Step>,
    /// The same in words.
    pub told: Vec<String>,
    /// The seed of the walk, where it was one.
    pub seed: Option<u64>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding)?;
        if let Some(seed) = self.seed {
            write!(f, " (walk {seed})")?;
        }
        self.told.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl<E: Checked> ClusterModel<E> {
    /// Looks at every state that can be reached, or at about `states_max` of them.
    ///
    /// # Errors
    /// [`Wrong`] with a run to a state in which something does not hold.
    pub fn search(self, order: Order, states_max: usize) -> Result<Seen, Box<Wrong>> {
        let checker = self.checker().target_state_count(states_max);
        match order {
            Order::BreadthFirst => look(checker.spawn_bfs(), states_max),
            Order::DepthFirst => look(checker.spawn_dfs(), states_max),
        }
    }

    pub(super) fn wrong(&self, finding: String, steps: Vec<Step>, seed: Option<u64>) -> Box<Wrong> {
        Box::new(Wrong { told: self.tell(&steps), finding, steps, seed })
    }
}

fn look<E: Checked>(
    search: impl Checker<ClusterModel<E>>,
    states_max: usize,
) -> Result<Seen, Box<Wrong>> {
    let checker = search.join();
    if let Some(path) = checker.discovery(NOTHING_WRONG) {
        let finding = path.last_state().wrong.clone().unwrap_or_default();
        return Err(checker.model().wrong(finding, path.into_actions(), None));
    }
    Ok(Seen {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        whole: checker.state_count() < states_max,
        all_done: checker.discovery(ALL_DONE).is_some(),
    })
}

pub(super) const NOTHING_WRONG: &str = "nothing is wrong";
pub(super) const ALL_DONE: &str = "all calls are done";
