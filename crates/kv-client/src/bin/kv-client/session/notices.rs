//! What happens to the connection, in words.

use kv_client::{DialFailure, Event, LostReason};
use kv_core::NodeId;
use kv_proto::id_ranges;
use serde_json::json;

/// Turns events into lines. It holds the loss of a server back until it is known where the client
/// went, so that one line says both.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    lost: Option<(NodeId, LostReason)>,
}

impl Notices {
    /// The line that an event is worth, if it is. A first connection without trouble is worth one
    /// only if `greet`.
    pub(crate) fn line(&mut self, event: Event, greet: bool) -> Option<String> {
        match event {
            Event::Lost { server, why } => {
                let before = self.rest();
                self.lost = Some((server, why));
                before
            }
            Event::Connected { server, welcome, skipped } => {
                let lost = self.lost.take();
                if lost.is_none() && skipped.is_empty() && !greet {
                    return None;
                }
                // One that was away a while ago answers now.
                let away: Vec<_> = skipped.iter().filter(|it| it.server != server).collect();
                let mut line = lost.as_ref().map_or_else(String::new, lost_text);
                let separator = if line.is_empty() { "" } else { "; " };
                line = format!("{line}{separator}{}connected to server {server}", silent(&away));
                if greet {
                    let (engine, config) = (&welcome.engine, &welcome.config);
                    let servers = id_ranges(config.voters());
                    let (w, r) = (config.write_quorum(), config.read_quorum());
                    line = format!("{line} ({engine}, servers {servers}, W={w} R={r})");
                }
                Some(line)
            }
            Event::Moved { from, server, .. } => {
                Some(format!("server {server} is the sequencer; went there from server {from}"))
            }
            Event::Refused { server, refusal } => {
                Some(format!("server {server} refuses this client: {refusal}"))
            }
            Event::NoneAnswers { failures } => {
                let lost = self.rest().map_or_else(String::new, |lost| lost + "; ");
                let none = none_answers(&failures);
                let first = failures.first();
                let first = first.map_or_else(String::new, |failure| format!(" ({failure})"));
                Some(format!("{lost}{none}{first}; still trying"))
            }
            _ => None,
        }
    }

    /// What was held back, once nothing more can be waited for.
    pub(crate) fn rest(&mut self) -> Option<String> {
        self.lost.take().as_ref().map(lost_text)
    }
}

/// An event as a JSON object.
pub(crate) fn json(event: &Event) -> String {
    let object = match event {
        Event::Connected { server, welcome, .. } => json!({
            "event": "connected", "server": server.number(), "engine": welcome.engine,
        }),
        Event::Moved { from, server, .. } => json!({
            "event": "moved", "from": from.number(), "server": server.number(),
        }),
        Event::Lost { server, why } => json!({
            "event": "lost", "server": server.number(), "message": why.to_string(),
        }),
        Event::Refused { server, refusal } => json!({
            "event": "refused", "server": server.number(), "message": refusal.to_string(),
        }),
        Event::NoneAnswers { failures } => json!({
            "event": "none_answers",
            "message": failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }),
        _ => json!({ "event": "other" }),
    };
    object.to_string()
}

fn lost_text((server, why): &(NodeId, LostReason)) -> String {
    match why {
        LostReason::NotServing { reason } => format!("server {server} does not serve ({reason})"),
        LostReason::Closed
        | LostReason::Failed { .. }
        | LostReason::System { .. }
        | LostReason::Garbage { .. }
        | LostReason::Silent { .. }
        | LostReason::OutOfPlace
        | LostReason::Refused(_)
        | _ => format!("server {server} is lost ({why})"),
    }
}

fn silent(skipped: &[&DialFailure]) -> String {
    match skipped {
        [] => String::new(),
        [one] => format!("server {} does not answer ({}); ", one.server, one.error),
        several => format!("servers {} do not answer; ", ids(several.iter().copied())),
    }
}

fn none_answers(failures: &[DialFailure]) -> String {
    match failures {
        [one] => format!("server {} does not answer", one.server),
        several => format!("none of the servers {} answers", ids(several.iter())),
    }
}

fn ids<'a>(failures: impl Iterator<Item = &'a DialFailure>) -> String {
    let mut ids: Vec<NodeId> = failures.map(|failure| failure.server).collect();
    ids.sort_unstable();
    id_ranges(&ids)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use kv_core::{ClusterConfig, Incarnation, Quorum};
    use kv_proto::Welcome;

    use super::*;
    use kv_client::DialError;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn connected(server: u16, skipped: &[u16]) -> Event {
        let config = ClusterConfig::new([1, 2].map(node), Quorum::All, Quorum::Count(1));
        let welcome = Welcome {
            node: node(server),
            incarnation: Incarnation::UNKNOWN,
            engine: "eventual".to_owned(),
            config: config.unwrap(),
            cluster_id: None,
            in_flight_max: 1,
            sessions: false,
            sequencer: None,
        };
        Event::Connected {
            server: node(server),
            welcome: Box::new(welcome),
            skipped: skipped.iter().map(|id| failure(*id)).collect(),
        }
    }

    fn failure(server: u16) -> DialFailure {
        let kind = ErrorKind::ConnectionRefused;
        DialFailure { server: node(server), error: DialError::Unreachable { kind } }
    }

    fn lost(server: u16) -> Event {
        Event::Lost { server: node(server), why: LostReason::Closed }
    }

    #[test]
    fn a_loss_and_where_the_client_went_are_one_line() {
        let mut notices = Notices::default();
        assert_eq!(notices.line(lost(2), false), None);
        let line = notices.line(connected(1, &[]), false).unwrap();
        assert_eq!(line, "server 2 is lost (connection closed); connected to server 1");
        assert_eq!(notices.rest(), None);
    }

    #[test]
    fn servers_that_do_not_answer_are_named() {
        let mut notices = Notices::default();
        assert_eq!(notices.line(connected(1, &[]), false), None, "nothing worth saying");
        let one = notices.line(connected(1, &[2]), false).unwrap();
        assert_eq!(one, "server 2 does not answer (connection refused); connected to server 1");
        let back = notices.line(connected(2, &[1, 2]), false).unwrap();
        assert_eq!(back, "server 1 does not answer (connection refused); connected to server 2");
        let several = notices.line(connected(1, &[9, 10, 8]), true).unwrap();
        assert_eq!(
            several,
            "servers 8-10 do not answer; connected to server 1 (eventual, servers 1-2, W=2 R=1)"
        );
    }

    #[test]
    fn nothing_is_held_back_for_ever() {
        let mut notices = Notices::default();
        assert_eq!(notices.line(lost(2), false), None);
        assert_eq!(notices.line(lost(1), false).unwrap(), "server 2 is lost (connection closed)");
        let failures = vec![failure(2), failure(1)];
        assert_eq!(
            notices.line(Event::NoneAnswers { failures }, false).unwrap(),
            "server 1 is lost (connection closed); none of the servers 1-2 answers (server 2: \
             connection refused); still trying"
        );
        notices.line(lost(2), false);
        assert_eq!(notices.rest().unwrap(), "server 2 is lost (connection closed)");
    }
}
