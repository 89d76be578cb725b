//! Another server leads by plan: nothing is lost and nothing fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kv_tests::{Site, wait_until};

use crate::disks::durable::stop;
use crate::writers::Load;

#[test]
fn the_lead_goes_from_server_to_server_under_load_and_nothing_is_lost() {
    let site = Site::of(3);
    let words = |id: u16| format!("{id} linearizability 2 2 --data-dir data");
    let [one, two, three] = [1, 2, 3].map(words);
    let [first, second, third] = site.ready_servers([&one, &two, &three]);
    let leads = |id: u16| {
        let status = site.run(&format!("{id} status"));
        status.contains("this server: sequencer")
    };
    let load = Load::begin(&site, "led", &[1, 2, 3], 2);
    // Whoever is asked sees to it.
    for (asked, to) in [(1, 2), (1, 3), (3, 1), (2, 2), (2, 2)] {
        let said = site.run(&format!("{asked} lead {to}"));
        assert!(said.ends_with(&format!("server {to} is the sequencer")), "{said}");
        assert!(leads(to));
    }
    let json = site.run("1 --json lead 3");
    assert!(json.contains(r#""sequencer":3"#), "{json}");
    // One that is stopped hands over before it ends.
    stop(third);
    assert!(leads(1) || leads(2));
    let acknowledged = load.end();
    assert!(acknowledged.len() >= 100, "only {} writes were done", acknowledged.len());
    let held = site.run("2 scan led --keys-only");
    let held: std::collections::BTreeSet<&str> = held.lines().collect();
    let missing = acknowledged.iter().filter(|key| !held.contains(key.as_str()));
    assert_eq!(missing.count(), 0, "of {}", acknowledged.len());

    let mut refused = site.client("1 lead 9");
    refused.wait_for_error("not handed over: server 9 is not one of the cluster's servers");
    assert_eq!(refused.exit_code(), Some(1));
    let mut refused = site.client("1 lead 3");
    refused.wait_for_error("not handed over: server 3 is not connected or not fit to lead");
    assert_eq!(refused.exit_code(), Some(1));
    drop((first, second));
}

#[test]
fn the_first_server_leads_again_by_itself_where_that_is_wanted() {
    let site = Site::of(3);
    let words = |id: u16| format!("{id} linearizability 2 2 --data-dir data --hand-back");
    let [one, two, three] = [1, 2, 3].map(words);
    let [first, second, third] = site.ready_servers([&one, &two, &three]);
    stop(first);
    assert_eq!(site.run("2 put x 1"), "ok");
    let first = site.ready_server(&one);
    wait_until("server 1 leads again", || site.run("1 status").contains("this server: sequencer"));
    assert_eq!(site.run("3 get x"), "1");
    drop((first, second, third));
}

#[test]
fn the_eventual_engine_has_nobody_who_leads() {
    let site = Site::of(1);
    let server = site.ready_server("1 eventual 1 1 --memory");
    let mut refused = site.client("1 lead 1");
    refused.wait_for_error("in the eventual engine all servers take writes alike");
    assert_eq!(refused.exit_code(), Some(1));
    drop(server);
}
