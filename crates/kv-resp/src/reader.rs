//! Requests out of bytes: arrays of bulk strings, and lines.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use kv_core::parse_integer;

use crate::line::split_line;

/// Reads requests as they come in, several to a read and one over several reads.
///
/// The words of a request share the memory that they were read into.
#[derive(Debug, Default)]
pub struct RequestReader {
    /// Of the request that is incomplete.
    begun: Option<Begun>,
    /// Where its bulk strings are that have come.
    ranges: Vec<Range<usize>>,
    /// Up to where the front line was searched for its end.
    searched: usize,
}

/// An array of which not all bulk strings have come.
#[derive(Debug)]
struct Begun {
    /// How many bulk strings are missing.
    missing: usize,
    /// How much of the input is read.
    position: usize,
    /// The length of the bulk string at `position`, once that is known.
    bulk_len: Option<usize>,
}

/// Why the input is no request. Nothing after it can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number of bulk strings is no number or too large.
    #[error("invalid multibulk length")]
    ArrayLength,
    /// The length of a bulk string is no number or too large.
    #[error("invalid bulk length")]
    BulkLength,
    /// Something else stands where a bulk string should begin.
    #[error("expected '$', got '{}'", char::from(*.got))]
    NoBulk {
        /// Its first byte.
        got: u8,
    },
    /// A line has no end.
    #[error("too big mbulk count string")]
    ArrayLine,
    /// A line has no end.
    #[error("too big bulk count string")]
    BulkLine,
    /// A line has no end.
    #[error("too big inline request")]
    Inline,
    /// A quote is not closed.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// A request takes more memory than any may.
    #[error("too big request: at most {max} bytes are allowed", max = RequestReader::BYTES_MAX)]
    TooLarge,
}

impl RequestReader {
    /// The most bytes of a bulk string: what a value may have (Redis's `proto-max-bulk-len`).
    pub const BULK_BYTES_MAX: usize = kv_core::Value::LEN_MAX;

    /// The most bulk strings of a request, as in Redis.
    pub const WORDS_MAX: usize = 1 << 20;

    /// The most bytes of a request.
    pub const BYTES_MAX: usize = 64 << 20;

    /// Moves the words of the next request into `words`; false if it has not come whole.
    ///
    /// Empty requests are passed over.
    ///
    /// # Errors
    /// [`ProtocolError`] if this is no request; called again, it finds the same.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        words: &mut Vec<Bytes>,
    ) -> Result<bool, ProtocolError> {
        words.clear();
        words.shrink_to(WORDS_KEPT);
        loop {
            if self.begun.is_none() {
                let Some(first) = input.first() else {
                    return Ok(false);
                };
                let began = if *first == b'*' {
                    self.begin_array(input)?
                } else {
                    self.take_line(input, words)?
                };
                match began {
                    Progress::Incomplete => return Ok(false),
                    Progress::Whole if !words.is_empty() => return Ok(true),
                    Progress::Whole => {}
                }
                continue;
            }
            let Some(begun) = &mut self.begun else {
                return Ok(false);
            };
            if !begun.read(input, &mut self.ranges)? {
                return Ok(false);
            }
            let frame = input.split_to(begun.position).freeze();
            words.extend(self.ranges.drain(..).map(|range| frame.slice(range)));
            self.ranges.shrink_to(WORDS_KEPT);
            self.begun = None;
            return Ok(true);
        }
    }

    /// How many bytes the request at the front of the input has at least, once that is known.
    #[must_use]
    pub fn announced_len(&self) -> Option<usize> {
        let begun = self.begun.as_ref()?;
        Some(begun.position + begun.bulk_len? + LINE_END.len())
    }

    fn begin_array(&mut self, input: &mut BytesMut) -> Result<Progress, ProtocolError> {
        let Some(line) = find_line(input, 0, ProtocolError::ArrayLine)? else {
            return Ok(Progress::Incomplete);
        };
        let count = input.get(1..line).and_then(parse_integer);
        let count = count.ok_or(ProtocolError::ArrayLength)?;
        if count <= 0 {
            // Redis takes an array of less than nothing for an empty one.
            let _ = input.split_to(line + LINE_END.len());
            return Ok(Progress::Whole);
        }
        let missing = usize::try_from(count).ok().filter(|count| *count <= Self::WORDS_MAX);
        let missing = missing.ok_or(ProtocolError::ArrayLength)?;
        self.ranges.clear();
        self.begun = Some(Begun { missing, position: line + LINE_END.len(), bulk_len: None });
        Ok(Progress::Whole)
    }

    fn take_line(
        &mut self,
        input: &mut BytesMut,
        words: &mut Vec<Bytes>,
    ) -> Result<Progress, ProtocolError> {
        let rest = input.get(self.searched..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            let is_too_long = input.len() > LINE_BYTES_MAX;
            return if is_too_long { Err(ProtocolError::Inline) } else { Ok(Progress::Incomplete) };
        };
        let end = self.searched + end;
        let text = input.get(..end).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        *words = split_line(text).ok_or(ProtocolError::Quotes)?;
        let _ = input.split_to(end + 1);
        self.searched = 0;
        Ok(Progress::Whole)
    }
}

/// What came of the front of the input.
enum Progress {
    Incomplete,
    Whole,
}

