//! Which proxy the environment has for URIs: `cargo run --example proxy_choice -- URI...` prints a
//! line for each: the proxy, or `direct`.

use std::error::Error;

use tautline::{Proxies, WsUri};

fn main() -> Result<(), Box<dyn Error>> {
    let proxies = Proxies::from_env();
    for uri in std::env::args().skip(1) {
        match proxies.for_uri(&WsUri::parse(&uri)?)? {
            Some(proxy) => println!("{proxy}"),
            None => println!("direct"),
        }
    }
    Ok(())
}
