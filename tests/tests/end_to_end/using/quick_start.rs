//! Two servers and two clients, with the commands of the quick start.

use kv_tests::{Process, Site};

/// One client writes, the other one reads.
fn put_on_one_get_on_the_other(site: &Site, value: &str) {
    let [mut one, mut other] = [site.client("2"), site.client("2")];
    one.type_line(&format!("put x {value}"));
    one.wait_for("ok");
    other.type_line("get x");
    other.wait_for(value);
    for client in [&mut one, &mut other] {
        client.type_line("exit");
        assert_eq!(client.exit_code(), Some(0), "{}", client.report());
    }
}

fn start(site: &Site, order: [u16; 2], model: &str) -> [Process; 2] {
    let words = order.map(|id| format!("{id} {model} 2 2"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

#[test]
fn both_models_one_after_the_other_in_one_folder_with_no_options_at_all() {
    let site = Site::with_defaults();
    let eventual = start(&site, [1, 2], "eventual");
    put_on_one_get_on_the_other(&site, "first");
    drop(eventual);
    let linearizable = start(&site, [2, 1], "linearizability");
    assert_eq!(site.client("2 get x").exit_code(), Some(3), "each model has its own data");
    put_on_one_get_on_the_other(&site, "second");
    drop(linearizable);
    let eventual = start(&site, [2, 1], "eventual");
    assert_eq!(site.run("2 get x"), "first");
    drop(eventual);
    let _linearizable = start(&site, [1, 2], "linearizability");
    assert_eq!(site.run("2 get x"), "second");
}

#[test]
fn eventual_servers_start_in_either_order() {
    for order in [[1, 2], [2, 1]] {
        let site = Site::of(10);
        let _servers = start(&site, order, "eventual");
        put_on_one_get_on_the_other(&site, "1");
    }
}

#[test]
fn linearizable_servers_start_in_either_order() {
    for order in [[1, 2], [2, 1]] {
        let site = Site::of(10);
        let _servers = start(&site, order, "linearizability");
        put_on_one_get_on_the_other(&site, "1");
    }
}

#[test]
fn a_server_alone_serves_with_no_words_at_all() {
    let site = Site::of(1);
    let _server = site.ready_server("");
    assert_eq!(site.run("put x 1"), "ok");
    assert_eq!(site.run("get x"), "1");
}
