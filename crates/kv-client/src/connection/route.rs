//! Which server is tried next, and when.

use std::time::Duration;

use kv_core::NodeId;
use kv_proto::{RefusalCode, ServerList};

use super::error::{DialError, DialFailure};
use crate::error::ClientError;

/// The way round the servers: from each to the next id, with a pause after every full round in
/// which no server was of use.
#[derive(Debug)]
pub(crate) struct Route {
    servers: ServerList,
    next: NodeId,
    useless_in_row: usize,
    pause: Duration,
    failures: Vec<DialFailure>,
    ever_connected: bool,
}

impl Route {
    pub(crate) fn new(servers: ServerList, first: NodeId) -> Self {
        let next = if servers.address(first).is_some() {
            first
        } else {
            servers.next_after(first).unwrap_or(first)
        };
        Self {
            servers,
            next,
            useless_in_row: 0,
            pause: PAUSE_MIN,
            failures: Vec::new(),
            ever_connected: false,
        }
    }

    /// The server to try, where it listens, and how long to wait before.
    pub(crate) fn next(&self) -> (NodeId, String, Duration) {
        let address = self.servers.address(self.next).unwrap_or_default();
        let round_ended =
            self.useless_in_row > 0 && self.useless_in_row.is_multiple_of(self.servers.count());
        let pause = if round_ended { self.pause } else { Duration::ZERO };
        (self.next, address.to_owned(), pause)
    }

    /// Notes that the server gave no connection. True if that was a server's first failure of the
    /// same kind since the last connection.
    pub(crate) fn on_failure(&mut self, failure: DialFailure) -> bool {
        let news = !self.failures.contains(&failure);
        self.failures.retain(|old| old.server != failure.server);
        self.failures.push(failure);
        self.on_useless();
        news
    }

    /// Notes that the server accepted the client, and tells which failed before it did.
    pub(crate) fn on_connected(&mut self) -> Vec<DialFailure> {
        self.ever_connected = true;
        std::mem::take(&mut self.failures)
    }

    /// Notes that a connection is lost. A server that never answered a request counts as one that
    /// gave no connection: else a server that accepts and closes would be redialled in a hot loop.
    pub(crate) fn on_lost(&mut self, was_useful: bool) {
        if was_useful {
            self.useless_in_row = 0;
            self.pause = PAUSE_MIN;
            self.next = self.servers.next_after(self.next).unwrap_or(self.next);
        } else {
            self.on_useless();
        }
    }

    /// Notes that the client has gone to a server without losing the one before.
    pub(crate) const fn on_moved(&mut self, server: NodeId) {
        self.next = server;
    }

    /// Notes that the client leaves a server that answers and does not serve.
    pub(crate) fn on_not_serving(&mut self) {
        self.next = self.servers.next_after(self.next).unwrap_or(self.next);
    }

    /// Whether there are several servers.
    pub(crate) fn has_choice(&self) -> bool {
        self.servers.count() > 1
    }

    /// The last failure of each server, in the order of the attempts.
    pub(crate) fn failures(&self) -> &[DialFailure] {
        &self.failures
    }

    /// Whether every server has failed since the last connection.
    pub(crate) fn all_failed(&self) -> bool {
        self.failures.len() == self.servers.count()
    }

    /// Whether waiting is no use: no server has ever accepted this client, all have been tried,
    /// and one of those that are there refuses it for good, or no hello can be said.
    pub(crate) fn is_hopeless(&self) -> bool {
        let mut failures = self.failures.iter();
        let is_mute = failures.any(|failure| failure.error == DialError::ClusterNameTooLong);
        let is_refused = self.refusal().is_some_and(|(_, last)| last);
        !self.ever_connected && self.all_failed() && (is_refused || is_mute)
    }

    /// What a request that was never sent is told.
    pub(crate) fn error(&self) -> ClientError {
        match self.refusal() {
            Some((refused, _)) => refused,
            None => ClientError::Unavailable {
                servers: self.servers.ids().collect(),
                failures: self.failures.clone(),
            },
        }
    }

