//! JSON-RPC 2.0 (the specification at jsonrpc.org, of 2013), and its relatives.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tautline_frame::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Answer, CallError, CallFormat, Caller};

/// The format of JSON-RPC 2.0: requests `{"jsonrpc":"2.0","id":1,"method":..,"params":..}`, and
/// responses with the same `id` and a `result` or an `error`.
///
/// Requests of the peer whose `id` is null are taken for notifications: the specification advises
/// against that id. Batches (section 6) are neither sent nor taken apart: one that arrives is a
/// message like any other.
///
/// ```no_run
/// use tautline::calls::{self, JsonRpc};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let ws = tautline::connect("wss://api.example.com/").await?;
/// let (caller, mut reader) = calls::split(ws, JsonRpc::new());
/// tokio::spawn(async move { while reader.next().await.is_some() {} });
/// let sum: i64 = caller.request("add", &[1, 2]).await?;
/// # let _ = sum;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct JsonRpc {
    names_version: bool,
}

impl Default for JsonRpc {
    fn default() -> Self {
        Self { names_version: true }
    }
}

impl JsonRpc {
    /// As the specification has it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Without the member `jsonrpc`, as Chrome's DevTools have it.
    #[must_use]
    pub const fn without_version() -> Self {
        Self { names_version: false }
    }

    const fn version(&self) -> Option<&'static str> {
        if self.names_version { Some("2.0") } else { None }
    }
}

/// What is asked: a method and its parameters.
#[derive(Clone, Debug)]
pub struct JsonRpcRequest {
    method: Cow<'static, str>,
    params: Option<Box<RawValue>>,
}

impl JsonRpcRequest {
    /// A request without parameters.
    #[must_use]
    pub fn new(method: impl Into<Cow<'static, str>>) -> Self {
        Self { method: method.into(), params: None }
    }

    /// With these parameters: JSON-RPC has arrays and objects there.
    ///
    /// # Errors
    /// [`JsonRpcError::Serialize`].
    pub fn params(mut self, params: &(impl Serialize + ?Sized)) -> Result<Self, JsonRpcError> {
        self.params = Some(raw(params)?);
        Ok(self)
    }
}

fn raw(value: &(impl Serialize + ?Sized)) -> Result<Box<RawValue>, JsonRpcError> {
    serde_json::value::to_raw_value(value).map_err(JsonRpcError::Serialize)
}

/// Why a call has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonRpcError {
    /// The peer answered with an error.
    Peer(JsonRpcErrorObject),
    /// The parameters, or the result, are not values of JSON.
    Serialize(serde_json::Error),
    /// The result is not of the type that was asked for. The request was carried out.
    Deserialize(serde_json::Error),
}

impl fmt::Display for JsonRpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(JsonRpcErrorObject { code, message, .. }) => {
                write!(f, "the peer answered with error {code}: {message}")
            }
            Self::Serialize(_) => f.write_str("the value cannot be written as JSON"),
            Self::Deserialize(_) => f.write_str("the value is of another type"),
        }
    }
}

impl std::error::Error for JsonRpcError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Peer(_) => None,
            Self::Serialize(error) | Self::Deserialize(error) => Some(error),
        }
    }
}

/// An error as JSON-RPC writes it (section 5.1 of the specification).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JsonRpcErrorObject {
    /// What kind of error; 0 if the peer's has another form, which is in `data`: -32601 is a method that does not exist, -32602 wrong parameters, -32603
    /// an error of the peer; those from -32000 to -32099 are each server's own.
    pub code: i64,
    /// One sentence.
    #[serde(default)]
    pub message: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl JsonRpcErrorObject {
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are not those of the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// An error of whoever carries out the request.
    pub const INTERNAL_ERROR: i64 = -32603;

    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// With this as data.
    ///
    /// # Errors
    /// [`JsonRpcError::Serialize`].
    pub fn with_data(mut self, data: &(impl Serialize + ?Sized)) -> Result<Self, JsonRpcError> {
        self.data = Some(raw(data)?);
        Ok(self)
    }
}

/// All members that a message of JSON-RPC can have, as they are written.
#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonrpc: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JsonRpcErrorObject>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Id<'a> {
    Ours(u64),
    Theirs(&'a RawValue),
}

impl<'a> Outgoing<'a> {
    const fn new(jsonrpc: Option<&'static str>, id: Option<Id<'a>>) -> Self {
        Self { jsonrpc, id, method: None, params: None, result: None, error: None }
    }

    fn message(&self) -> Result<Message, JsonRpcError> {
        serde_json::to_string(self).map(Message::from).map_err(JsonRpcError::Serialize)
    }
}

/// A response, as it is read. A `result` of null is one.
#[derive(Deserialize)]
struct Response<'a> {
    id: u64,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What a peer answers as an error. One of another form, such as a text, is still the answer.
