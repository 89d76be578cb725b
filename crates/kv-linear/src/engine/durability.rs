//! What the engine does once the disk has what it gave it.

use std::time::Duration;

use kv_core::PersistSeq;

use crate::core::Out;
use crate::durable::journal::Durable;
use crate::engine::{LinearEngine, Role};
use crate::follower::Follower;

impl LinearEngine {
    pub(crate) fn on_persisted(&mut self, now: Duration, up_to: PersistSeq, out: &mut Out) {
        let before = (self.core.epoch(), self.core.replica.durable());
        while let Some(durable) = self.core.journal.pop_durable(up_to) {
            self.on_durable(now, durable, out);
        }
        let core = &mut self.core;
        if core.epoch() > before.0 || core.replica.durable() > before.1 {
            match &mut self.role {
                Role::Sequencer(sequencer) => sequencer.advance_commit(core, now, out),
                Role::Follower(follower) if core.epoch() > before.0 => follower.report(core, out),
                Role::Follower(follower) => follower.acknowledge(core, out),
                Role::Founding(_) | Role::Joining(_) | Role::Retired(_) | Role::Unstarted => {}
            }
        }
    }

    fn on_durable(&mut self, now: Duration, durable: Durable, out: &mut Out) {
        self.note_durable(durable);
        let core = &mut self.core;
        match (&mut self.role, durable) {
            (
                Role::Sequencer(sequencer),
                Durable::Identity(_) | Durable::Incarnation { .. } | Durable::Opened { .. },
            ) if core.is_durable() => {
                sequencer.on_identity_durable(core, now, out);
                sequencer.advance_commit(core, now, out);
            }
            (Role::Sequencer(sequencer), Durable::PeerIncarnation { peer, incarnation }) => {
                sequencer.on_incarnation_durable(core, now, peer, incarnation);
                sequencer.advance_commit(core, now, out);
            }
            (Role::Sequencer(_), Durable::Log { last }) => core.replica.note_durable(last),
            (Role::Follower(follower), Durable::Identity(_) | Durable::Incarnation { .. }) => {
                follower.report(core, out);
            }
            (Role::Follower(_), Durable::Log { last }) => Follower::on_log_durable(core, last, out),
            (Role::Follower(follower), Durable::Installed { .. }) => {
                follower.on_installed(core, out);
            }
            (Role::Follower(follower), Durable::Started { epoch }) => {
                follower.on_started(core, epoch, out);
            }
            (
                Role::Unstarted
                | Role::Founding(_)
                | Role::Joining(_)
                | Role::Sequencer(_)
                | Role::Follower(_)
                | Role::Retired(_),
                Durable::Identity(_)
                | Durable::Incarnation { .. }
                | Durable::Opened { .. }
                | Durable::PeerIncarnation { .. }
                | Durable::Log { .. }
                | Durable::Staged
                | Durable::Installed { .. }
                | Durable::Started { .. },
            ) => {}
        }
    }

    /// Takes over what the disk has of who this server and its peers are.
    fn note_durable(&mut self, durable: Durable) {
        let on_disk = &mut self.core.identity_on_disk;
        match (durable, on_disk.as_mut()) {
            (Durable::Identity(identity), _) => *on_disk = Some(identity),
            (Durable::Incarnation { incarnation }, Some(known)) => known.incarnation = incarnation,
            (Durable::Opened { epoch }, Some(known)) => known.epoch = epoch,
            (Durable::PeerIncarnation { peer, incarnation }, _) => {
                self.incarnations.insert(peer, incarnation);
            }
            (
                Durable::Incarnation { .. }
                | Durable::Opened { .. }
                | Durable::Log { .. }
                | Durable::Staged
                | Durable::Installed { .. }
                | Durable::Started { .. },
                _,
            ) => {}
        }
    }
}
