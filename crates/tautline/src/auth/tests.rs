use http::header::{HeaderName, SEC_WEBSOCKET_PROTOCOL};

use super::*;

fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    headers
}

fn text(found: Result<Token<'_>, AuthError>) -> Result<String, AuthError> {
    found.map(|token| token.as_str().to_owned())
}

#[test]
fn bearer_tokens_of_rfc6750_2_1() {
    for (lines, expected) in [
        (&["Bearer mF_9.B5f-4.1JqM"][..], Ok("mF_9.B5f-4.1JqM")),
        (&["bearer  a~+/b=="], Ok("a~+/b==")),
        (&[], Err(AuthError::Missing)),
        (&["Bearer a", "Bearer a"], Err(AuthError::Duplicate)),
        (&["Basic YTpi"], Err(AuthError::OtherScheme)),
        (&["Bearers a"], Err(AuthError::OtherScheme)),
        (&[""], Err(AuthError::OtherScheme)),
        (&["Bearer"], Err(AuthError::Malformed)),
        (&["Bearer "], Err(AuthError::Malformed)),
        (&["Bearer =="], Err(AuthError::Malformed)),
        (&["Bearer a=b"], Err(AuthError::Malformed)),
        (&["Bearer a b"], Err(AuthError::Malformed)),
        (&["Bearer a, Bearer b"], Err(AuthError::Malformed)),
        (&["Bearer \"a\""], Err(AuthError::Malformed)),
        (&["Bearer \u{e9}"], Err(AuthError::Malformed)),
    ] {
        let headers = headers(&AUTHORIZATION, lines);
        assert_eq!(text(bearer(&headers)), expected.map(str::to_owned), "{lines:?}");
    }
}

#[test]
fn basic_credentials_of_rfc7617() {
    let line = |pair: &[u8]| format!("basic {}", STANDARD.encode(pair));
    for (line, expected) in [
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned(), Ok(("Aladdin", "open sesame"))),
        // RFC 7617 section 2.1.
        ("Basic dGVzdDoxMjPCow==".to_owned(), Ok(("test", "123\u{a3}"))),
        (line(b"a:b:c"), Ok(("a", "b:c"))),
        (line(b":"), Ok(("", ""))),
        (line(b"a"), Err(AuthError::Malformed)),
        (line(b"a:\xff"), Err(AuthError::Malformed)),
        (line(b"a:\n"), Err(AuthError::Malformed)),
        ("Basic YTpi=".to_owned(), Err(AuthError::Malformed)),
        ("Basic YTp!".to_owned(), Err(AuthError::Malformed)),
        ("Basic Y Tpi".to_owned(), Err(AuthError::Malformed)),
        ("Basic".to_owned(), Err(AuthError::Malformed)),
        ("Bearer YTpi".to_owned(), Err(AuthError::OtherScheme)),
    ] {
        let headers = headers(&AUTHORIZATION, &[&line]);
        let found = basic(&headers);
        let found = found.as_ref().map(|found| (found.user(), found.password()));
        assert_eq!(found.map_err(|&error| error), expected, "{line}");
    }
}

#[test]
fn cookies_of_rfc6265() {
    for (lines, expected) in [
        (&["session=a1"][..], Ok("a1")),
        (&["a=b; session=a1=; c=d"], Ok("a1=")),
        (&["a=b;session=a1"], Ok("a1")),
        // One line for each, as in HTTP/2.
        (&["a=b", "session=a1"], Ok("a1")),
        (&["session=\"a1\""], Ok("\"a1\"")),
        (&[], Err(AuthError::Missing)),
        (&["xsession=a; sessions=b; Session=c; session"], Err(AuthError::Missing)),
        (&["a=session=b"], Err(AuthError::Missing)),
        (&["session=a1; session=a1"], Err(AuthError::Duplicate)),
        (&["session=a1", "session=b2"], Err(AuthError::Duplicate)),
        (&["session="], Err(AuthError::Malformed)),
        (&["session=a b"], Err(AuthError::Malformed)),
        (&["session=\u{e9}"], Err(AuthError::Malformed)),
    ] {
        let headers = headers(&COOKIE, lines);
        assert_eq!(text(cookie(&headers, "session")), expected.map(str::to_owned), "{lines:?}");
    }
}