fn error_object(error: &RawValue) -> JsonRpcErrorObject {
    serde_json::from_str(error.get()).unwrap_or_else(|_| JsonRpcErrorObject {
        code: 0,
        message: "of another form".to_owned(),
        data: Some(error.to_owned()),
    })
}

impl CallFormat for JsonRpc {
    type Request = JsonRpcRequest;
    type Response = Box<RawValue>;
    type Error = JsonRpcError;

    fn encode(&self, id: u64, request: JsonRpcRequest) -> Result<Message, JsonRpcError> {
        self.request(Some(Id::Ours(id)), &request)
    }

    fn decode(&self, message: &Message) -> Option<Answer<Box<RawValue>, JsonRpcError>> {
        let response: Response<'_> = serde_json::from_str(message.as_text()?).ok()?;
        if response.method.is_some() {
            // A request of the peer.
            return None;
        }
        let result = match response.error {
            Some(error) => Err(JsonRpcError::Peer(error_object(error))),
            None => Ok(match response.result {
                Some(result) => result.to_owned(),
                None => RawValue::NULL.to_owned(),
            }),
        };
        Some(Answer::new(response.id, result))
    }
}

impl JsonRpc {
    fn request(
        &self,
        id: Option<Id<'_>>,
        request: &JsonRpcRequest,
    ) -> Result<Message, JsonRpcError> {
        let mut outgoing = Outgoing::new(self.version(), id);
        outgoing.method = Some(&request.method);
        outgoing.params = request.params.as_deref();
        outgoing.message()
    }

    /// The message of a notification: a request that gets no answer.
    ///
    /// # Errors
    /// [`JsonRpcError::Serialize`].
    pub fn notification(&self, request: &JsonRpcRequest) -> Result<Message, JsonRpcError> {
        self.request(None, request)
    }

    /// The request or notification that a message of the peer is; `None` if it is something else.
    ///
    /// ```
    /// use tautline::Message;
    /// use tautline::calls::{JsonRpc, JsonRpcErrorObject};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let format = JsonRpc::new();
    /// let message = Message::from(r#"{"jsonrpc":"2.0","id":"a","method":"add","params":[1,2]}"#);
    /// let call = format.parse(&message).ok_or("no request")?;
    /// let reply = match call.method() {
    ///     "add" => {
    ///         let [a, b]: [i64; 2] = call.params()?;
    ///         call.respond(&(a + b))?
    ///     }
    ///     _ => call.refuse(&JsonRpcErrorObject::new(JsonRpcErrorObject::METHOD_NOT_FOUND, "no such method"))?,
    /// };
    /// // `None` for a notification.
    /// assert_eq!(reply.unwrap().as_text(), Some(r#"{"jsonrpc":"2.0","id":"a","result":3}"#));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn parse(&self, message: &Message) -> Option<JsonRpcCall> {
        let Parsed { id, method, params } = serde_json::from_str(message.as_text()?).ok()?;
        Some(JsonRpcCall { version: self.version(), id, method, params })
    }
}

#[derive(Deserialize)]
struct Parsed {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    method: String,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// A request or notification of the peer.
#[derive(Debug)]
pub struct JsonRpcCall {
    version: Option<&'static str>,
    id: Option<Box<RawValue>>,
    method: String,
    params: Option<Box<RawValue>>,
}

impl JsonRpcCall {
    /// What is asked.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Whether it gets no answer.
    #[must_use]
    pub const fn is_notification(&self) -> bool {
        self.id.is_none()
    }

    /// Its parameters; null if there are none.
    ///
    /// # Errors
    /// [`JsonRpcError::Deserialize`] if they are of another type.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, JsonRpcError> {
        let params = self.params.as_deref().unwrap_or(RawValue::NULL);
        serde_json::from_str(params.get()).map_err(JsonRpcError::Deserialize)
    }

    /// The response with this result; `None` for a notification.
    ///
    /// # Errors
    /// [`JsonRpcError::Serialize`].
    pub fn respond(
        &self,
        result: &(impl Serialize + ?Sized),
    ) -> Result<Option<Message>, JsonRpcError> {
        let result = raw(result)?;
        self.reply(|outgoing| outgoing.result = Some(&result))
    }

    /// The response with this error; `None` for a notification.
    ///
    /// # Errors
    /// [`JsonRpcError::Serialize`].
    pub fn refuse(&self, error: &JsonRpcErrorObject) -> Result<Option<Message>, JsonRpcError> {
        self.reply(|outgoing| outgoing.error = Some(error))
    }

