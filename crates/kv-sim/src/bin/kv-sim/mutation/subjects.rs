//! The two engines as subjects of the mutation table.

use super::breakable::{Eventual, Linear};
use super::logs::Logs;
use super::subject::Subject;
use super::watch::{Found, NotWatched, Sent, Watch};
use super::{Checker, holders, sent, table};
use crate::engines;
use kv_linear::Message;
use kv_sim::{Cluster, Declaration};

impl Subject for Eventual {
    type Mutation = kv_eventual::Mutation;
    type Watch = NotWatched;
    const MUTATIONS: &'static [Self::Mutation] = &kv_eventual::Mutation::ALL;
    const LINEARIZABLE: bool = false;

    fn declaration() -> Declaration {
        engines::eventual()
    }

    fn checker(mutation: Self::Mutation) -> Checker {
        table::of_eventual(mutation)
    }

    fn break_rule(mutation: Option<Self::Mutation>) {
        Self::break_rule(mutation);
    }

    fn applied(&self) -> Option<(u64, u64)> {
        None
    }

    fn thinly_held(_cluster: &Cluster<Self>) -> Option<String> {
        None
    }
}

impl Subject for Linear {
    type Mutation = kv_linear::Mutation;
    type Watch = LinearWatch;
    const MUTATIONS: &'static [Self::Mutation] = &kv_linear::Mutation::ALL;
    const LINEARIZABLE: bool = true;

    fn declaration() -> Declaration {
        engines::linearizable()
    }

    fn checker(mutation: Self::Mutation) -> Checker {
        table::of_linear(mutation)
    }

    fn break_rule(mutation: Option<Self::Mutation>) {
        Self::break_rule(mutation);
    }

    fn applied(&self) -> Option<(u64, u64)> {
        let (index, hash) = self.engine().applied_state();
        Some((index.0, hash))
    }

    fn thinly_held(cluster: &Cluster<Self>) -> Option<String> {
        holders::thinly_held(cluster)
    }
}

/// Whether the servers have one log, and say nothing that is not on their disks.
#[derive(Default)]
pub(crate) struct LinearWatch {
    logs: Logs,
    unfounded: Option<String>,
}

impl Watch<Linear> for LinearWatch {
    fn wants(message: &Message) -> bool {
        sent::is_looked_at(message)
    }

    fn look(&mut self, cluster: &Cluster<Linear>, sent: &[Sent<Message>]) {
        self.logs.look(cluster);
        for message in sent {
            let finding = || sent::unfounded(cluster, message);
            self.unfounded = self.unfounded.take().or_else(finding);
        }
    }

    fn found(self) -> Found {
        Found { logs: self.logs.found(), unfounded: self.unfounded }
    }
}
