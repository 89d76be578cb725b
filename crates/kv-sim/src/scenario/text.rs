//! Scenarios as a person reads them, and as files.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use bytes::Bytes;
use kv_core::{DecodeError, Wire};

use super::{Ease, Scenario};

/// Why a text is no scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// It does not begin as one.
    #[error("this is no scenario: the first line that is no comment must be `{HEADER}`")]
    NoHeader,
    /// A line is not what it should be.
    #[error("line {line} is no line of hexadecimal digits: the file was changed or cut off")]
    NotHexadecimal {
        /// Which line, from 1.
        line: usize,
    },
    /// The digits mean nothing.
    #[error("the file was changed or cut off, or another version of kv-sim wrote it: {0}")]
    Damaged(#[from] DecodeError),
}

impl Scenario {
    /// The scenario as the text of a file: comments for a person, then what [`from_str`] reads.
    ///
    /// [`from_str`]: FromStr::from_str
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for line in self.to_string().lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "{HEADER}");
        for line in self.to_bytes().chunks(BYTES_A_LINE) {
            for byte in line {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        text
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let mut lines = lines;
        if lines.next().is_none_or(|(_, line)| line.trim() != HEADER) {
            return Err(ScenarioError::NoHeader);
        }
        let mut bytes = Vec::new();
        for (line, digits) in lines {
            let not_hexadecimal = ScenarioError::NotHexadecimal { line };
            bytes.extend(bytes_of(digits.trim()).ok_or(not_hexadecimal)?);
        }
        Ok(Self::from_bytes(Bytes::from(bytes))?)
    }
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs.map(byte).collect()
}

/// `N=3 W=2 R=2, seed 7`, and one line for each act.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, nodes, write, read, seed, eased, acts, .. } = self;
        write!(f, "N={nodes} W={write} R={read}, seed {seed}")?;
        let plain = [
            (Ease::Network, "the network"),
            (Ease::Disks, "the disks"),
            (Ease::Processing, "the servers' pace"),
            (Ease::Limits, "the bounds"),
        ];
        let drawn = plain.iter().filter(|(ease, _)| !eased.contains(ease));
        for (place, (_, what)) in drawn.enumerate() {
            match place {
                0 => write!(f, "; as in seed {plan}: {what}")?,
                _ => write!(f, ", {what}")?,
            }
        }
        acts.iter().try_for_each(|act| write!(f, "\n  {act}"))
    }
}

const HEADER: &str = "kv-sim scenario 1";
const BYTES_A_LINE: usize = 48;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{Key, NodeId, Operation, RequestOptions, Value};

    use super::*;
    use crate::fault::Fault;
    use crate::injection::Injection;
    use crate::scenario::Act;
    use crate::server::clock::WallOffset;

    fn scenario() -> Scenario {
        let node = NodeId::FIRST;
        let offset = WallOffset::Behind(Duration::from_millis(3));
        let jump = Injection::SetClock { kind: Fault::ClockJump, node, offset };
        let put = Operation::put(Key::new("k").unwrap(), Value::new("v").unwrap());
        Scenario {
            plan: 7,
            nodes: 3,
            write: 2,
            read: 2,
            seed: 9,
            eased: vec![Ease::Links, Ease::Network, Ease::Limits],
            acts: vec![
                Act::Wait { time: Duration::from_millis(2_500) },
                Act::Begin { fault: 4, injection: jump },
                Act::Ask {
                    client: 1,
                    server: node,
                    op: put,
                    options: RequestOptions::default(),
                    names: Vec::new(),
                },
                Act::End { fault: 4 },
            ],
            late_cancels: vec![(1, 2)],
        }
    }

    #[test]
    fn a_scenario_is_read_from_its_text() {
        let text = scenario().to_text();
        assert_eq!(text.parse(), Ok(scenario()));
        assert!(
            text.starts_with(
                "# N=3 W=2 R=2, seed 9; as in seed 7: the disks, the servers' pace\n\
                 #   wait 2.5s\n\
                 #   fault 4: clock jump: server 1's wall clock is 3ms behind\n\
                 #   client 1 asks server 1: put b\"k\" b\"v\"\n\
                 #   fault 4 ends\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_text_that_was_changed_is_refused() {
        let text = scenario().to_text();
        assert_eq!("".parse::<Scenario>(), Err(ScenarioError::NoHeader));
        let cut = text.trim_end().rsplit_once('\n').unwrap().0;
        assert!(matches!(cut.parse::<Scenario>(), Err(ScenarioError::Damaged(_))), "{cut}");
        let odd = format!("{text}0");
        let lines = text.lines().count();
        assert_eq!(odd.parse::<Scenario>(), Err(ScenarioError::NotHexadecimal { line: lines + 1 }));
    }
}
