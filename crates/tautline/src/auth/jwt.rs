//! Tokens that their issuer signed: JSON Web Tokens (RFC 7519).

use std::fmt;
use std::time::Duration;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation, crypto};
use serde::de::DeserializeOwned;

use super::{AuthError, Token};

/// A secret of HS256 has at least as many bytes as its hash (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;

/// The modulus of a key of RS256 has at least 2,048 bits (RFC 7518 section 3.3), and its encoding more
/// bytes than that.
const MIN_RSA_KEY: usize = 2048 / 8;

/// A key, for the one algorithm that it is made for: a token cannot choose another, nor none.
#[derive(Clone)]
pub struct JwtKey {
    algorithm: Algorithm,
    key: DecodingKey,
    id: Option<String>,
}

impl JwtKey {
    /// HMAC with SHA-256: issuer and server share this secret.
    ///
    /// # Errors
    /// [`JwtKeyError::Weak`] if it has less than 32 bytes (RFC 7518 section 3.2).
    pub fn hs256(secret: &[u8]) -> Result<Self, JwtKeyError> {
        if secret.len() < MIN_SECRET {
            return Err(JwtKeyError::Weak);
        }
        Ok(Self::new(Algorithm::HS256, DecodingKey::from_secret(secret)))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256: the issuer's public key in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError::Pem`]; [`JwtKeyError::Weak`] if it has less than 2,048 bits (RFC 7518 section
    /// 3.3).
    pub fn rs256(public_key: &[u8]) -> Result<Self, JwtKeyError> {
        let key = DecodingKey::from_rsa_pem(public_key).map_err(|_| JwtKeyError::Pem)?;
        match key.kind() {
            DecodingKeyKind::SecretOrDer(der) if der.len() < MIN_RSA_KEY => Err(JwtKeyError::Weak),
            _ => Ok(Self::new(Algorithm::RS256, key)),
        }
    }

    /// ECDSA on P-256 with SHA-256: the issuer's public key in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError::Pem`].
    pub fn es256(public_key: &[u8]) -> Result<Self, JwtKeyError> {
        let key = DecodingKey::from_ec_pem(public_key).map_err(|_| JwtKeyError::Pem)?;
        Ok(Self::new(Algorithm::ES256, key))
    }

    /// Ed25519 (RFC 8037): the issuer's public key in PEM.
    ///
    /// # Errors
    /// [`JwtKeyError::Pem`].
    pub fn eddsa(public_key: &[u8]) -> Result<Self, JwtKeyError> {
        let key = DecodingKey::from_ed_pem(public_key).map_err(|_| JwtKeyError::Pem)?;
        Ok(Self::new(Algorithm::EdDSA, key))
    }

    const fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        Self { algorithm, key, id: None }
    }

    /// Uses the key for tokens with this `kid` alone (RFC 7515 section 4.1.4).
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

/// Without the key.
impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, id, .. } = self;
        f.debug_struct("JwtKey")
            .field("algorithm", algorithm)
            .field("id", id)
            .finish_non_exhaustive()
    }
}

/// Verifies JSON Web Tokens (RFC 7519): the signature, and the claims `exp`, `nbf`, `aud` and `iss`.
///
/// A token must expire. Keys, audience and issuer are those that you set: nothing in a token leads to
/// another key, and no key is fetched.
///
/// The signatures are computed by the `rust_crypto` backend of the `jsonwebtoken` crate, unless the
/// process has installed another [provider](https://docs.rs/jsonwebtoken/11/jsonwebtoken/crypto/struct.CryptoProvider.html)
/// before it made the first verifier.
///
/// ```
/// use tautline::auth::{self, AuthError, JwtKey, JwtVerifier};
///
/// #[derive(serde::Deserialize)]
/// struct Claims {
///     sub: String,
/// }
///
/// # fn check(headers: &http::HeaderMap) -> Result<String, Box<dyn std::error::Error>> {
/// let verifier = JwtVerifier::new([JwtKey::hs256(&[7; 32])?])
///     .audience("https://chat.example")
///     .issuer("https://login.example");
/// // In `authorize`, with a clone of it:
/// let user = |headers| -> Result<String, AuthError> {
///     let claims: Claims = verifier.verify(&auth::bearer(headers)?)?;
///     Ok(claims.sub)
/// };
/// # Ok(user(headers)?)
/// # }
/// # let error = check(&http::HeaderMap::new()).unwrap_err();
/// # assert_eq!(error.downcast_ref(), Some(&AuthError::Missing));
/// ```
#[derive(Clone, Debug)]
pub struct JwtVerifier {
    keys: Vec<JwtKey>,
    validation: Validation,
}

