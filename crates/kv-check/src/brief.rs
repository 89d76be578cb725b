//! Values as findings show them.

use std::fmt;

use kv_core::Value;

/// A value of which no more than the first [`BYTES_MAX`] bytes are shown, with how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief<'a>(pub(crate) &'a Value);

/// `b"v17"` or `b"v18............."... (200 bytes)`
impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        match bytes.get(..BYTES_MAX).filter(|_| bytes.len() > BYTES_MAX) {
            None => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Some(first) => {
                write!(f, "b\"{}\"... ({} bytes)", first.escape_ascii(), bytes.len())
            }
        }
    }
}

const BYTES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        let text = |value: &[u8]| Brief(&Value::new(value.to_vec()).unwrap()).to_string();
        assert_eq!(text(b"v17"), r#"b"v17""#);
        assert_eq!(text(b"0123456789abcdef"), r#"b"0123456789abcdef""#);
        assert_eq!(text(b"0123456789abcdefg"), r#"b"0123456789abcdef"... (17 bytes)"#);
        assert_eq!(text(b"\0\xff"), r#"b"\x00\xff""#);
    }
}
