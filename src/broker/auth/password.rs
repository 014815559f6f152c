//! Passwords as salted hashes, in the form that RabbitMQ's definitions carry: base64 of a 4-byte
//! salt followed by the digest of salt and password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use rand::RngCore;
use sha2::{Digest, Sha256, Sha512};

const SALT_LEN: usize = 4;

/// A digest that definitions may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashingAlgorithm {
    Sha256,
    Sha512,
    /// Only to let in users of old definitions.
    Md5,
}

impl HashingAlgorithm {
    /// The name that definitions use for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512, Self::Md5].into_iter().find(|known| known.name() == name)
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => {
                Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec()
            }
            Self::Sha512 => {
                Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec()
            }
            Self::Md5 => Md5::new().chain_update(salt).chain_update(password).finalize().to_vec(),
        }
    }
}

/// A password that can be checked but not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordHash {
    algorithm: HashingAlgorithm,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl PasswordHash {
    /// Hashes a password with a new salt.
    pub fn of(password: &str) -> Self {
        let mut salt = vec![0; SALT_LEN];
        rand::rng().fill_bytes(&mut salt);
        let algorithm = HashingAlgorithm::Sha256;
        let digest = algorithm.digest(&salt, password.as_bytes());
        Self { algorithm, salt, digest }
    }

    /// Lets nobody in.
    pub fn none() -> Self {
        Self { algorithm: HashingAlgorithm::Sha256, salt: Vec::new(), digest: Vec::new() }
    }

    /// Reads the form of the definitions. An empty hash lets nobody in.
    pub fn parse(encoded: &str, algorithm: HashingAlgorithm) -> Option<Self> {
        let mut salt = STANDARD.decode(encoded).ok()?;
        let digest = if salt.len() >= SALT_LEN { salt.split_off(SALT_LEN) } else { Vec::new() };
        Some(Self { algorithm, salt, digest })
    }

    /// The form of the definitions.
    pub fn encoded(&self) -> String {
        STANDARD.encode([self.salt.as_slice(), &self.digest].concat())
    }

    pub fn algorithm(&self) -> HashingAlgorithm {
        self.algorithm
    }

    /// Whether this is the password. Takes as long for a wrong one.
    pub fn accepts(&self, password: &str) -> bool {
        let digest = self.algorithm.digest(&self.salt, password.as_bytes());
        digest.len() == self.digest.len()
            && digest.iter().zip(&self.digest).fold(0, |difference, (a, b)| difference | (a ^ b))
                == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_accepts_its_password_and_no_other() {
        let hash = PasswordHash::of("secret");
        assert!(hash.accepts("secret"));
        assert!(!hash.accepts("Secret"));
        assert!(!hash.accepts(""));
    }

    #[test]
    fn a_hash_from_rabbitmqs_documentation_accepts_its_password() {
        // The worked example of the documentation: salt 908DC60A, password test12.
        let encoded = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
        let hash = PasswordHash::parse(encoded, HashingAlgorithm::Sha256).expect("valid");
        assert!(hash.accepts("test12"));
        assert_eq!(hash.encoded(), encoded);
    }

    #[test]
    fn an_empty_hash_lets_nobody_in() {
        let hash = PasswordHash::parse("", HashingAlgorithm::Sha256).expect("valid");
        assert!(!hash.accepts(""));
    }
}
