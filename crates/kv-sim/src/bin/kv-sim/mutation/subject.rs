//! An engine with a rule broken in every server of a cluster.

use super::Checker;
use super::watch::Watch;
use crate::engines::Holder;
use kv_sim::{Cluster, Declaration};

/// An engine that can be told, before a cluster is made, which rule to break.
pub(crate) trait Subject: Holder<Message: 'static> {
    /// A rule that can be broken.
    type Mutation: Copy + std::fmt::Debug + PartialEq + 'static;

    /// What looks at a cluster of it after each step.
    type Watch: Watch<Self>;

    /// All rules.
    const MUTATIONS: &'static [Self::Mutation];

    /// The checker that must notice.
    fn checker(mutation: Self::Mutation) -> Checker;

    /// Every broken rule with its checker.
    fn rows() -> Vec<Row<Self::Mutation>> {
        let row = |mutation: &Self::Mutation| Row {
            mutation: *mutation,
            checker: Self::checker(*mutation),
        };
        Self::MUTATIONS.iter().map(row).collect()
    }

    /// What the engine survives.
    fn declaration() -> Declaration;

    /// Whether what its clients see must be linearizable.
    const LINEARIZABLE: bool;

    /// Every engine that is recovered on this thread from here on breaks the rule.
    fn break_rule(mutation: Option<Self::Mutation>);

    /// How much of a common order this server has applied, with a hash of the state that it made.
    fn applied(&self) -> Option<(u64, u64)>;

    /// What some server takes to be committed although fewer disks hold it than must.
    fn thinly_held(cluster: &Cluster<Self>) -> Option<String>;
}

/// A broken rule, and who must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<M> {
    pub(crate) mutation: M,
    pub(crate) checker: Checker,
}
