//! What W and R mean, in words for the start screen.

use kv_core::ClusterConfig;
use kv_linear::Quorums;

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
            } else {
                "a read sees every write acknowledged before it began, or a newer one, as long as \
                 that is still held"
            };
            let restarted = if keeps_data {
                "a server that starts again goes on with the data that it had, and takes what it \
                 missed from the others; if it lost its data, it counts for reads once it has it again"
            } else {
                "a server that starts again is empty, takes everything from the others, and counts \
                 for reads once it has it"
            };
            vec![
                format!("a write is done when {} it, a read when {}", holders(w), answerers(r)),
                kept_after_losses(w),
                format!("{}, {}", going_on("writes", n - w), going_on("reads", n - r)),
                visible.to_owned(),
                restarted.to_owned(),
            ]
        }
        Consistency::Linearizable => linearizable(cluster, keeps_data),
    }
}

fn linearizable(cluster: &ClusterConfig, keeps_data: bool) -> Vec<String> {
    let quorums = Quorums::of(cluster);
    let first = cluster.voters().first().map_or(1, |node| node.number());
    let mut lines = vec![
        "all servers agree on one order of all operations; a read sees every write acknowledged \
         before it began"
            .to_owned(),
        format!("a write is done when {} it, the sequencer among them", holders(quorums.write)),
    ];
    if quorums.nodes == 1 {
        let lost =
            if keeps_data { "until it is started again on its data" } else { "and all is lost" };
        lines.push(format!("it is the only server: without it nothing is served, {lost}"));
    } else if quorums.survive_the_sequencer() {
        lines.extend(losses(quorums, keeps_data));
        lines.push(refilling(quorums, keeps_data));
    } else {
        lines.extend(losses_without_a_successor(quorums, first, keeps_data));
    }
    lines
}

/// What the loss of servers costs, where another one may become the sequencer.
fn losses(quorums: Quorums, keeps_data: bool) -> Vec<String> {
    let Quorums { nodes, promises, pre_votes, .. } = quorums;
    let works = working(quorums);
    let back = if keeps_data { "it is back" } else { "it is started again" };
    let (any, followers) = (nodes - pre_votes, nodes - works);
    if followers == 0 {
        return vec![format!(
            "all {nodes} servers are needed: without any one, nothing is served until {back}"
        )];
    }
    // V < N, and W and R are below N, so that P is too.
    let mut lines = vec![format!(
        "any {any} of the {nodes} servers may be lost: another takes the sequencer's place"
    )];
    if followers > any {
        let enough = format!("{} enough while the sequencer is one of them", servers(works));
        lines.push(if keeps_data {
            format!(
                "{enough}; without it nothing is served until {pre_votes} servers run, or it is \
                 started again on its data"
            )
        } else {
            format!(
                "{enough}, but do not survive its loss: that takes {promises} others that went on \
                 running"
            )
        });
    }
    lines
}

/// How many servers a sequencer must hear, itself counted, so that the others wait for it: enough
/// for writes and for reads.
fn working(quorums: Quorums) -> u16 {
    quorums.write.max(quorums.read)
}

/// How a server that lost its data comes to have it again.
fn refilling(quorums: Quorums, keeps_data: bool) -> String {
    let recovery = quorums.recovery;
    if keeps_data {
        let have = if recovery == 1 { "has its own" } else { "have theirs" };
        format!(
            "a server that lost its data gets it back from the others if {recovery} of them {have}"
        )
    } else {
        format!(
            "a server that starts again is empty, and is filled by the others if {recovery} of them \
             went on running"
        )
    }
}

/// What the loss of servers costs, where only one server can ever be the sequencer.
fn losses_without_a_successor(quorums: Quorums, first: u16, keeps_data: bool) -> Vec<String> {
    let (nodes, works) = (quorums.nodes, working(quorums));
    let mut lines = Vec::new();
    if nodes > works {
        let followers = lost(nodes - works);
        lines.push(format!("it goes on with {followers} other than server {first} down"));
    }
    let until = if keeps_data {
        "until it is started again on its data"
    } else {
        "and what was in its memory is lost: all servers must be started again, empty"
    };
    let remedy = match nodes {
        2 => String::new(),
        3 => ": W=2 R=2 would let another take its place".to_owned(),
        _ => format!(": W=2 R=2 would let another take its place while {} servers run", nodes - 1),
    };
    lines.push(format!("without server {first}, the sequencer, nothing is served {until}{remedy}"));
    lines
}

/// Which losses an acknowledged write outlives.
fn kept_after_losses(write: u16) -> String {
    match write - 1 {
        0 => "an acknowledged write may be lost with the one server that holds it".to_owned(),
        losses => format!("an acknowledged write is still held after the loss of {}", lost(losses)),
    }
}

/// Without how many servers writes or reads go on.
fn going_on(what: &str, spare: u16) -> String {
    match spare {
        0 => format!("{what} need every server"),
        spare => format!("{what} go on with {} down", lost(spare)),
    }
}

