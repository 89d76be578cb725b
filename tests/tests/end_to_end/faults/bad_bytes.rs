//! Programs that send a server what no client sends: it answers in one line and serves on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;

use bytes::{BufMut, BytesMut};
use kv_core::{Key, Operation, RequestOptions, Value, Wire};
use kv_proto::{
    FRAME_LEN_MAX, PROTOCOL_VERSION, RefusalCode, RequestBody, ResponseBody, ServerToClient,
};
use kv_tests::{RawConnection, Site, Stream};

const HELLO: u8 = 1;
const REFUSAL: u8 = 3;
const REQUEST: u8 = 4;

/// A frame as `kv_proto` describes it, with anything in it: with a checksum of the header from
/// version 3 on, but for refusals.
fn frame(version: u8, kind: u8, body: &[u8]) -> BytesMut {
    let has_header_checksum = version >= 3 && kind != REFUSAL;
    let rest = if has_header_checksum { 14 } else { 10 };
    let mut frame = BytesMut::new();
    frame.put_u32_le(u32::try_from(rest + body.len()).unwrap());
    frame.put_slice(&[version, kind, 0, 0, 0, 0]);
    if has_header_checksum {
        frame.put_u32_le(crc32c::crc32c(body));
        frame.put_u32_le(crc32c::crc32c(&frame));
    } else {
        frame.put_u32_le(crc32c::crc32c(&[frame.get(4..).unwrap(), body].concat()));
    }
    frame.put_slice(body);
    frame
}

/// A request to put a key and a value of any size, as a client sends it that checks neither.
fn unchecked_put(id: u64, key: &[u8], value: &[u8]) -> BytesMut {
    let byte_string = |bytes: &[u8], body: &mut BytesMut| {
        body.put_u32_le(u32::try_from(bytes.len()).unwrap());
        body.put_slice(bytes);
    };
    let mut body = BytesMut::new();
    id.encode(&mut body);
    body.put_slice(&[0, 0]); // to execute a batch
    body.put_u32_le(0); // of no conditions
    body.put_u32_le(1); // and one command
    body.put_u8(1); // a put
    byte_string(key, &mut body);
    byte_string(value, &mut body);
    body.put_u8(0); // without an end
    RequestOptions::default().encode(&mut body);
    frame(PROTOCOL_VERSION, REQUEST, &body)
}

/// The reason that the server gives before it closes the connection.
fn refusal(connection: &mut RawConnection) -> (RefusalCode, String) {
    let Some(ServerToClient::Refusal(refusal)) = connection.receive() else {
        panic!("it gave no reason");
    };
    assert_eq!(connection.receive(), None, "it did not close the connection");
    assert_eq!(refusal.message.lines().count(), 1, "{refusal}");
    (refusal.code, refusal.message)
}

fn refused(site: &Site, bytes: &[u8]) -> (RefusalCode, String) {
    let mut connection = RawConnection::open(site.address(1));
    connection.send_bytes(bytes);
    connection.end();
    let refusal = refusal(&mut connection);
    assert_eq!(site.run("1 put x 1"), "ok");
    refusal
}

#[test]
fn garbage_is_refused_before_and_after_the_hello() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: kv\r\n\r\n"[..], "over the limit of 4096"),
        (
            &[20, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20][..],
            "checksum is wrong",
        ),
        (&[0, 0, 0, 0][..], "not well formed"),
        (&frame(PROTOCOL_VERSION, HELLO, b"no hello")[..], "not well formed"),
        (
            &frame(PROTOCOL_VERSION, 200, b"")[..],
            "a connection begins with a hello, not a message of kind 200",
        ),
        (&unchecked_put(1, b"k", b"v")[..], "a connection begins with a hello"),
    ] {
        let (code, message) = refused(&site, bytes);
        assert_eq!(code, RefusalCode::Malformed, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let mut client = RawConnection::client(site.address(1));
    client.send_bytes(&[0xff; 64]);
    assert_eq!(refusal(&mut client).0, RefusalCode::Malformed);
    assert_eq!(site.run("1 get x"), "1");
}

#[test]
fn a_length_of_a_gigabyte_is_refused_at_once() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    let length = (1_u32 << 30).to_le_bytes();
    let (code, message) = refused(&site, &length);
    assert_eq!(code, RefusalCode::Malformed);
    let expected = "a frame of 1073741824 bytes is over the limit of 4096";
    assert!(message.starts_with(expected), "{message}");

    let mut client = RawConnection::client(site.address(1));
    client.send_bytes(&length);
    let expected = "a frame of 1073741824 bytes is over the limit of 33554432";
    assert!(refusal(&mut client).1.starts_with(expected));
}