    /// A refusal, one for good before one for now; true if it is for good.
    fn refusal(&self) -> Option<(ClientError, bool)> {
        let refusals = self.failures.iter().filter_map(|failure| {
            let DialError::Refused(refusal) = &failure.error else {
                return None;
            };
            let server = failure.server;
            let refusal = refusal.clone();
            let for_good = refusal.code != RefusalCode::Full;
            Some((ClientError::Refused { server, refusal }, for_good))
        });
        refusals.min_by_key(|(_, for_good)| !for_good)
    }

    fn on_useless(&mut self) {
        if self.useless_in_row > 0 && self.useless_in_row.is_multiple_of(self.servers.count()) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        self.useless_in_row += 1;
        self.next = self.servers.next_after(self.next).unwrap_or(self.next);
    }
}

/// The pause after the first round in vain; doubled after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);

const PAUSE_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use kv_proto::Refusal;

    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn route(servers: &str, first: u16) -> Route {
        Route::new(servers.parse().unwrap(), node(first))
    }

    fn fail(route: &mut Route, error: DialError) -> bool {
        let server = route.next().0;
        route.on_failure(DialFailure { server, error })
    }

    fn unreachable() -> DialError {
        DialError::Unreachable { kind: std::io::ErrorKind::ConnectionRefused }
    }

    fn refused(code: RefusalCode) -> DialError {
        DialError::Refused(Refusal::new(code, "no"))
    }

    #[test]
    fn it_goes_round_and_pauses_longer_after_each_round() {
        let mut route = route("1-3", 2);
        let mut steps = Vec::new();
        for _ in 0..7 {
            let (server, _, pause) = route.next();
            steps.push((server.number(), pause.as_millis()));
            fail(&mut route, unreachable());
        }
        let expected = [(2, 0), (3, 0), (1, 0), (2, 50), (3, 0), (1, 0), (2, 100)];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_useful_connection_ends_the_pauses_and_a_useless_one_does_not() {
        let mut route = route("1", 1);
        for expected in [50, 100, 200] {
            route.on_connected();
            route.on_lost(false);
            assert_eq!(route.next().2.as_millis(), expected);
        }
        for _ in 0..9 {
            route.on_lost(false);
        }
        assert_eq!(route.next().2, PAUSE_MAX);
        route.on_connected();
        route.on_lost(true);
        assert_eq!(route.next().2, Duration::ZERO);
        route.on_lost(false);
        assert_eq!(route.next().2, PAUSE_MIN);
    }

    #[test]
    fn a_first_server_outside_the_list_means_the_one_after_it() {
        assert_eq!(route("1,3,7", 4).next().0, node(7));
        assert_eq!(route("1,3,7", 9).next().0, node(1));
    }

    #[test]
    fn a_refusal_is_what_the_user_sees_if_no_server_is_left() {
        let mut route = route("1-3", 1);
        assert!(fail(&mut route, unreachable()));
        assert!(matches!(route.error(), ClientError::Unavailable { .. }));
        assert!(fail(&mut route, refused(RefusalCode::Full)));
        assert!(!route.is_hopeless(), "server 3 was not tried");
        assert!(fail(&mut route, refused(RefusalCode::Cluster)));
        assert!(route.is_hopeless());
        let ClientError::Refused { server, .. } = route.error() else {
            panic!("the refusal is not shown");
        };
        assert_eq!(server, node(3), "the refusal for good counts more");
        assert!(!fail(&mut route, unreachable()), "no news");
    }

    #[test]
    fn a_full_server_or_an_earlier_connection_leaves_hope() {
        let mut full = route("1", 1);
        fail(&mut full, refused(RefusalCode::Full));
        assert!(full.all_failed());
        assert!(!full.is_hopeless());
        let mut known = route("1", 1);
        known.on_connected();
        known.on_lost(true);
        fail(&mut known, refused(RefusalCode::Cluster));
        assert!(!known.is_hopeless());
    }
}
