//! A secret's value in memory: erased when it goes, and shown by nothing.
use std::fmt;

use zeroize::Zeroizing;

pub(crate) struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    /// CRC32C, as an answer carries it: <https://cloud.google.com/secret-manager/docs/data-integrity>
    pub(super) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_by_nothing() {
        let bytes = SecretBytes::new(b"123456789".to_vec());
        assert_eq!(format!("{bytes:?} {:?}", Some(&bytes)), "SecretBytes(..) Some(SecretBytes(..))");
        // The check value of CRC-32C: https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-32-iscsi
        assert_eq!(bytes.checksum(), 0xe306_9283);
    }
}