fn servers(count: u16) -> String {
    if count == 1 { "1 server is".to_owned() } else { format!("{count} servers are") }
}

fn holders(count: u16) -> String {
    if count == 1 { "1 server holds".to_owned() } else { format!("{count} servers hold") }
}

fn answerers(count: u16) -> String {
    if count == 1 { "1 server answers".to_owned() } else { format!("{count} servers answer") }
}

fn lost(count: u16) -> String {
    match count {
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
            assert!(words.contains("again goes on") || words.contains("gets it back from"));
        }
    }

    #[test]
    fn eventual_quorums_in_words() {
        let strong = words(Consistency::Eventual, 3, 2, 2);
        assert!(strong.contains("when 2 servers hold it, a read when 2 servers answer"));
        assert!(strong.contains("still held after the loss of any 1 server"));
        assert!(strong.contains("writes go on with any 1 server down, reads go on with any 1"));
        assert!(strong.contains("a read sees every write"));
        let weak = words(Consistency::Eventual, 3, 1, 2);
        assert!(weak.contains("may be lost with the one server that holds it"));
        assert!(
            weak.contains("starts again is empty")
                && weak.contains("counts for reads once it has it")
        );
        assert!(weak.contains("writes go on with any 2 servers down"));
        assert!(weak.contains("a read may miss the latest writes"));
    }

    /// What a cluster of the linearizable engine says of losses.
    fn costs(n: u16, w: u16, r: u16, keeps_data: bool) -> Vec<String> {
        let nodes = (1..=n).map(|number| NodeId::new(number).unwrap());
        let cluster = ClusterConfig::new(nodes, Quorum::Count(w), Quorum::Count(r)).unwrap();
        promises(Consistency::Linearizable, &cluster, keeps_data).split_off(2)
    }

    #[test]
    fn where_another_server_can_take_over_it_is_said_how_many_may_be_lost() {
        assert_eq!(
            costs(3, 2, 2, true),
            [
                "any 1 of the 3 servers may be lost: another takes the sequencer's place",
                "a server that lost its data gets it back from the others if 2 of them have theirs",
            ]
        );
        let [any, refilled] = &costs(5, 3, 3, true)[..] else { panic!() };
        assert!(any.starts_with("any 2 of the 5 servers may be lost: another takes"), "{any}");
        assert!(refilled.ends_with("if 3 of them have theirs"), "{refilled}");
        let [any, enough, _] = &costs(10, 2, 2, true)[..] else { panic!() };
        assert!(any.starts_with("any 1 of the 10 servers may be lost"), "{any}");
        assert_eq!(
            enough,
            "2 servers are enough while the sequencer is one of them; without it nothing is served \
             until 9 servers run, or it is started again on its data"
        );
    }

    #[test]
    fn where_every_server_is_needed_nobody_is_promised_a_successor() {
        for (n, w, r) in [(2, 2, 2), (3, 3, 3), (3, 3, 2), (3, 2, 3)] {
            let costs = costs(n, w, r, true);
            let all = format!("all {n} servers are needed: without any one, nothing is served");
            assert!(costs[0].starts_with(&all), "{costs:?}");
        }
    }

    #[test]
    fn where_nobody_can_take_over_the_sequencer_is_named() {
        assert_eq!(
            costs(3, 1, 1, true),
            [
                "it goes on with any 2 servers other than server 1 down",
                "without server 1, the sequencer, nothing is served until it is started again on \
                 its data: W=2 R=2 would let another take its place",
            ]
        );
        let reads = costs(4, 1, 3, true);
        assert_eq!(reads[0], "it goes on with any 1 server other than server 1 down");
        assert!(costs(3, 1, 3, true)[0].starts_with("without server 1"));
        let default = costs(10, 1, 1, true).pop().unwrap();
        assert!(default.ends_with("W=2 R=2 would let another take its place while 9 servers run"));
        assert!(costs(2, 1, 2, true).pop().unwrap().ends_with("started again on its data"));
        assert_eq!(
            costs(1, 1, 1, true),
            [
                "it is the only server: without it nothing is served, until it is started again on its data"
            ]
        );
    }

    #[test]
    fn in_memory_it_is_said_how_few_servers_do_not_survive_a_loss() {
        let ten = costs(10, 2, 2, false);
        assert_eq!(
            ten[1..],
            [
                "2 servers are enough while the sequencer is one of them, but do not survive its \
                 loss: that takes 9 others that went on running",
                "a server that starts again is empty, and is filled by the others if 2 of them went \
                 on running",
            ]
        );
        let three = costs(3, 1, 1, false).pop().unwrap();
        assert!(three.contains("all servers must be started again, empty"), "{three}");
        assert!(costs(1, 1, 1, false)[0].ends_with("nothing is served, and all is lost"));
    }
}