impl JwtVerifier {
    /// How far the clocks of issuer and server may be apart.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

    /// Takes tokens that are signed with one of these keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = JwtKey>) -> Self {
        // What the crate does by itself at the first token, unless another part of the process has it
        // compiled with two backends: then it would panic.
        let _ = crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_nbf = true;
        validation.leeway = Self::DEFAULT_LEEWAY.as_secs();
        Self { keys: keys.into_iter().collect(), validation }
    }

    /// Requires that `aud` names this server so; call it again for another name. Without this, a token
    /// that names an audience is refused (RFC 7519 section 4.1.3).
    #[must_use]
    pub fn audience(mut self, name: impl Into<String>) -> Self {
        self.validation.aud.get_or_insert_default().insert(name.into());
        self.validation.required_spec_claims.insert("aud".to_owned());
        self
    }

    /// Requires that `iss` is this; call it again for another one. Default: it is not looked at.
    #[must_use]
    pub fn issuer(mut self, name: impl Into<String>) -> Self {
        self.validation.iss.get_or_insert_default().insert(name.into());
        self.validation.required_spec_claims.insert("iss".to_owned());
        self
    }

    /// How long a token is taken after `exp` and before `nbf`, in whole seconds. Default:
    /// [`DEFAULT_LEEWAY`](Self::DEFAULT_LEEWAY).
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.validation.leeway = leeway.as_secs();
        self
    }

    /// The claims of a token, if it is valid now.
    ///
    /// # Errors
    /// [`JwtError`]. As an [`AuthError`] it is [`Invalid`](AuthError::Invalid).
    pub fn verify<C: DeserializeOwned>(&self, token: &Token<'_>) -> Result<C, JwtError> {
        let token = token.as_str();
        let header = jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
        // RFC 7515 section 4.1.11: none of them is understood here.
        if header.crit.is_some() {
            return Err(JwtError::Critical);
        }
        let fits = |key: &&JwtKey| {
            key.algorithm == header.alg && (key.id.is_none() || key.id == header.kid)
        };
        let mut failure = JwtError::UnknownKey;
        for key in self.keys.iter().filter(fits) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match jsonwebtoken::decode(token, &key.key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => failure = JwtError::from(&error),
            }
            // Any other reason is about a token whose signature is right.
            if failure != JwtError::Signature {
                break;
            }
        }
        Err(failure)
    }
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwtKeyError {
    /// It is not a public key of this algorithm in PEM.
    Pem,
    /// It is shorter than RFC 7518 requires.
    Weak,
}

impl fmt::Display for JwtKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem => "it is not a public key of this algorithm in PEM",
            Self::Weak => "the key is shorter than RFC 7518 requires",
        })
    }
}

impl std::error::Error for JwtKeyError {}

/// Why a token is not valid. It holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwtError {
    /// It is not a signed JWT.
    Malformed,
    /// No key is for its algorithm and its `kid`.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// It has an extension that must be understood (RFC 7515 section 4.1.11).
    Critical,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come yet.
    NotYetValid,
    /// It is for another audience.
    Audience,
    /// It is of another issuer.
    Issuer,
    /// A claim that is required is missing, or of another type.
    Claims,
}

impl From<&Error> for JwtError {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYetValid,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            // The header was read before.
            ErrorKind::MissingRequiredClaim(_)
            | ErrorKind::InvalidClaimFormat(_)
            | ErrorKind::Json(_) => Self::Claims,
            _ => Self::Malformed,
        }
    }
}

impl From<JwtError> for AuthError {
    fn from(_: JwtError) -> Self {
        Self::Invalid
    }
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is not a signed JWT",
            Self::UnknownKey => "no key is for the token's algorithm and kid",
            Self::Signature => "the token's signature is wrong",
            Self::Critical => "the token has a critical extension",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Audience => "the token is for another audience",
            Self::Issuer => "the token is of another issuer",
            Self::Claims => "a claim of the token is missing or malformed",
        })
    }
}

impl std::error::Error for JwtError {}

#[cfg(test)]
mod tests;
