//! Servers that are started again, most of them in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kv_tests::{Process, Site, wait_until};

fn three(site: &Site, model: &str) -> [Process; 3] {
    let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2 --memory"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

fn holds(site: &Site, server: u16, entry: &str) -> bool {
    site.run(&format!("{server} dump")).lines().any(|line| line.starts_with(entry))
}

#[test]
fn a_linearizable_follower_refills_and_serves() {
    let site = Site::of(3);
    let [mut first, mut second, mut third] = three(&site, "linearizability");
    assert_eq!(site.run("3 put x 1"), "ok");
    third.kill();
    assert_eq!(site.run("1 put y 2"), "ok");

    let mut third = site.ready_server("3 linearizability 2 2 --memory");
    assert_eq!(site.run("3 get x"), "1");
    assert_eq!(site.run("3 get y"), "2");
    wait_until("it holds what was written before it came", || {
        holds(&site, 3, "x = 1 ") && holds(&site, 3, "y = 2 ")
    });
    // With server 2 gone, every write needs it.
    second.kill();
    assert_eq!(site.run("3 put z 3"), "ok");
    assert_eq!(site.run("1 get z"), "3");
    third.kill();
    first.wait_for("waiting for 1 more server");
}

#[test]
fn a_sequencer_that_lost_its_memory_is_filled_by_the_others() {
    let site = Site::of(3);
    let [mut first, _second, mut third] = three(&site, "linearizability");
    assert_eq!(site.run("1 put x 1"), "ok");
    first.kill();
    assert_eq!(site.run("2 put y 2"), "ok");
    let _first = site.ready_server("1 linearizability 2 2 --memory");
    assert_eq!(site.run("1 get x"), "1");
    // With server 3 gone, every write needs it.
    third.kill();
    assert_eq!(site.run("1 put z 3"), "ok");
    for (key, value) in [("x", "1"), ("y", "2"), ("z", "3")] {
        assert_eq!(site.run(&format!("2 get {key}")), value);
    }
}

/// With R=1 nobody can take the sequencer's place.
#[test]
fn a_sequencer_without_a_successor_that_lost_its_memory_refuses_until_all_are_restarted() {
    const LOST: &str = "server 1, the sequencer, has no data and others have its log: is it \
                        started on the right data directory? Look there first and remove nothing";
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 2 1 --memory"));
    let words = words.each_ref().map(String::as_str);
    let site = Site::of(3);
    let [mut first, mut second, mut third] = site.ready_servers(words);
    assert_eq!(site.run("2 put x 1"), "ok");
    first.kill();
    let line = second.wait_for("waiting for server 1");
    assert!(line.contains("server 1, if it was stopped, has lost its memory: stop all"), "{line}");

    let mut first = site.server(words[0]);
    for server in [&mut first, &mut second, &mut third] {
        server.wait_for(LOST);
    }
    for command in ["1 get x", "2 get x", "3 put x 2"] {
        let mut client = site.client(command);
        client.wait_for_error(&format!("unavailable: {LOST}"));
        assert_eq!(client.exit_code(), Some(4), "{}", client.report());
    }

    drop([first, second, third]);
    let _servers = site.ready_servers(words);
    assert_eq!(site.client("2 get x").exit_code(), Some(3), "in memory nothing stays");
    assert_eq!(site.run("3 put x 2"), "ok");
    assert_eq!(site.run("1 get x"), "2");
}

#[test]
fn servers_that_lost_their_memory_found_no_cluster_beside_the_one_that_is_left() {
    let site = Site::of(3);
    let [mut first, mut second, mut third] = three(&site, "linearizability");
    assert_eq!(site.run("2 put x 1"), "ok");
    first.kill();
    third.kill();
    let line = second.wait_for("waiting for 1 more server");
    assert!(line.ends_with("stop all servers and start them again"), "{line}");
    let mut first = site.server("1 linearizability 2 2 --memory");
    let third = site.server("3 linearizability 2 2 --memory");
    let line = first.wait_for("waiting for 1 more server; servers that were stopped have lost");
    assert!(line.ends_with("stop all servers and start them again"), "{line}");
    second.kill();
    // Nobody holds the old log any more, but the write was acknowledged: to found a new cluster
    // without being told would lose it silently.
    let mut client = site.client("3 get x --timeout 500ms");
    assert_eq!(client.exit_code(), Some(4), "{}", client.report());
    drop(third);
}

#[test]
fn any_eventual_server_may_be_lost_and_what_is_read_repairs_it_number_1_included() {
    let site = Site::of(3);
    let mut servers = three(&site, "eventual");
    for (place, id) in [1, 2, 3, 1].into_iter().enumerate() {
        assert_eq!(site.run(&format!("{id} put x {place}")), "ok");
        let server = servers.get_mut(usize::from(id) - 1).unwrap();
        server.kill();
        let next = id % 3 + 1;
        assert_eq!(site.run(&format!("{next} put during {place}")), "ok");
        assert_eq!(site.run(&format!("{next} get x")), place.to_string());

        *server = site.ready_server(&format!("{id} eventual 2 2 --memory"));
        for key in ["x", "during"] {
            assert_eq!(site.run(&format!("{id} get {key} --r all")), place.to_string());
            let entry = format!("{key} = {place} ");
            wait_until("it holds what was read", || holds(&site, id, &entry));
        }
        assert_eq!(site.run(&format!("{id} get x --r 1")), place.to_string());
    }
}

#[test]
fn a_restarted_eventual_server_writes_what_wins_over_its_former_life() {
    let site = Site::of(2);
    let [_first, mut second] =
        site.ready_servers(["1 eventual 2 1 --memory", "2 eventual 2 1 --memory"]);
    for life in 0..3 {
        for n in 0..5 {
            assert_eq!(site.run(&format!("2 put x {life}.{n}")), "ok");
        }
        second.kill();
        second = site.ready_server("2 eventual 2 1 --memory");
        assert_eq!(site.run(&format!("2 put x {life}.last")), "ok");
        assert_eq!(site.run("1 get x"), format!("{life}.last"));
    }
}

/// A server 1 that lost its data and comes up first must not begin a second cluster.
#[test]
fn a_server_that_may_not_found_a_cluster_waits_for_the_one_that_it_was_in() {
    let site = Site::of(3);
    let words = |id: u16| format!("{id} linearizability 2 2 --data-dir data");
    let all = [1, 2, 3].map(words);
    let servers = site.ready_servers(all.each_ref().map(String::as_str));
    assert_eq!(site.run("put x 1"), "ok");
    for mut server in servers {
        server.kill();
    }
    std::fs::remove_dir_all(site.folder().join("data/1-linearizable")).unwrap();
    let mut first = site.server(&format!("{} --bootstrap never", words(1)));
    first.wait_for("waiting for a cluster that this server is of");
    let _others = site.ready_servers([words(2), words(3)].each_ref().map(String::as_str));
    first.wait_for("ready");
    assert_eq!(site.run("1 get x"), "1");
}

#[test]
fn status_does_not_count_on_a_server_that_holds_another_clusters_data() {
    let site = Site::of(3);
    let words = |id: u16, data: &str| format!("{id} linearizability 2 2 --data-dir {data}");
    let start = |data: [&str; 3]| {
        let words = [words(1, data[0]), words(2, data[1]), words(3, data[2])];
        words.map(|words| site.server(&words))
    };
    for cluster in ["ours", "other"] {
        let mut servers = start([cluster; 3]);
        servers.iter_mut().for_each(|server| drop(server.wait_for("ready")));
        assert_eq!(site.run(&format!("3 put x {cluster}")), "ok");
        if cluster == "other" {
            // It will be the sequencer of its own log again, and wait for the others.
            assert!(site.run("3 lead 3").contains("3"));
        }
        servers.iter_mut().for_each(Process::kill);
    }
    let [mut first, mut second, mut third] = start(["ours", "ours", "other"]);
    third.wait_for("this server holds cluster ");
    first.wait_for("ready");
    second.wait_for("ready");
    let line = "1 connected server holds data of another cluster, or has another server list, W or R, \
                and counts for nothing here: see `health`";
    let at_limit = "the loss of one more server stops the cluster until 2 servers are up again";
    for id in [1, 2] {
        wait_until("status names the stranger", || {
            let status = site.run(&format!("{id} status"));
            status.contains(line) && status.contains(at_limit)
        });
    }
    let mut status = site.client("3 status");
    status.wait_for("server 3 does not serve: this server holds cluster ");
    assert_eq!(status.exit_code(), Some(4), "{}", status.report());
    assert!(!status.report().contains("may be lost"), "{}", status.report());
}
