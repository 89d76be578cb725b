//! Lines of the log of operations on their way to the file.

use kv_core::Value;

/// Whole lines. A large value stays as it came until the file is written: to escape it takes time
/// that the driver does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpLogText {
    text: Vec<u8>,
    /// Large values, each with where in the text the end of its line is.
    large: Vec<(usize, Value)>,
}

impl OpLogText {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), large: Vec::new() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// How many bytes it holds, those of large values as they came.
    pub(crate) fn size(&self) -> usize {
        let large = self.large.iter().map(|(_, value)| value.as_bytes().len());
        self.text.len() + large.sum::<usize>()
    }

    /// The text up to the end of a line with a large value, that value, and so on; what follows the
    /// last one. The ends of those lines are left out.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&[u8], Option<&Value>)> {
        let ends = self.large.iter().map(|(end, value)| (*end, Some(value)));
        let mut begin = 0;
        ends.chain([(self.text.len(), None)]).map(move |(end, value)| {
            let piece = self.text.get(begin..end).unwrap_or_default();
            begin = end + 1;
            (piece, value)
        })
    }

    /// Appends bytes as they are.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    /// Appends a number in decimal digits.
    pub(crate) fn put_number(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends bytes so that a line stays a line and a column a column.
    pub(crate) fn put_escaped(&mut self, bytes: &[u8]) {
        escape(bytes, &mut self.text);
    }

    /// Appends a value that is the last of its line, and ends the line.
    pub(crate) fn end_line_with(&mut self, value: &Value) {
        if value.as_bytes().len() < LARGE_BYTES {
            self.put_escaped(value.as_bytes());
        } else {
            self.large.push((self.text.len(), value.clone()));
        }
        self.put(b"\n");
    }

    /// Appends lines.
    pub(crate) fn append(&mut self, later: &Self) {
        let offset = self.text.len();
        self.text.extend_from_slice(&later.text);
        let large = later.large.iter();
        self.large.extend(large.map(|(end, value)| (offset + end, value.clone())));
    }

    /// Forgets all lines, and keeps the memory for as many as are usual.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.large.clear();
    }
}

/// Appends bytes to `text`: printable ASCII as it is, everything else, and comma, quote and
/// backslash, as `\xNN`.
pub(crate) fn escape(bytes: &[u8], text: &mut Vec<u8>) {
    let (chunks, rest) = bytes.as_chunks::<CHUNK_BYTES>();
    for chunk in chunks {
        // Of a fixed length and without branches, so that the compiler looks at many at once.
        if chunk.iter().fold(0, |any, byte| any | is_odd(*byte)) == 0 {
            text.extend_from_slice(chunk);
        } else {
            escape_each(chunk, text);
        }
    }
    escape_each(rest, text);
}

fn escape_each(bytes: &[u8], text: &mut Vec<u8>) {
    for byte in bytes {
        if is_odd(*byte) == 0 {
            text.push(*byte);
        } else {
            text.extend_from_slice(&[b'\\', b'x', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
}

/// 1 for a byte that is escaped, 0 for one that stays.
fn is_odd(byte: u8) -> u8 {
    let unprintable = byte.wrapping_sub(b' ') > b'~' - b' ';
    u8::from(unprintable)
        | u8::from(byte == b',')
        | u8::from(byte == b'"')
        | u8::from(byte == b'\\')
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// From this size on a value is escaped by whoever writes the file.
const LARGE_BYTES: usize = 4 << 10;

/// How much memory is kept for later lines.
const KEPT_BYTES: usize = 1 << 20;

/// How many bytes are looked at in one go.
const CHUNK_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        escape(bytes, &mut text);
        text
    }

    #[test]
    fn exactly_the_bytes_that_would_break_a_line_or_a_column_are_escaped() {
        for byte in 0..=u8::MAX {
            let stays = matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'"' | b'\\');
            let expected = if stays { vec![byte] } else { format!("\\x{byte:02x}").into_bytes() };
            assert_eq!(escaped(&[byte]), expected);
        }
        let long = [vec![b'a'; CHUNK_BYTES], vec![b'\n'], vec![b'b'; CHUNK_BYTES]].concat();
        let expected = ["a".repeat(CHUNK_BYTES), "b".repeat(CHUNK_BYTES)].join("\\x0a");
        assert_eq!(escaped(&long), expected.into_bytes());
    }

    #[test]
    fn large_values_are_kept_as_they_came_and_in_order() {
        let large = Value::new(vec![b','; LARGE_BYTES]).unwrap();
        let mut first = OpLogText::default();
        first.put(b"a,");
        first.end_line_with(&Value::new(",").unwrap());
        let mut second = OpLogText::default();
        second.put(b"b,");
        second.end_line_with(&large);
        second.put(b"c\n");
        first.append(&second);

        assert_eq!(first.size(), b"a,\\x2c\nb,\nc\n".len() + LARGE_BYTES);
        let pieces: Vec<_> = first.pieces().collect();
        assert_eq!(pieces, [(&b"a,\\x2c\nb,"[..], Some(&large)), (&b"c\n"[..], None)]);
    }
}
