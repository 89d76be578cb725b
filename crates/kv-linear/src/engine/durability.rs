//! What the engine does once the disk has what it gave it.

use std::time::Duration;

use kv_core::PersistSeq;

use crate::core::Out;
use crate::durable::journal::Durable;
use crate::engine::{LinearEngine, Role};
use crate::identity::Identity;

impl LinearEngine {
    pub(crate) fn on_persisted(&mut self, now: Duration, up_to: PersistSeq, out: &mut Out) {
        let before = (self.core.replica.durable(), self.core.promised_on_disk());
        let mut is_other = false;
        while let Some(durable) = self.core.journal.pop_durable(up_to) {
            is_other |= self.on_durable(now, durable, out);
        }
        let core = &mut self.core;
        let has_promise = core.promised_on_disk() > before.1;
        if has_promise {
            core.send_promise(out);
        }
        if !is_other && !has_promise && core.replica.durable() == before.0 {
            return;
        }
        match &mut self.role {
            Role::Sequencer(sequencer) => {
                sequencer.advance_commit(core, now, out);
                sequencer.end_rounds(core, out);
                // What waited for the opening entry may go on.
                core.flush_soon(now);
            }
            Role::Follower(follower) => {
                follower.on_durable(core, now, out);
                follower.count_promises(core, now, out);
            }
            Role::Founding(_) | Role::Joining(_) | Role::Unstarted => {}
        }
    }

    /// True if it is of anything but the log.
    fn on_durable(&mut self, now: Duration, durable: Durable, out: &mut Out) -> bool {
        let core = &mut self.core;
        match durable {
            Durable::Identity(identity) => self.on_identity_durable(now, identity, out),
            Durable::Known { peer, incarnation } => core.known.note_on_disk(peer, incarnation),
            Durable::Promised(epoch) => core.note_promised_on_disk(epoch),
            Durable::Opened { identity, epoch, log } => {
                core.note_promised_on_disk(epoch);
                core.replica.note_durable(log);
                self.on_identity_durable(now, identity, out);
            }
            Durable::Log { promised, log } => {
                core.note_promised_on_disk(promised);
                core.replica.note_durable(log);
                return false;
            }
            Durable::Staged | Durable::Refuted | Durable::FoundedOn => {}
            Durable::Installed { promised } => {
                core.note_promised_on_disk(promised);
                if let Role::Follower(follower) = &mut self.role {
                    follower.on_installed(core, now, out);
                }
            }
            Durable::Named => {
                if let Role::Joining(joining) = &self.role {
                    joining.on_named(core, out);
                }
            }
        }
        true
    }

    /// The disk has who this server is, so that it may speak.
    fn on_identity_durable(&mut self, now: Duration, identity: Identity, out: &mut Out) {
        let core = &mut self.core;
        if core.identity_on_disk.is_none() {
            // The name was staged until it came to this.
            core.staged_after = None;
            core.known.note_all_on_disk();
        }
        core.identity_on_disk = Some(identity);
        if !core.is_durable() {
            return;
        }
        match &mut self.role {
            Role::Sequencer(sequencer) => {
                sequencer.welcome(core, out);
                core.flush_soon(now);
            }
            Role::Follower(follower) => follower.on_identity_durable(core, now, out),
            Role::Founding(_) | Role::Joining(_) | Role::Unstarted => {}
        }
    }
}
