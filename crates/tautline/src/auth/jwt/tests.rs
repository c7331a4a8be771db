use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;

use super::*;

// Made by OpenSSL, for `{"sub":"ada","exp":4102444800}`; the private keys were thrown away.

const RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyeqRkvqROA2miYYYCD2Y
nmcq0ScTX8DtWEGNwXYw5VdWuXWNwxc+DA9l2oCnmUDqNYjXV/v2u9+pdMQnbgy8
JxNvDEWuDcsudqMRoaHFAnj3Cw+1IhdbUAZxMuxmotIQuiHwnoeZl5t7XPZvmYd1
QVZGVL2vPUiVEbpLSC/oqJJPCEUPCY6N+h1qRNyxIZdcXmQXsldtW1Hwt39UW/Pp
Y+OmR8YPUHc86q4yoQ5RcmttYEPiTgy4qGAwLdzTG3/HQJkFjwAdWK81YDiMumnd
hwg3j6kSl/bVREk3ZjADzIoiwOAG9iO6Cm4ieQPtr76a780qoqC+I7OCeCRjlq8u
YwIDAQAB
-----END PUBLIC KEY-----
";

const WEAK_RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCdSkEPbxtulhHIXBmWSuBqa7sF
rFv35OKTr419Q0ZAvxwQcLwx3fngnnqtlVw3L+5m7fOcFdWD24tTvcjwTN0SSgqP
v5HiT2eiJJyN0mlbGQgyyQj/eFDrhkbBRZJfmYwdhup97lo12VhC49BSGCeq/9oq
vVmQw0Hh0qMNa2JRkwIDAQAB
-----END PUBLIC KEY-----
";

const EC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2kQbNaeFl9oEdQ6gUS6EkqGgRdEB
gqQf4ynUvKuKS+bNu2LkTZXyQHRpcMVkxf0WEr1pRifAWLLEJRSl/SKgBA==
-----END PUBLIC KEY-----
";

const ED_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAovK0kOTT4zC+6X3fuATkbKEe8NdC1ifP4PXzcHfgU/8=
-----END PUBLIC KEY-----
";

const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.RBrO1eewgf2LDSKOKyeWm_78ZYbHToGbwh3x0HSIbj3ANzdZolmNvIvmLxc1aD4B-ZNESwLGumcouq6VjpTvpx8AYkfeGBIcCOeMbEwuZAcKaJL5ZwEwbNICYXvWml7k1tAzAIvdMVc27ZVFtKptlLNSdprbqYVwramxgoAHbnvjkbLLcEpdMaDD1c3GU61ieF1E6D2s06vSZxg8YLb6_8DQCR_RTuyljDbZsEzRTW0RPoUO4J98B2VDTbuMXR-EnzcZsuRSajTjnVdJsRbqjI9j14kEn3ybLHdyRl-XRo_wXKUanpfvFEShz4AitIQiFE3Z8N5EVFVAiVQoOalkTQ";

const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.FFujUsoauN9Jk6ajeZ0TIbPdwwlszqBVB0fRa1GpONOd1fgr-E6v0357rhuqadegLmZo_cUCUu3yveLQRrHJ8A";

const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.nJllmmJmrO2W7LCvuulu3Jz4LrCgdh31pxfxmteImToAyk18s3Ikwv9BgkaGNLWxJi9PB93plNqm2ZG5FhQXDA";

const SECRET: &[u8] = &[7; 32];

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Claims {
    sub: String,
}

/// A token of HS256 with this header and payload.
fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn verifier() -> JwtVerifier {
    JwtVerifier::new([JwtKey::hs256(SECRET).unwrap()])
}

fn verify(verifier: &JwtVerifier, token: &str) -> Result<String, JwtError> {
    verifier.verify(&Token::new(token)).map(|claims: Claims| claims.sub)
}

/// The result for a token of HS256 with these claims beside `sub`.
fn with(verifier: &JwtVerifier, claims: &str) -> Result<String, JwtError> {
    let token = signed(r#"{"alg":"HS256"}"#, &format!(r#"{{"sub":"ada",{claims}}}"#));
    verify(verifier, &token)
}

const HOUR: i64 = 3600;

fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(jsonwebtoken::get_current_timestamp()).unwrap() + seconds
}

