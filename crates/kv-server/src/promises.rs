//! What W and R mean, in words for the start screen.

use kv_core::ClusterConfig;

use crate::config::Consistency;

/// What a cluster with these quorums promises, a sentence a line; `keeps_data` says whether its
/// servers keep their data on disk.
#[must_use]
pub fn promises(
    consistency: Consistency,
    cluster: &ClusterConfig,
    keeps_data: bool,
) -> Vec<String> {
    let (n, w, r) = (cluster.nodes(), cluster.write_quorum(), cluster.read_quorum());
    match consistency {
        Consistency::Eventual => {
            let visible = if w + r <= n {
                "a read may miss the latest writes: W + R is not above N"
            } else if keeps_data {
                "a read sees every write acknowledged before it began, or a newer one, as long \
                 as no server has lost its data"
            } else {
                "a read sees every write acknowledged before it began, or a newer one, as long \
                 as no server has started again"
            };
            let restarted = if keeps_data {
                "a server that starts again goes on with the data that it had; what it missed \
                 comes as keys are read"
            } else {
                "a server that starts again is empty and counts at once: it is filled as keys are \
                 read, and a read that counts on it may miss a write until then"
            };
            vec![
                format!("a write is done when {} it, a read when {}", holders(w), answerers(r)),
                format!("an acknowledged write is still held after the loss of {}", lost(w - 1)),
                format!("writes go on with {} down, reads with {} down", lost(n - w), lost(n - r)),
                visible.to_owned(),
                restarted.to_owned(),
            ]
        }
        Consistency::Linearizable => {
            let sequencer = cluster.voters().first().map_or(1, |node| node.number());
            let restarted = if keeps_data {
                "until it is started again on its data"
            } else {
                "and when it has lost its memory all servers must be restarted"
            };
            vec![
                "all servers agree on one order of all operations; a read sees every write \
                 acknowledged before it began"
                    .to_owned(),
                format!("a write is done when {} it, the sequencer among them", holders(w)),
                format!("it goes on with {} other than server {sequencer} down", lost(n - w)),
                format!(
                    "server {sequencer} is the sequencer: without it nothing is served, {restarted}"
                ),
            ]
        }
    }
}

fn holders(count: u16) -> String {
    if count == 1 { "1 server holds".to_owned() } else { format!("{count} servers hold") }
}

fn answerers(count: u16) -> String {
    if count == 1 { "1 server answers".to_owned() } else { format!("{count} servers answer") }
}

fn lost(count: u16) -> String {
    match count {
        0 => "no server".to_owned(),
        1 => "any 1 server".to_owned(),
        _ => format!("any {count} servers"),
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{NodeId, Quorum};

    use super::*;

    fn words(consistency: Consistency, n: u16, w: u16, r: u16) -> String {
        let nodes = (1..=n).map(|number| NodeId::new(number).unwrap());
        let cluster = ClusterConfig::new(nodes, Quorum::Count(w), Quorum::Count(r)).unwrap();
        promises(consistency, &cluster, false).join("\n")
    }

    #[test]
    fn servers_that_keep_their_data_do_not_start_empty() {
        let two = Quorum::Count(2);
        let cluster =
            ClusterConfig::new([1, 2].map(|id| NodeId::new(id).unwrap()), two, two).unwrap();
        for consistency in [Consistency::Eventual, Consistency::Linearizable] {
            let words = promises(consistency, &cluster, true).join("\n");
            assert!(!words.contains("empty") && !words.contains("memory"), "{words}");
            assert!(words.contains("again goes on") || words.contains("again on its data"));
        }
    }

    #[test]
    fn eventual_quorums_in_words() {
        let strong = words(Consistency::Eventual, 3, 2, 2);
        assert!(strong.contains("when 2 servers hold it, a read when 2 servers answer"));
        assert!(strong.contains("still held after the loss of any 1 server"));
        assert!(strong.contains("writes go on with any 1 server down, reads with any 1 server"));
        assert!(strong.contains("a read sees every write"));
        let weak = words(Consistency::Eventual, 3, 1, 2);
        assert!(weak.contains("still held after the loss of no server"));
        assert!(weak.contains("a read that counts on it may miss a write"));
        assert!(weak.contains("writes go on with any 2 servers down"));
        assert!(weak.contains("a read may miss the latest writes"));
    }

    #[test]
    fn the_sequencer_is_named() {
        let words = words(Consistency::Linearizable, 3, 2, 2);
        assert!(words.contains("goes on with any 1 server other than server 1 down"));
        assert!(words.contains("server 1 is the sequencer"));
    }
}
