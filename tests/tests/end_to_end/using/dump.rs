//! `dump` prints all that a server holds, at the server and at the client.

use kv_tests::{Site, Stream};

const MODELS: [&str; 2] = ["eventual", "linearizability"];

#[test]
fn all_variables_are_printed_on_both_sides() {
    for model in MODELS {
        let site = Site::of(2);
        let words = [1, 2].map(|id| format!("{id} {model} 2 2"));
        let [_first, mut second] = site.ready_servers(words.each_ref().map(String::as_str));
        let mut client = site.client("2");
        for line in ["put b 2", "put a 1", "put gone 3", "delete gone", r#"put "a b" "c\nd""#] {
            client.type_line(line);
            client.wait_for("ok");
        }
        client.type_line("dump");
        for line in ["a = 1 (version ", r#""a b" = "c\nd" (version "#, "b = 2 (version "] {
            client.wait_for(line);
        }
        for line in ["a = 1 (version ", r#""a b" = "c\nd" (version "#, "b = 2 (version ", "(end of"]
        {
            second.wait_for(line);
        }
        let deleted = |lines: Vec<String>| lines.iter().any(|line| line.starts_with("gone"));
        assert!(!deleted(client.lines(Stream::Out)), "{}", client.report());
        assert!(!deleted(second.lines(Stream::Out)), "{}", second.report());
    }
}

#[test]
fn a_dump_of_several_pages_is_whole_and_in_order() {
    const KEYS: usize = 2_500;
    for model in MODELS {
        let site = Site::of(1);
        let mut server = site.ready_server(&format!("1 {model} 1 1"));
        let puts: String = (0..KEYS).map(|n| format!("put k{n:05} {n}\n")).collect();
        let mut client = site.client_reading("1", format!("{puts}dump\n").as_bytes());
        assert_eq!(client.exit_code(), Some(0), "{}", client.report());
        let expected: Vec<String> = (0..KEYS).map(|n| format!("k{n:05} = {n}")).collect();
        let shown = |lines: Vec<String>| -> Vec<String> {
            let entries = lines.iter().filter_map(|line| line.split_once(" (version "));
            entries.map(|(entry, _)| entry.trim_end().to_owned()).collect()
        };
        assert_eq!(shown(client.lines(Stream::Out)), expected);
        server.wait_for("(end of dump)");
        assert_eq!(shown(server.lines(Stream::Out)), expected);
    }
}

#[test]
fn an_empty_server_says_that_it_holds_nothing() {
    for model in MODELS {
        let site = Site::of(1);
        let mut server = site.ready_server(&format!("1 {model} 1 1"));
        assert_eq!(site.run("1 dump"), "");
        server.wait_for("(end of dump: nothing)");
    }
}