impl Begun {
    /// Reads on; true once all bulk strings are there.
    fn read(
        &mut self,
        input: &BytesMut,
        ranges: &mut Vec<Range<usize>>,
    ) -> Result<bool, ProtocolError> {
        while self.missing > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => {
                    let Some(len) = self.read_len(input)? else {
                        return Ok(false);
                    };
                    *self.bulk_len.insert(len)
                }
            };
            let end = self.position + len;
            if end + LINE_END.len() > RequestReader::BYTES_MAX {
                return Err(ProtocolError::TooLarge);
            }
            if input.len() < end + LINE_END.len() {
                return Ok(false);
            }
            ranges.push(self.position..end);
            self.position = end + LINE_END.len();
            self.bulk_len = None;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// The length of the next bulk string.
    fn read_len(&mut self, input: &BytesMut) -> Result<Option<usize>, ProtocolError> {
        let Some(line) = find_line(input, self.position, ProtocolError::BulkLine)? else {
            return Ok(None);
        };
        match input.get(self.position) {
            Some(b'$') => {}
            got => return Err(ProtocolError::NoBulk { got: got.copied().unwrap_or(b' ') }),
        }
        let len = input.get(self.position + 1..line).and_then(parse_integer);
        let len = len.and_then(|len| usize::try_from(len).ok());
        let len = len.filter(|len| *len <= RequestReader::BULK_BYTES_MAX);
        let len = len.ok_or(ProtocolError::BulkLength)?;
        self.position = line + LINE_END.len();
        Ok(Some(len))
    }
}

/// The place of the `\r` that ends the line at a place; `None` if the line has not come whole.
fn find_line(
    input: &BytesMut,
    from: usize,
    too_long: ProtocolError,
) -> Result<Option<usize>, ProtocolError> {
    let rest = input.get(from..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'\r') {
        Some(at) if at + 1 < rest.len() => Ok(Some(from + at)),
        Some(_) => Ok(None),
        None if rest.len() > LINE_BYTES_MAX => Err(too_long),
        None => Ok(None),
    }
}

const LINE_END: &[u8] = b"\r\n";

/// The longest line that is no bulk string, as in Redis.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Memory for so many words and their places is kept from request to request.
const WORDS_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(input: &[u8]) -> (Vec<Vec<Bytes>>, Option<ProtocolError>) {
        let (mut reader, mut words) = (RequestReader::default(), Vec::new());
        let (mut buffer, mut requests) = (BytesMut::new(), Vec::new());
        // Byte by byte, unless that would take long.
        for part in input.chunks(input.len().div_ceil(1000).max(1)) {
            buffer.extend_from_slice(part);
            loop {
                match reader.next(&mut buffer, &mut words) {
                    Ok(true) => requests.push(words.clone()),
                    Ok(false) => break,
                    Err(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    #[test]
    fn requests_are_arrays_or_lines_and_empty_ones_are_passed_over() {
        let input = b"\r\n*-10\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n  set \"a b\" 'c'\n*0\r\n";
        let (requests, error) = read_all(input);
        let words: &[&[&[u8]]] = &[&[b"PING"], &[b"GET", b""], &[b"set", b"a b", b"c"]];
        assert_eq!(requests, words);
        assert_eq!(error, None);
    }

    #[test]
    fn what_is_no_request_is_named_as_in_redis() {
        let long = |start: &str| [start.as_bytes(), &[b'1'; 70_000]].concat();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"*3000000000\r\n".to_vec(), "invalid multibulk length"),
            (b"*x\r\n".to_vec(), "invalid multibulk length"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n".to_vec(), "expected '$', got 'f'"),
            (b"*1\r\n$-10\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$2000000000\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$blabla\r\n".to_vec(), "invalid bulk length"),
            (b"set \"a\"b\r\n".to_vec(), "unbalanced quotes in request"),
            (long("*"), "too big mbulk count string"),
            (long("*1\r\n$"), "too big bulk count string"),
            (long("get "), "too big inline request"),
        ];
        for (input, expected) in cases {
            let (requests, error) = read_all(&input);
            assert_eq!(requests, Vec::<Vec<Bytes>>::new());
            assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(expected));
        }
    }

    #[test]
    fn memory_for_many_words_is_given_back() {
        let (mut reader, mut words) = (RequestReader::default(), Vec::new());
        let mut input = BytesMut::from("*5000\r\n");
        input.extend_from_slice(&b"$0\r\n\r\n".repeat(5000));
        assert_eq!(reader.next(&mut input, &mut words), Ok(true));
        assert_eq!(words.len(), 5000);
        assert_eq!(reader.next(&mut input, &mut words), Ok(false));
        assert!(words.capacity() < 2 * WORDS_KEPT, "{}", words.capacity());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_all(&input);
        }

        #[test]
        fn every_array_comes_back(
            requests in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5),
                0..5,
            ),
        ) {
            let mut input = Vec::new();
            for words in &requests {
                input.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
                for word in words {
                    input.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                    input.extend_from_slice(word);
                    input.extend_from_slice(b"\r\n");
                }
            }
            let (read, error) = read_all(&input);
            prop_assert_eq!(error, None);
            prop_assert_eq!(read, requests);
        }
    }
}
