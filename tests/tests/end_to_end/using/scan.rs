//! A scan in the eventual engine, merged from R servers.

use kv_tests::Site;

#[test]
fn a_scan_shows_what_r_servers_hold_together() {
    let site = Site::of(2);
    let _servers = site.ready_servers(["1 eventual 1 2", "2 eventual 1 2"]);
    for (server, key) in [(1, "fruit-apple"), (2, "fruit-pear"), (1, "other"), (2, "fruit-plum")] {
        assert_eq!(site.run(&format!("{server} --raw put {key} {server}")), "ok");
    }
    let scan = site.run("1 --raw scan fruit");
    assert_eq!(scan, "fruit-apple\t1\nfruit-pear\t2\nfruit-plum\t2");
    assert_eq!(site.run("2 --raw scan fruit --limit 1 --r all"), "fruit-apple\t1");
    assert_eq!(site.run("1 --raw delete --prefix fruit"), "3");
    assert_eq!(site.run("2 --raw scan"), "other\t1");
}
