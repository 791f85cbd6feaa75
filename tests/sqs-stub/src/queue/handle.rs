//! Receipt handles: opaque, another one for each receive, and told from garbage.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// SQS's handles begin so.
const PREFIX: &str = "AQEB";

/// Which receive of which message a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receive {
    /// The message's place in its queue.
    pub(super) message: usize,
    /// The how many-th receive of it, from 1.
    pub(super) receive: u32,
}

impl Receive {
    /// Hides the numbers, so that no client comes to rely on them; the key tells queues apart.
    pub(super) fn encode(self, key: u64) -> String {
        let message = u64::try_from(self.message).unwrap_or(u64::MAX);
        let nonce = mix(key ^ mix(message) ^ u64::from(self.receive));
        let check = mix(nonce ^ message ^ key);
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(&nonce.to_be_bytes());
        bytes[8..16].copy_from_slice(&(message ^ mix(nonce)).to_be_bytes());
        bytes[16..20].copy_from_slice(&self.receive.to_be_bytes());
        bytes[20..].copy_from_slice(&check.to_be_bytes());
        for (byte, mask) in bytes[16..20].iter_mut().zip(mix(!nonce).to_be_bytes()) {
            *byte ^= mask;
        }
        let mut handle = PREFIX.to_owned();
        STANDARD.encode_string(bytes, &mut handle);
        handle
    }

    /// `None` for what this key has not made.
    pub(super) fn decode(handle: &str, key: u64) -> Option<Self> {
        let bytes: [u8; 28] =
            STANDARD.decode(handle.strip_prefix(PREFIX)?).ok()?.try_into().ok()?;
        let word = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let nonce = word(0)?;
        let message = word(8)? ^ mix(nonce);
        let mut receive: [u8; 4] = bytes[16..20].try_into().ok()?;
        for (byte, mask) in receive.iter_mut().zip(mix(!nonce).to_be_bytes()) {
            *byte ^= mask;
        }
        let decoded =
            Self { message: message.try_into().ok()?, receive: u32::from_be_bytes(receive) };
        (decoded.encode(key) == handle).then_some(decoded)
    }
}

/// `SplitMix64`'s finaliser: every bit of the result depends on every bit of the input.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_handle_is_read_by_its_own_key_only(message in 0_usize..1 << 40, receive: u32, key: u64, other: u64) {
            prop_assume!(key != other);
            let made = Receive { message, receive };
            let handle = made.encode(key);
            prop_assert_eq!(Receive::decode(&handle, key), Some(made));
            prop_assert_eq!(Receive::decode(&handle, other), None);
        }

        #[test]
        fn garbage_is_no_handle(garbage in ".{0,60}", key: u64) {
            prop_assert_eq!(Receive::decode(&garbage, key), None);
            prop_assert_eq!(Receive::decode(&format!("AQEB{garbage}"), key), None);
        }
    }
}
