//! The log of operations as a program would read it.

use std::path::Path;

/// A line of `output_log<ID>.txt`: `1,0,put,x,1460490249593,req,1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpLogLine {
    /// The server.
    pub server: u16,
    /// The client's number on it.
    pub client: u64,
    /// What was done, such as `get`.
    pub operation: String,
    /// To which key, as it stands there.
    pub key: String,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Whether it began or how it ended.
    pub event: OpLogEvent,
    /// The value, as it stands there.
    pub value: String,
}

/// Whether an operation began or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpLogEvent {
    /// It began.
    Req,
    /// It was done.
    Resp,
    /// It definitely was not done.
    Fail,
    /// That is not known.
    Info,
}

impl OpLogLine {
    /// Reads a line; `None` if it does not have exactly this form.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let columns: Vec<&str> = line.split(',').collect();
        let [server, client, operation, key, wall_ms, event, value] = columns[..] else {
            return None;
        };
        Some(Self {
            server: server.parse().ok()?,
            client: client.parse().ok()?,
            operation: operation.to_owned(),
            key: key.to_owned(),
            wall_ms: wall_ms.parse().ok().filter(|_| wall_ms.len() == 13)?,
            event: match event {
                "req" => OpLogEvent::Req,
                "resp" => OpLogEvent::Resp,
                "fail" => OpLogEvent::Fail,
                "info" => OpLogEvent::Info,
                _ => return None,
            },
            value: value.to_owned(),
        })
    }

    /// The line without its time and its server, which a test cannot foresee or knows.
    #[must_use]
    pub fn gist(&self) -> String {
        let Self { client, operation, key, event, value, .. } = self;
        let event = match event {
            OpLogEvent::Req => "req",
            OpLogEvent::Resp => "resp",
            OpLogEvent::Fail => "fail",
            OpLogEvent::Info => "info",
        };
        format!("{client},{operation},{key},{event},{value}")
    }
}

/// Reads a log of operations.
///
/// # Panics
/// If the file cannot be read, does not end with a line's end, or a line is not as it should be.
#[must_use]
pub fn read_op_log(path: &Path) -> Vec<OpLogLine> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "half a line at the end of:\n{text}");
    let parse = |line| OpLogLine::parse(line).unwrap_or_else(|| panic!("`{line}` in:\n{text}"));
    // Whose the log is, where a server started again, and what was sent before.
    let remarks = ["# data: ", "# cluster: ", "# started", "# repeated"];
    let is_remark = |line: &&str| remarks.iter().any(|remark| line.starts_with(remark));
    text.lines().filter(|line| !is_remark(line)).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_asked_form_are_read_and_others_are_not() {
        let line = OpLogLine::parse("1,0,put,x,1460490249593,req,1").unwrap();
        assert_eq!((line.server, line.wall_ms), (1, 1_460_490_249_593));
        assert_eq!(line.gist(), "0,put,x,req,1");
        assert!(OpLogLine::parse("1,0,get,x,1460490249593,resp,").is_some());
        for other in [
            "",
            "1,0,put,x,1460490249593,req",
            "1,0,put,x,1460490249593,req,1,2",
            "1,0,put,x,1460490249593,done,1",
            "1,0,put,x,1460490249,req,1",
            "x,0,put,x,1460490249593,req,1",
        ] {
            assert_eq!(OpLogLine::parse(other), None, "{other}");
        }
    }
}
