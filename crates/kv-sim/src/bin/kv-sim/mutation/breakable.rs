//! The two engines, each with a rule that may be broken.

use std::cell::Cell;
use std::time::Duration;

use crate::engines::Holder;
use kv_check::evidence::KeptWrite;
use kv_core::{
    Checkpoint, ConsistencyEngine, Effects, EngineConfig, Input, Key, NodeId, Now, OpenView,
    PersistSeq, RecoverError, Status, Version, ViewChunk, ViewId, ViewScope,
};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::Sometimes;

macro_rules! breakable {
    ($(#[$doc:meta])* $name:ident, $engine:ty, $mutation:ty, $cell:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name($engine);

        impl $name {
            /// Every engine that is recovered on this thread from here on breaks the rule.
            pub(super) fn break_rule(mutation: Option<$mutation>) {
                $cell.with(|cell| cell.set(mutation));
            }
        }

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

            fn knows(&self, node: NodeId) -> bool {
                self.0.knows(node)
            }
        }
    };
}

breakable!(
    /// The eventual engine.
    Eventual, EventualEngine, kv_eventual::Mutation, EVENTUAL
);
breakable!(
    /// The linearizable engine.
    Linear, LinearEngine, kv_linear::Mutation, LINEAR
);

impl Linear {
    pub(super) const fn engine(&self) -> &LinearEngine {
        &self.0
    }
}