    fn reply<'a>(
        &'a self,
        fill: impl FnOnce(&mut Outgoing<'a>),
    ) -> Result<Option<Message>, JsonRpcError> {
        let Some(id) = self.id.as_deref() else { return Ok(None) };
        let mut outgoing = Outgoing::new(self.version, Some(Id::Theirs(id)));
        fill(&mut outgoing);
        outgoing.message().map(Some)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Caller<JsonRpc, S> {
    /// Calls a method, and returns its result.
    ///
    /// # Errors
    /// [`CallError`]; [`JsonRpcError::Deserialize`] in it if the result is of another type.
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError<JsonRpcError>> {
        let request = JsonRpcRequest::new(method).params(params).map_err(CallError::Format)?;
        let result = self.call(request).await?;
        serde_json::from_str(result.get())
            .map_err(|error| CallError::Format(JsonRpcError::Deserialize(error)))
    }

    /// Sends a notification: a request that gets no answer.
    ///
    /// # Errors
    /// [`CallError::Format`] and [`CallError::Send`].
    pub async fn notify(
        &self,
        method: impl Into<Cow<'static, str>>,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError<JsonRpcError>> {
        let request = JsonRpcRequest::new(method).params(params).map_err(CallError::Format)?;
        let message = self.table().format().notification(&request).map_err(CallError::Format)?;
        self.writer().send(message).await.map_err(CallError::Send)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_specification_writes() {
        let asked = JsonRpcRequest::new("subtract").params(&[42, 23]).unwrap();
        let text = |message: Result<Message, JsonRpcError>| {
            message.unwrap().as_text().map(str::to_owned).unwrap()
        };
        assert_eq!(
            text(JsonRpc::new().encode(1, asked.clone())),
            r#"{"jsonrpc":"2.0","id":1,"method":"subtract","params":[42,23]}"#
        );
        assert_eq!(
            text(JsonRpc::without_version().encode(9, JsonRpcRequest::new("Page.enable"))),
            r#"{"id":9,"method":"Page.enable"}"#
        );
        assert_eq!(
            text(JsonRpc::new().notification(&asked)),
            r#"{"jsonrpc":"2.0","method":"subtract","params":[42,23]}"#
        );
    }

    #[test]
    fn an_answer_has_an_id_of_ours_and_no_method() {
        let decode = |text: &str| {
            JsonRpc::new().decode(&text.into()).map(|answer| (answer.id, answer.result))
        };
        let result = |text: &str| match decode(text) {
            Some((id, Ok(result))) => Some((id, result.get().to_owned())),
            _ => None,
        };
        assert_eq!(result(r#"{"id":1,"result":{"a": 1}}"#), Some((1, r#"{"a": 1}"#.into())));
        assert_eq!(result(r#"{"result":null,"id":7,"other":0}"#), Some((7, "null".into())));
        assert_eq!(result(r#"{"id":7}"#), Some((7, "null".into())));
        let error = decode(r#"{"id":2,"error":{"code":-32601,"message":"no","data":[1]}}"#);
        assert!(
            matches!(&error, Some((2, Err(JsonRpcError::Peer(error))))
                if error.code == JsonRpcErrorObject::METHOD_NOT_FOUND
                    && error.data.as_ref().is_some_and(|data| data.get() == "[1]")),
            "{error:?}"
        );
        // As in JSON-RPC 1.0; it was no answer, and the call waited until its deadline.
        for form in [r#""no such method""#, r#"{"message":"no"}"#, "[]"] {
            let error = decode(&format!(r#"{{"id":2,"result":null,"error":{form}}}"#));
            assert!(
                matches!(&error, Some((2, Err(JsonRpcError::Peer(error))))
                    if error.code == 0 && error.data.as_ref().is_some_and(|data| data.get() == form)),
                "{error:?}"
            );
        }
        assert_eq!(result(r#"{"id":2,"result":5,"error":null}"#), Some((2, "5".into())));
        for other in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"method":"tick","params":[]}"#,
            r#"{"id":null,"error":{"code":-32700,"message":"parse error"}}"#,
            r#"{"id":"x","result":1}"#,
            r#"{"id":-1,"result":1}"#,
            r#"[{"id":1,"result":1}]"#,
            "no JSON",
            "",
        ] {
            assert!(decode(other).is_none(), "{other}");
        }
        assert!(JsonRpc::new().decode(&Message::from(&b"{\"id\":1}"[..])).is_none(), "binary");
    }

    #[test]
    fn a_notification_gets_no_answer() {
        let parse = |text: &str| JsonRpc::new().parse(&text.into());
        let call = parse(r#"{"method":"tick"}"#).unwrap();
        assert!(call.is_notification());
        assert!(call.respond(&1).unwrap().is_none());
        assert!(call.params::<()>().is_ok());
        assert!(call.params::<u8>().is_err());
        let call = parse(r#"{"id": [7], "method":"x"}"#).unwrap();
        let refused = call.refuse(&JsonRpcErrorObject::new(1, "no")).unwrap().unwrap();
        assert_eq!(
            refused.as_text(),
            Some(r#"{"jsonrpc":"2.0","id":[7],"error":{"code":1,"message":"no"}}"#)
        );
        assert!(parse(r#"{"id":1,"result":1}"#).is_none());
    }
}