#[test]
fn tokens_among_the_subprotocols() {
    for (lines, after, prefixed) in [
        (&["bearer, 3f2a"][..], Ok("3f2a"), Err(AuthError::Missing)),
        (&["chat, bearer", "3f2a"], Ok("3f2a"), Err(AuthError::Missing)),
        (&["chat, bearer.3f.2a"], Err(AuthError::Missing), Ok("3f.2a")),
        (&[], Err(AuthError::Missing), Err(AuthError::Missing)),
        (&["Bearer, 3f2a"], Err(AuthError::Missing), Err(AuthError::Missing)),
        (&["3f2a, bearer"], Err(AuthError::Malformed), Err(AuthError::Missing)),
        (&["bearer."], Err(AuthError::Missing), Err(AuthError::Malformed)),
        (&["bearer.a, bearer.b"], Err(AuthError::Missing), Err(AuthError::Duplicate)),
        (&["bearer, a=="], Err(AuthError::Malformed), Err(AuthError::Malformed)),
        (&["bearer, a, a"], Err(AuthError::Malformed), Err(AuthError::Malformed)),
    ] {
        let headers = headers(&SEC_WEBSOCKET_PROTOCOL, lines);
        let expected = after.map(str::to_owned);
        assert_eq!(text(subprotocol(&headers, "bearer")), expected, "{lines:?}");
        let expected = prefixed.map(str::to_owned);
        assert_eq!(text(subprotocol_prefix(&headers, "bearer.")), expected, "{lines:?}");
    }
}

#[test]
fn tokens_in_the_query() {
    for (uri, expected) in [
        ("/?token=a1", Ok("a1")),
        ("/?a=b&token=a%2b1%3D&c", Ok("a+1=")),
        ("/?t%6fken=a+1", Ok("a 1")),
        ("/?token=a=b", Ok("a=b")),
        ("/", Err(AuthError::Missing)),
        ("/?", Err(AuthError::Missing)),
        ("/?Token=a&tokens=b&xtoken=c&token%=d", Err(AuthError::Missing)),
        ("/token=a", Err(AuthError::Missing)),
        ("/?token=a&token=b", Err(AuthError::Duplicate)),
        ("/?token=a&t%6Fken=b", Err(AuthError::Duplicate)),
        ("/?token", Err(AuthError::Malformed)),
        ("/?token=", Err(AuthError::Malformed)),
        ("/?token=%4", Err(AuthError::Malformed)),
        ("/?token=%+1", Err(AuthError::Malformed)),
        ("/?token=%ff", Err(AuthError::Malformed)),
    ] {
        let parsed = uri.parse().unwrap();
        assert_eq!(text(query(&parsed, "token")), expected.map(str::to_owned), "{uri}");
    }
}

/// python websockets CVE-2021-33880: credentials were compared by `==`. The time cannot be asserted;
/// that every length and every byte counts can.
#[test]
fn a_comparison_in_constant_time_is_a_comparison() {
    let secret = "3f2a-91";
    for end in 0..secret.len() {
        assert!(!Token::new(&secret[..end]).matches(secret), "{end}");
        assert!(end == 0 || !Token::new(secret).matches(&secret[..end]), "{end}");
        let mut wrong = secret.as_bytes().to_vec();
        wrong[end] ^= 1;
        assert!(!Token::new(secret).matches(&wrong), "{end}");
    }
    assert!(Token::new(secret).matches(secret));
    // The same over and over, as the comparison goes through it.
    assert!(!Token::new(format!("{secret}{secret}")).matches(secret));
    // A setting that is not there must not let everybody in.
    assert!(!Token::new("").matches("") && !Token::new("a").matches(""));
    let credentials = Credentials::new("ada", secret);
    assert!(credentials.matches("ada", secret));
    for (user, password) in [("ada", "3f2a"), ("bob", secret), ("", secret), ("ada", ""), ("", "")]
    {
        assert!(!credentials.matches(user, password), "{user} {password}");
    }
    assert!(Credentials::new("", secret).matches("", secret));
    assert!(!Credentials::new("ada", "").matches("ada", ""));
}

#[test]
fn a_refusal_asks_for_what_it_needs_rfc6750_3() {
    let bearer = Challenge::bearer("a \"b\" \\ \u{e9}\r\nx: y");
    let basic = Challenge::basic("chat");
    let realm = r#"realm="a \"b\" \\ x: y""#;
    for (error, status, code) in [
        (AuthError::Missing, 401, ""),
        (AuthError::OtherScheme, 401, ""),
        (AuthError::Duplicate, 400, r#", error="invalid_request""#),
        (AuthError::Malformed, 400, r#", error="invalid_request""#),
        (AuthError::Invalid, 401, r#", error="invalid_token""#),
    ] {
        let response = bearer.response(error);
        assert_eq!(response.status(), status, "{error}");
        assert_eq!(response.headers()["www-authenticate"], format!("Bearer {realm}{code}"));
        assert_eq!(*response.body(), format!("{error}\n"));
        let response = basic.response(error);
        let asked = &response.headers()["www-authenticate"];
        assert_eq!(asked, r#"Basic realm="chat", charset="UTF-8""#);
    }
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", Token::new("s3cr3t")), "Token");
    assert_eq!(format!("{:?}", Credentials::new("ada", "s3cr3t")), "Credentials");
}
