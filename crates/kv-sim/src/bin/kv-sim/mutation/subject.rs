//! The two engines, with a rule broken in every server of a cluster.

use std::cell::Cell;
use std::time::Duration;

use super::logs::Logs;
use super::table::{self, Row};
use super::watch::{Found, NotWatched, Sent, Watch};
use super::{Checker, holders, sent};
use crate::engines::{self, Holder};
use kv_check::evidence::KeptWrite;
use kv_core::{
    Checkpoint, ConsistencyEngine, Effects, EngineConfig, Input, Key, Now, OpenView, PersistSeq,
    RecoverError, Status, Version, ViewChunk, ViewId, ViewScope,
};
use kv_eventual::EventualEngine;
use kv_linear::{LinearEngine, Message};
use kv_sim::{Cluster, Declaration, Sometimes};

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

macro_rules! subject {
    ($(#[$doc:meta])* $name:ident, $engine:ty, $mutation:ty, $cell:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name($engine);

        thread_local! {
            static $cell: Cell<Option<$mutation>> = const { Cell::new(None) };
        }

        impl ConsistencyEngine for $name {
            const NAME: &'static str = <$engine>::NAME;
            const SHARED_QUORUMS: bool = <$engine>::SHARED_QUORUMS;
            const SESSIONS: bool = <$engine>::SESSIONS;
            type Message = <$engine as ConsistencyEngine>::Message;
            type Record = <$engine as ConsistencyEngine>::Record;

            fn recover(
                config: EngineConfig,
                checkpoint: Option<Checkpoint>,
                records: impl IntoIterator<Item = (PersistSeq, Self::Record)>,
            ) -> Result<Self, RecoverError> {
                let mutation = $cell.with(Cell::get);
                <$engine>::recover_mutated(mutation, config, checkpoint, records).map(Self)
            }

            fn step(
                &mut self,
                now: Now,
                input: Input<Self::Message>,
                out: &mut Effects<Self::Message, Self::Record>,
            ) {
                self.0.step(now, input, out);
            }

            fn next_deadline(&self) -> Option<Duration> {
                self.0.next_deadline()
            }

            fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
                self.0.open_view(scope)
            }

            fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
                self.0.read_view(view, bytes_max)
            }

            fn close_view(&mut self, view: ViewId) {
                self.0.close_view(view);
            }

            fn status(&self) -> Status {
                self.0.status()
            }

            fn fingerprint(&self) -> u64 {
                self.0.fingerprint()
            }
        }

        impl Holder for $name {
            const SOMETIMES: &'static [Sometimes<Self>] = &[];

            fn holds(&self, answered: &Self, key: &Key, version: Version) -> bool {
                self.0.holds(&answered.0, key, version)
            }

            fn held(&self, key: &Key) -> Option<Version> {
                self.0.held(key)
            }

            fn kept(record: &Self::Record) -> Option<KeptWrite> {
                <$engine>::kept(record)
            }
        }
    };
}

subject!(
    /// The eventual engine.
    Eventual, EventualEngine, kv_eventual::Mutation, EVENTUAL
);
subject!(
    /// The linearizable engine.
    Linear, LinearEngine, kv_linear::Mutation, LINEAR
);

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
        EVENTUAL.with(|cell| cell.set(mutation));
    }

    fn applied(&self) -> Option<(u64, u64)> {
        None
    }

    fn thinly_held(_cluster: &Cluster<Self>) -> Option<String> {
        None
    }
}

impl Linear {
    pub(super) const fn engine(&self) -> &LinearEngine {
        &self.0
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
        LINEAR.with(|cell| cell.set(mutation));
    }

    fn applied(&self) -> Option<(u64, u64)> {
        let (index, hash) = self.0.applied_state();
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
