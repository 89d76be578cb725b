//! A connection of a Redis client, to see each byte of the replies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use kv_tests::PATIENCE;
use redis_protocol::resp2::decode::decode_range as decode_resp2;
use redis_protocol::resp3::decode::complete::decode_range as decode_resp3;

/// The words of a command.
pub(crate) type Words = Vec<Vec<u8>>;

/// A connection that sends commands and reads replies.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
    /// Whether replies are those of RESP3.
    is_resp3: bool,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new(), is_resp3: false }
    }

    /// From here on replies are those of RESP3.
    pub(crate) fn switch_to_resp3(&mut self) {
        self.send_raw(b"HELLO 3\r\n");
        self.is_resp3 = true;
        assert!(self.reply().starts_with(b"%7\r\n"));
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, commands: &[Words]) {
        let mut bytes = Vec::new();
        for words in commands {
            write!(bytes, "*{}\r\n", words.len()).unwrap();
            for word in words {
                write!(bytes, "${}\r\n", word.len()).unwrap();
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.send_raw(&bytes);
    }

    /// The bytes of the next reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(len) = self.reply_len() {
                return self.read.drain(..len).collect();
            }
            let mut part = [0; 16 << 10];
            let count = self.stream.read(&mut part).unwrap();
            assert!(count > 0, "closed behind {:?}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&part[..count]);
        }
    }

    fn reply_len(&self) -> Option<usize> {
        if self.is_resp3 {
            decode_resp3(&self.read).unwrap().map(|(_, len)| len)
        } else {
            decode_resp2(&self.read).unwrap().map(|(_, len)| len)
        }
    }

    /// Carries out a command given as a line without quotes.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.send(&[words(line)]);
        String::from_utf8(self.reply()).unwrap()
    }

    /// Everything that comes until the server closes the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.read);
        self.stream.read_to_end(&mut rest).unwrap();
        String::from_utf8(rest).unwrap()
    }

    /// Tells the server that nothing more is sent.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// A line's words.
pub(crate) fn words(line: &str) -> Words {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}