fn keys() -> [JwtKey; 4] {
    [
        JwtKey::hs256(SECRET).unwrap(),
        JwtKey::rs256(RSA_KEY.as_bytes()).unwrap(),
        JwtKey::es256(EC_KEY.as_bytes()).unwrap(),
        JwtKey::eddsa(ED_KEY.as_bytes()).unwrap(),
    ]
}

#[test]
fn tokens_of_each_algorithm_are_valid_with_their_key_and_no_other() {
    let own = verifier();
    let hs256 = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"ada","exp":4102444800}"#);
    let tokens = [hs256.as_str(), RSA_TOKEN, EC_TOKEN, ED_TOKEN];
    let all = JwtVerifier::new(keys());
    for (index, token) in tokens.into_iter().enumerate() {
        assert_eq!(verify(&all, token), Ok("ada".into()), "{token}");
        for (other, key) in keys().into_iter().enumerate() {
            let expected =
                if index == other { Ok("ada".to_owned()) } else { Err(JwtError::UnknownKey) };
            assert_eq!(verify(&JwtVerifier::new([key]), token), expected, "{token}");
        }
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"eve","exp":4102444800}"#);
        let forged = format!("{header}.{payload}.{signature}");
        assert_eq!(verify(&all, &forged), Err(JwtError::Signature));
        assert_eq!(verify(&all, &format!("{message}.")), Err(JwtError::Signature));
    }
    assert_eq!(verify(&JwtVerifier::new([]), &hs256), Err(JwtError::UnknownKey));
    assert_eq!(verify(&own, &hs256), Ok("ada".into()));
}

// The algorithm of a token is the sender's to choose: `none`, or HS256 with a public key as its
// secret.
#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    let payload = r#"{"sub":"eve","exp":4102444800}"#;
    for alg in ["none", "None", "HS255", ""] {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#)),
            URL_SAFE_NO_PAD.encode(payload)
        );
        assert_eq!(
            verify(&JwtVerifier::new(keys()), &format!("{message}.")),
            Err(JwtError::Malformed)
        );
    }
    let public = JwtVerifier::new([JwtKey::rs256(RSA_KEY.as_bytes()).unwrap()]);
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let key = EncodingKey::from_secret(RSA_KEY.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    assert_eq!(verify(&public, &format!("{message}.{signature}")), Err(JwtError::UnknownKey));
    // RFC 7515 section 4.1.11.
    let critical = signed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, payload);
    assert_eq!(verify(&verifier(), &critical), Err(JwtError::Critical));
}

