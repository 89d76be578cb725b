//! The lines of a trace that somebody wants to see.

use std::collections::BTreeSet;

use super::args::SweepArgs;

/// Says of one line after the other whether it is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct TraceFilter {
    server: Option<u16>,
    /// The key as lines name it.
    key: Option<String>,
    from: Option<f64>,
    until: Option<f64>,
    /// The requests that named the key.
    requests: BTreeSet<u64>,
}

impl TraceFilter {
    pub(super) fn new(args: &SweepArgs) -> Self {
        let key = args.trace_key.as_ref();
        Self {
            server: args.trace_server,
            key: key.map(|key| format!("b\"{}\"", key.as_bytes().escape_ascii())),
            from: args.trace_from,
            until: args.trace_until,
            requests: BTreeSet::new(),
        }
    }

    /// A line is a time in seconds, a server or `*` for none, and what happens.
    pub(super) fn shows(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        let at = words.next().and_then(|word| word.parse::<f64>().ok());
        let server = words.next().and_then(|word| word.parse::<u16>().ok());
        let names_key = self.names_key(line);
        names_key
            && self.server.is_none_or(|wanted| server == Some(wanted))
            && self.from.is_none_or(|from| at.is_some_and(|at| at >= from))
            && self.until.is_none_or(|until| at.is_some_and(|at| at <= until))
    }

    /// Whether a line names the key, or a request that named it before.
    fn names_key(&mut self, line: &str) -> bool {
        let Some(key) = &self.key else {
            return true;
        };
        let request = request_of(line);
        let names_it = line.contains(key.as_str());
        if let Some(request) = request.filter(|_| names_it) {
            self.requests.insert(request);
        }
        names_it || request.is_some_and(|request| self.requests.contains(&request))
    }
}

/// The request that a line is about.
pub(super) fn request_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" request ")?;
    rest.split([':', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 5] = [
        "    0.500000  1 <- request 7: put b\"k1\" b\"v1\", RequestOptions { .. }",
        "    0.600000  1 <- request 8: get b\"k2\", RequestOptions { .. }",
        "    0.700000  1 -> reply to request 7: Done(..)",
        "    0.800000  2 crashes",
        "    0.900000  * all faults have ended",
    ];

    fn shown(filter: &TraceFilter) -> Vec<usize> {
        let mut filter = filter.clone();
        (0..LINES.len()).filter(|place| filter.shows(LINES[*place])).collect()
    }

    #[test]
    fn a_trace_is_filtered_by_server_key_and_time() {
        let all = TraceFilter::default();
        assert_eq!(shown(&all), [0, 1, 2, 3, 4]);
        assert_eq!(shown(&TraceFilter { server: Some(2), ..all.clone() }), [3]);
        let key = Some("b\"k1\"".to_owned());
        assert_eq!(shown(&TraceFilter { key: key.clone(), ..all.clone() }), [0, 2]);
        // Requests are noted also where their lines are not shown.
        assert_eq!(shown(&TraceFilter { key, from: Some(0.65), ..all.clone() }), [2]);
        assert_eq!(shown(&TraceFilter { until: Some(0.6), ..all }), [0, 1]);
    }
}
