//! Clients that send their writes in sessions.

use std::time::Duration;

use kv_core::{
    ConsistencyEngine, NodeId, NotDone, Operation, Outcome, RequestIdentity, RequestOptions,
    SessionId, Version,
};

use super::{Client, Clients, Stands};
use crate::cluster::Cluster;
use crate::config::draw;

/// A client's session. The client has one call open at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientSession {
    id: Option<SessionId>,
    /// The number of the last write.
    number: u64,
    /// A copy of the present call may take effect.
    unclear: bool,
    copies: u32,
}

impl ClientSession {
    /// The request to open one has ended.
    pub(super) fn on_opened(&mut self, outcome: Option<&Outcome>) {
        if let Some(Outcome::Done(done)) = outcome
            && let Some(Version::Log(number)) = done.version
        {
            *self = Self { id: Some(SessionId(number)), ..Self::default() };
        }
    }

    /// How the call stands with what is known of its earlier copies.
    pub(super) fn judge(
        &mut self,
        outcome: Option<&Outcome>,
        options: &mut RequestOptions,
        stands: Stands,
    ) -> Stands {
        if options.identity.is_none() {
            return stands;
        }
        let has_expired = matches!(outcome, Some(Outcome::NotDone(NotDone::SessionExpired)));
        if has_expired {
            self.id = None;
            // Where an earlier copy may have taken effect, no further one may be sent.
            self.copies = COPIES_MAX;
        }
        let is_of_the_state =
            matches!(outcome, Some(Outcome::NotDone(reason)) if reason.is_of_the_state());
        match stands {
            // It says nothing of the earlier copies.
            Stands::TurnedAway | Stands::NotDone if self.unclear && !is_of_the_state => {
                Stands::Unknown
            }
            Stands::TurnedAway if has_expired => {
                options.identity = None;
                stands
            }
            // It was carried out and failed: whoever asks for it again asks for another one.
            Stands::NotDone => {
                options.identity = None;
                stands
            }
            Stands::Open | Stands::Done | Stands::TurnedAway | Stands::Unknown => stands,
        }
    }

    /// Whether a call of which it is not known how it ended is sent again.
    pub(super) fn may_copy(&mut self, options: &RequestOptions) -> bool {
        let may = options.identity.is_some() && self.copies < COPIES_MAX;
        if may {
            self.unclear = true;
            self.copies += 1;
        }
        may
    }

    /// The call has ended, or is given up.
    pub(super) fn end_call(&mut self) {
        self.unclear = false;
        self.copies = 0;
    }
}

impl Clients {
    /// The request to open a session has ended.
    pub(super) fn end_opening(
        &mut self,
        client: &mut Client,
        outcome: Option<&Outcome>,
        now: Duration,
        servers: &[NodeId],
    ) {
        client.session.on_opened(outcome);
        client.open = None;
        client.idle_until = now + self.back_off(1);
        client.server = self.server(servers);
    }

    /// Has a call made again at some server before any other one.
    pub(super) fn ask_again(
        &mut self,
        client: &mut Client,
        again: (Operation, RequestOptions),
        now: Duration,
        servers: &[NodeId],
    ) {
        client.open = None;
        client.again = Some(again);
        client.server = self.server(servers);
        client.idle_until = now + draw(&mut self.stream, &self.config.think);
    }

    /// Makes a call, in the client's session if it is a write and there are sessions; opens one
    /// first where that is needed.
    pub(super) fn call_named<E: ConsistencyEngine>(
        &mut self,
        client: &mut Client,
        cluster: &mut Cluster<E>,
        (op, mut options): (Operation, RequestOptions),
    ) {
        let is_write = matches!(op, Operation::Batch(_)) && !op.is_read_only();
        if self.config.sessions && is_write && options.identity.is_none() {
            let Some(session) = client.session.id else {
                client.again = Some((op, options));
                let opening = (Operation::OpenSession, self.options());
                client.open = Some(cluster.submit(client.server, opening.0, opening.1));
                return;
            };
            client.session.number += 1;
            let number = client.session.number;
            options.identity =
                Some(RequestIdentity { session, number, acknowledged_below: number });
        }
        options.seen = client.seen.of(&op, self.config.session_guarantees);
        if client.session.unclear {
            let id = cluster.submit(client.server, op, options);
            self.calls.push((id, client.process));
            client.open = Some(id);
        } else {
            self.call(client, cluster, op, options);
        }
    }
}

/// How often a call is sent again of which it is not known how it ended.
const COPIES_MAX: u32 = 12;
