//! Apache's `$apr1$`: the MD5 crypt of FreeBSD with a mark of its own. What `htpasswd` without options and
//! `openssl passwd -apr1` write. No maintained crate has it.

use md5::{Digest, Md5};

/// How such a hash begins.
pub(super) const MARK: &str = "$apr1$";
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ROUNDS: u32 = 1000;

/// The hash of a password, with mark and salt.
pub(super) fn hash(password: &[u8], salt: &str) -> String {
    let salt_bytes = salt.as_bytes();
    let mixed = Md5::new().chain_update(password).chain_update(salt_bytes).chain_update(password).finalize();

    let mut first = Md5::new().chain_update(password).chain_update(MARK).chain_update(salt_bytes);
    for start in (0..password.len()).step_by(16) {
        first.update(&mixed[..(password.len() - start).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        // Kept as it was written in 1994: a zero byte for each one, the first letter for each zero.
        if bits & 1 == 1 {
            first.update([0])
        } else {
            first.update(&password[..1])
        }
        bits >>= 1;
    }
    let mut state = first.finalize();

    for round in 0..ROUNDS {
        let mut next = Md5::new();
        if round % 2 == 1 {
            next.update(password)
        } else {
            next.update(state)
        }
        if round % 3 != 0 {
            next.update(salt_bytes);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round % 2 == 1 {
            next.update(state)
        } else {
            next.update(password)
        }
        state = next.finalize();
    }
    format!("{MARK}{salt}${}", encoded(&state.into()))
}

/// Sixteen bytes as 22 letters, in the order of MD5 crypt.
fn encoded(state: &[u8; 16]) -> String {
    let mut text = String::with_capacity(22);
    let mut push = |mut bits: u32, letters: u32| {
        for _ in 0..letters {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let byte = |index: usize| u32::from(state[index]);
        push(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push(u32::from(state[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl passwd -apr1`.
    #[test]
    fn it_agrees_with_openssl() {
        assert_eq!(hash(b"password", "RandSalt"), "$apr1$RandSalt$PgCXHRrkpSt4cbyC2C6bm/");
    }
}
