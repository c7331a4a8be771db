//! The page, and what a socket's URL asks for.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};

use crate::rooms::Ticket;
use crate::site::{CONNECTION, CSS, File, HTML, SCRIPT, SVG, parameter, serve};

const MAX_NAME: usize = 24; // characters, as in the page
const MAX_ROOM_NAME: usize = 32; // characters, as in the page
const MAX_POSITION: usize = 40; // characters: two numbers

const FILES: &[File] = &[
    ("/", HTML, include_str!("index.html")),
    ("/style.css", CSS, include_str!("style.css")),
    ("/app.js", SCRIPT, include_str!("app.js")),
    ("/icon.svg", SVG, include_str!("icon.svg")),
    CONNECTION,
];

pub(crate) fn page(request: &Request<()>) -> Response<Bytes> {
    serve(FILES, request)
}

/// The room and name that a socket asks for; otherwise the status of the refusal.
pub(crate) fn ticket(uri: &Uri) -> Result<Ticket, StatusCode> {
    if uri.path() != "/ws" {
        return Err(StatusCode::NOT_FOUND);
    }
    let query = uri.query().unwrap_or_default();
    let room = parameter(query, "room", MAX_ROOM_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    let name = parameter(query, "name", MAX_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    // One that cannot be read is as good as none: the page gets the history.
    let since = parameter(query, "since", MAX_POSITION).and_then(|text| text.parse().ok());
    Ticket::new(&room, name, since).ok_or(StatusCode::BAD_REQUEST)
}