/// Centrifugo CVE-2026-32301 and CVE-2026-49998: the token led to the key, or `kid` alone did.
#[test]
fn kid_selects_among_the_keys_and_leads_to_no_other() {
    let payload = r#"{"sub":"ada","exp":4102444800}"#;
    let other = JwtKey::hs256(&[8; 32]).unwrap();
    let named = JwtVerifier::new([
        other.clone().with_id("old"),
        JwtKey::hs256(SECRET).unwrap().with_id("new"),
    ]);
    for (header, expected) in [
        (r#"{"alg":"HS256","kid":"new"}"#, Ok("ada".to_owned())),
        (r#"{"alg":"HS256","kid":"old"}"#, Err(JwtError::Signature)),
        (r#"{"alg":"HS256","kid":"none"}"#, Err(JwtError::UnknownKey)),
        (r#"{"alg":"HS256"}"#, Err(JwtError::UnknownKey)),
        (r#"{"alg":"HS256","jku":"https://evil.test","kid":"new"}"#, Ok("ada".to_owned())),
    ] {
        assert_eq!(verify(&named, &signed(header, payload)), expected, "{header}");
    }
    // While keys are replaced, both are tried.
    let both = JwtVerifier::new([other, JwtKey::hs256(SECRET).unwrap()]);
    assert_eq!(verify(&both, &signed(r#"{"alg":"HS256"}"#, payload)), Ok("ada".into()));
    let expired = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"ada","exp":1}"#);
    assert_eq!(verify(&both, &expired), Err(JwtError::Expired));
}

#[test]
fn a_token_has_its_time_rfc7519_4_1() {
    let verifier = verifier();
    let strict = verifier.clone().leeway(Duration::ZERO);
    let lenient = verifier.clone().leeway(Duration::from_secs(7200));
    let at = |name: &str, seconds| format!(r#""{name}":{}"#, in_seconds(seconds));
    let with_nbf = |seconds| format!("{},{}", at("exp", 10 * HOUR), at("nbf", seconds));
    assert_eq!(with(&verifier, &at("exp", HOUR)), Ok("ada".into()));
    assert_eq!(with(&verifier, &at("exp", -HOUR)), Err(JwtError::Expired));
    assert_eq!(with(&lenient, &at("exp", -HOUR)), Ok("ada".into()));
    assert_eq!(with(&verifier, &at("exp", -30)), Ok("ada".into()));
    assert_eq!(with(&strict, &at("exp", -30)), Err(JwtError::Expired));
    assert_eq!(with(&verifier, &with_nbf(-HOUR)), Ok("ada".into()));
    assert_eq!(with(&verifier, &with_nbf(HOUR)), Err(JwtError::NotYetValid));
    assert_eq!(with(&lenient, &with_nbf(HOUR)), Ok("ada".into()));
    for claims in [r#""iat":1"#, r#""exp":"4102444800""#, r#""exp":null"#] {
        assert_eq!(with(&verifier, claims), Err(JwtError::Claims), "{claims}");
    }
}

#[test]
fn audience_and_issuer_are_required_where_they_are_set() {
    let plain = verifier();
    let strict = verifier().audience("chat").audience("feed").issuer("login");
    for (claims, of_plain, of_strict) in [
        (r#""aud":"chat","iss":"login""#, Err(JwtError::Audience), Ok(())),
        (r#""aud":["x","feed"],"iss":"login""#, Err(JwtError::Audience), Ok(())),
        (r#""aud":"x","iss":"login""#, Err(JwtError::Audience), Err(JwtError::Audience)),
        (r#""aud":"chat","iss":"x""#, Err(JwtError::Audience), Err(JwtError::Issuer)),
        (r#""iss":"login""#, Ok(()), Err(JwtError::Claims)),
        (r#""aud":"chat""#, Err(JwtError::Audience), Err(JwtError::Claims)),
    ] {
        let claims = format!(r#"{claims},"exp":{}"#, in_seconds(HOUR));
        assert_eq!(with(&plain, &claims).map(|_| ()), of_plain, "{claims}");
        assert_eq!(with(&strict, &claims).map(|_| ()), of_strict, "{claims}");
    }
    // Claims of the user's own type.
    let token = signed(r#"{"alg":"HS256"}"#, r#"{"sub":7,"exp":4102444800}"#);
    assert_eq!(verify(&plain, &token), Err(JwtError::Claims));
}

#[test]
fn what_is_no_jwt_is_malformed() {
    for token in ["", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "\u{e9}.a.b"] {
        assert_eq!(verify(&verifier(), token), Err(JwtError::Malformed), "{token}");
    }
    let whole = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"ada","exp":4102444800}"#);
    for end in 0..whole.len() {
        assert!(verify(&verifier(), &whole[..end]).is_err(), "{end}");
    }
    assert_eq!(AuthError::from(JwtError::Expired), AuthError::Invalid);
}

#[test]
fn keys_are_checked_when_they_are_made_and_not_shown() {
    assert_eq!(JwtKey::hs256(&[7; 31]).unwrap_err(), JwtKeyError::Weak);
    assert_eq!(JwtKey::rs256(WEAK_RSA_KEY.as_bytes()).unwrap_err(), JwtKeyError::Weak);
    assert_eq!(JwtKey::rs256(EC_KEY.as_bytes()).unwrap_err(), JwtKeyError::Pem);
    assert_eq!(JwtKey::es256(ED_KEY.as_bytes()).unwrap_err(), JwtKeyError::Pem);
    assert_eq!(JwtKey::eddsa(b"nonsense").unwrap_err(), JwtKeyError::Pem);
    let shown = format!("{:?} {:?}", JwtKey::hs256(SECRET).unwrap().with_id("new"), verifier());
    assert!(shown.starts_with(r#"JwtKey { algorithm: HS256, id: Some("new"), .. }"#), "{shown}");
    assert!(!shown.contains("7, 7"), "{shown}");
}