#[test]
fn a_frame_that_is_never_finished_keeps_nobody_from_being_served() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    let mut clients = [(); 20].map(|()| RawConnection::client(site.address(1)));
    let large = unchecked_put(1, b"k", &vec![1; FRAME_LEN_MAX - 1000]);
    for client in &mut clients {
        client.send_bytes(large.get(..1000).unwrap());
    }
    let _silent = [(); 20].map(|()| RawConnection::open(site.address(1)));
    assert_eq!(site.run("1 put x 1"), "ok");
    for mut client in clients {
        client.end();
        assert!(!matches!(client.receive(), Some(ServerToClient::Response(_))));
    }
    assert_eq!(site.run("1 get x"), "1");
}

#[test]
fn a_client_of_another_protocol_version_is_told_both_versions() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    let later = PROTOCOL_VERSION + 1;
    for (theirs, upgrade) in
        [(1, "upgrade that program"), (2, "upgrade that program"), (later, "upgrade this server")]
    {
        // What else it says cannot be known.
        let (code, message) = refused(&site, &frame(theirs, HELLO, b"hello from elsewhere"));
        assert_eq!(code, RefusalCode::Version);
        let expected = format!(
            "this server speaks protocol version {PROTOCOL_VERSION}, not {theirs}: use programs of \
             one release ({upgrade})"
        );
        assert_eq!(message, expected);
    }
}

#[test]
fn a_server_of_another_protocol_version_is_understood_by_the_client() {
    let site = Site::of(1);
    let listener = TcpListener::bind(site.address(1)).unwrap();
    let mut refusal = BytesMut::from(&[1][..]);
    "use a client of release 9".to_owned().encode(&mut refusal);
    let mut client = site.client("1 get x");
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&frame(9, REFUSAL, &refusal)).unwrap();
    client.wait_for_error("server 1 refuses this client: use a client of release 9");
    drop((stream, listener));
    assert_eq!(client.exit_code(), Some(4), "{}", client.report());
}

#[test]
fn a_server_refused_by_one_of_the_release_before_says_so_on_its_screen() {
    let site = Site::of(2);
    let listener = TcpListener::bind(site.address(1)).unwrap();
    let why = "this server speaks protocol version 2, not 3: upgrade this server";
    let mut refusal = BytesMut::from(&[1][..]);
    why.to_owned().encode(&mut refusal);
    let mut server = site.server("2 linearizability 2 2");
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0; 6];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello[4..], [PROTOCOL_VERSION, HELLO]);
    stream.write_all(&frame(2, REFUSAL, &refusal)).unwrap();
    server.wait_for(&format!("server 1 refuses this server: {why}"));
}

#[test]
fn too_large_keys_and_values_are_refused_and_the_connection_kept() {
    let site = Site::of(2);
    let _servers = site.ready_servers(["1 eventual 2 2", "2 eventual 2 2"]);
    let mut client = RawConnection::client(site.address(1));
    for (id, key, value, expected) in [
        (1, Key::LEN_MAX + 1, 1, "key of 65537 is over the limit of 65536"),
        (2, 1, Value::LEN_MAX + 1, "value of 16777217 is over the limit of 16777216"),
        (3, 0, 1, "it is empty"),
    ] {
        client.send_bytes(&unchecked_put(id, &vec![b'k'; key], &vec![b'v'; value]));
        let Some(ServerToClient::Response(response)) = client.receive() else {
            panic!("it did not answer");
        };
        assert_eq!(response.id, id);
        let ResponseBody::Malformed(why) = response.body else {
            panic!("not refused: {response:?}");
        };
        assert!(why.contains(expected), "{why}");
        assert_eq!(why.lines().count(), 1, "{why}");
    }
    let op = Operation::get(Key::new("k").unwrap());
    client.request(4, RequestBody::Execute { op, options: RequestOptions::default() });
    let answer = client.receive();
    assert!(
        matches!(&answer, Some(ServerToClient::Response(response)) if response.id == 4),
        "the connection was not kept: {answer:?}"
    );
}

#[test]
fn a_frame_over_the_limit_ends_the_connection_with_a_reason() {
    let site = Site::of(1);
    let server = site.ready_server("1");
    let mut client = RawConnection::client(site.address(1));
    let put = unchecked_put(1, b"k", &vec![b'v'; FRAME_LEN_MAX]);
    // Far more than the server reads before it refuses: the reason must arrive all the same.
    client.send_bytes(put.get(..4_000_000).unwrap());
    let (_, message) = refusal(&mut client);
    assert!(message.contains("over the limit of 33554432: send less at once"), "{message}");
    assert_eq!(site.run("1 put x 1"), "ok");
    assert!(server.lines(Stream::Err).iter().all(|line| !line.contains("panicked")));
}
