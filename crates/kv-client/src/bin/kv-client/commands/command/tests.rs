//! What lines mean, and what their mistakes are answered.

use kv_core::{Level, Quorum, Version};

use super::*;

fn parse(line: &str) -> Line {
    Line::parse(line.as_bytes()).unwrap().unwrap()
}

fn request(line: &str) -> Request {
    let Command::Execute(request) = parse(line).command else {
        panic!("{line} is no request");
    };
    request
}

fn error(line: &str) -> String {
    Line::parse(line.as_bytes()).unwrap_err().to_string()
}

fn key(text: &'static str) -> Key {
    Key::new(text).unwrap()
}

fn value(text: &'static str) -> Value {
    Value::new(text).unwrap()
}

#[test]
fn commands_become_operations() {
    assert_eq!(request("get x").operation, Operation::get(key("x")));
    let put = Operation::put(key("x"), value("a b"));
    assert_eq!(request(r#"PUT x "a b""#).operation, put);
    assert_eq!(request("del x").operation, Operation::delete(key("x")));
    let step = |by| Operation::of(Step::Increment { key: key("n"), by });
    assert_eq!(request("incr n").operation, step(1));
    assert_eq!(request("incr n -5").operation, step(-5));
    let Operation::Batch(cas) = request("cas x 1 2").operation else {
        panic!("not a batch");
    };
    assert_eq!(cas.conditions()[0].check, Check::ValueIs(value("1")));
    assert!(matches!(&cas.commands()[0], Step::Put { value: v, .. } if *v == value("2")));
}

#[test]
fn other_commands_and_aliases() {
    assert_eq!(parse("exit").command, Command::Exit);
    assert_eq!(parse("quit").command, Command::Exit);
    assert_eq!(parse("dump").command, Command::List(Listing::Dump, Shape::default()));
    let status = |all, wait| Command::Status { all, wait };
    assert_eq!(parse("status").command, status(false, false));
    assert_eq!(parse("status --wait --all").command, status(true, true));
    assert_eq!(parse("health --reads").command, Command::Health { reads: true, wait: false });
    assert_eq!(parse("lead 2").command, Command::Lead(NodeId::new(2).unwrap()));
    let seconds = |n| Command::Delay(Duration::from_secs(n));
    assert_eq!(parse("delay 10000").command, seconds(10));
    assert_eq!(parse("delay 2s").command, seconds(2));
    for (words, command) in [
        (["begin", "multi"], Command::Begin),
        (["commit", "exec"], Command::Commit),
        (["discard", "rollback"], Command::Discard),
    ] {
        assert_eq!(words.map(|word| parse(word).command), [command.clone(), command]);
    }
    assert_eq!(parse("help").command, Command::Help(None));
    assert!(matches!(parse("help set").command, Command::Help(Some(help)) if help.name == "put"));
    assert_eq!(Line::parse(b" \t "), Ok(None));
}

#[test]
fn the_standard_input_is_named_by_what_no_value_can_be() {
    for line in ["put x --stdin", "put --stdin x"] {
        assert!(matches!(parse(line).command, Command::PutInput(put) if put.key == key("x")));
    }
    let dash = Operation::put(key("x"), value("-"));
    assert_eq!(request("put x -").operation, dash);
    let word = Operation::put(key("x"), value("--stdin"));
    assert_eq!(request("put x -- --stdin").operation, word);
    assert_eq!(request("put x \"--stdin\"").operation, word);
    assert!(error("put x 1 --stdin").starts_with("1 is too much"));
}

#[test]
fn a_write_may_have_a_condition() {
    let check = |line: &str| {
        let Operation::Batch(batch) = request(line).operation else {
            panic!("{line} is no batch");
        };
        assert_eq!(batch.commands().len(), 1, "{line}");
        batch.conditions().first().map(|condition| condition.check.clone())
    };
    assert_eq!(check("put x 1"), None);
    assert_eq!(check("put x 1 --if-absent"), Some(Check::Absent));
    assert_eq!(check("put --if-version 7 x 1"), Some(Check::VersionIs(Version::Log(7))));
    assert_eq!(check("put x 1 --if-value=a=b"), Some(Check::ValueIs(value("a=b"))));
    assert_eq!(check("put x 1 --if-value \"\""), Some(Check::ValueIs(value(""))));
    assert_eq!(check("delete x --if-present"), Some(Check::Present));
    assert_eq!(check("delete x --if-version 7"), Some(Check::VersionIs(Version::Log(7))));
    assert_eq!(
        error("put x 1 --if-absent --if-version 7"),
        "the --if options cannot stand together: leave out all but one"
    );
    assert_eq!(error("put x 1 --if-version new"), "--if-version takes a whole number, not new");
    assert!(error("delete x --if-absent").starts_with("unknown option --if-absent"));
}

#[test]
fn a_read_may_say_its_level() {
    assert_eq!(request("get x --level sequential").options.level, Some(Level::Sequential));
    assert_eq!(request("get x --level sequenced").options.level, Some(Level::Sequenced));
    assert_eq!(request("get x --level atomic").options.level, Some(Level::Atomic));
    assert_eq!(request("ttl x --level linearizable").options.level, Some(Level::Linearizable));
    assert_eq!(request("get x").options.level, None);
    assert!(error("get x --level strong").starts_with("--level is linearizable, "));
    assert!(error("put x 1 --level sequential").starts_with("unknown option --level"));
}

#[test]
fn a_key_may_last_for_a_time() {
    let put = |line: &str| {
        let Operation::Batch(batch) = request(line).operation else {
            panic!("{line} is no batch");
        };
        let [Step::Put { time_to_live, .. }] = batch.commands() else {
            panic!("{line} is no put");
        };
        *time_to_live
    };
    let seconds = Duration::from_secs;
    assert_eq!(put("put x 1 --ttl 10s"), Some(seconds(10)));
    assert_eq!(put("cas x 1 2 --ttl 1m"), Some(seconds(60)));
    let expire = |time_to_live| Operation::of(Step::Expire { key: key("x"), time_to_live });
    assert_eq!(request("expire x 5s").operation, expire(Some(seconds(5))));
    assert_eq!(request("persist x").operation, expire(None));
    let time_to_live = Operation::of(Step::TimeToLive { key: key("x") });
    assert_eq!(request("ttl x").operation, time_to_live);
    assert!(error("put x 1 --ttl soon").starts_with("the time to live: "));
    assert!(error("expire x").starts_with("TIME is missing"));
}

#[test]
fn several_keys_are_read_and_a_prefix_is_deleted() {
    let Command::Each(gets) = parse("get x y --r all").command else {
        panic!("not several");
    };
    let operations: Vec<_> = gets.iter().map(|get| get.operation.clone()).collect();
    assert_eq!(operations, [Operation::get(key("x")), Operation::get(key("y"))]);
    assert!(gets.iter().all(|get| get.options.read_quorum == Some(Quorum::All)));
    assert!(request("exists x").asks_existence);
    assert!(matches!(parse("delete --prefix a").command,
        Command::DeletePrefix(prefix, _) if prefix == b"a"));
    assert!(error("delete --prefix \"\"").contains("would remove every key"));
    assert!(error("delete --prefix a b").starts_with("b is too much"));
    assert!(error("delete --prefix a --if-present").contains("cannot stand together"));
}

#[test]
fn lists_have_shapes_and_commands_are_repeated() {
    let shape = |line: &str| {
        let Command::List(_, shape) = parse(line).command else {
            panic!("{line} is no list");
        };
        shape
    };
    assert_eq!(shape("scan p --limit 3").limit, Some(3));
    let keys = Shape { part: Part::Keys, limit: None, null: true };
    assert_eq!(shape("dump --keys-only --null"), keys);
    assert_eq!(shape("scan --count").part, Part::Count);
    assert!(error("scan --count --keys-only").contains("cannot stand together"));
    assert_eq!(error("scan --limit -1"), "--limit takes a whole number, not -1");
    let options = |line: &str| parse(line).options;
    assert_eq!(options("get x --repeat 3").times(), 3);
    let every = options("get x --every 2s");
    assert_eq!((every.times(), every.every), (u64::MAX, Some(Duration::from_secs(2))));
    assert_eq!(options("get x").times(), 1);
}

#[test]
fn help_goes_before_mistakes() {
    for line in ["put --help", "put x y z --help"] {
        let help = parse(line).command;
        assert!(matches!(help, Command::Help(Some(help)) if help.name == "put"), "{line}");
    }
}

#[test]
fn options_stand_anywhere_and_quotes_or_two_dashes_make_them_words() {
    let with_r = request("get x --r majority").options.read_quorum;
    assert_eq!(with_r, Some(Quorum::Majority));
    assert_eq!(request("get --r=all x").options.read_quorum, Some(Quorum::All));
    let with_w = request("put --w 2 x y").options.write_quorum;
    assert_eq!(with_w, Some(Quorum::Count(2)));
    let dashes = Operation::put(key("x"), value("--w"));
    assert_eq!(request(r#"put x "--w""#).operation, dashes);
    assert_eq!(request("put x -- --w").operation, dashes);
    let options = parse("status --json --timeout 1s").options;
    assert_eq!(
        options,
        LineOptions {
            json: true,
            raw: false,
            timeout: Some(Duration::from_secs(1)),
            repeat: None,
            every: None,
        }
    );
}

#[test]
fn mistakes_say_what_to_do() {
    let cases = [
        ("gte x", "unknown command gte: did you mean `get`?; `help` lists all"),
        ("frobnicate", "unknown command frobnicate; `help` lists all"),
        ("get", "KEY is missing; usage: get KEY... [--r N|majority|all]"),
        (
            "put x hello world",
            "world is too much; put what holds spaces in quotes; usage: put KEY VALUE [--w \
             N|majority|all]",
        ),
        ("get x --w 2", "unknown option --w; usage: get KEY... [--r N|majority|all]"),
        ("get x --json=1", "unknown option --json=1; usage: get KEY... [--r N|majority|all]"),
        ("get x --r", "--r needs a value; usage: get KEY... [--r N|majority|all]"),
        ("get x --r most", "--r: a quorum is a whole number, `majority` or `all`"),
        ("incr x 1.5", "1.5 is no whole number of 64 bits; usage: incr KEY [N]"),
        ("get \"\"", "a key has at least 1 byte"),
        ("status --timeout 0s", "--timeout: a request needs some time: write for example 5s"),
        ("lead", "SERVER is missing; usage: lead SERVER"),
        ("lead two", "two is no id of a server; usage: lead SERVER"),
        ("delay", "MS is missing; usage: delay MS"),
        ("exit now", "now is too much; put what holds spaces in quotes; usage: exit"),
    ];
    for (line, expected) in cases {
        assert_eq!(error(line), expected, "{line}");
    }
}

#[test]
fn what_is_too_large_is_named_with_its_size() {
    let line = format!("get {}", "k".repeat(Key::LEN_MAX + 1));
    assert_eq!(error(&line), "key of 65537 bytes is too large: at most 65536 are allowed");
    let line = format!("put k {}", "v".repeat(Value::LEN_MAX + 1));
    assert_eq!(error(&line), "value of 16777217 bytes is too large: at most 16777216 are allowed");
}

#[test]
fn every_listed_command_is_understood() {
    for help in COMMANDS {
        assert!(parse_name(help.name), "{}", help.name);
        for alias in help.aliases {
            assert!(parse_name(alias), "{alias}");
        }
    }
    let exits = COMMANDS.iter().filter(|help| {
        Line::parse(help.name.as_bytes())
            .is_ok_and(|line| line.is_some_and(|line| line.command == Command::Exit))
    });
    assert_eq!(exits.count(), 1, "a listed command means exit by accident");
}

fn parse_name(name: &str) -> bool {
    !matches!(Line::parse(name.as_bytes()), Err(UsageError::UnknownCommand { .. }))
}
