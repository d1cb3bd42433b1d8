//! `truc console`: the way into the hub's web console.

use jiff::Timestamp;
use serde::Serialize;

use super::{Connection, Exit, Failure, Output};
use crate::proto::{CreateSignInLinkRequest, CreateSignInLinkResponse};

/// The hub's web console.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints a link by which you sign in with a browser that does not have your certificate: once, within five minutes.
    Login,
}

#[derive(Serialize)]
struct Link {
    url: String,
    valid_until: String,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let Command::Login = self.command;
        let client = self.connection.client().await?;
        let made = client.console().create_sign_in_link(CreateSignInLinkRequest {}).await?.into_inner();
        let until = Timestamp::from_microsecond(made.valid_until_us).map_err(|error| {
            Failure::new(Exit::Refused, format!("the hub's answer makes no sense: {error}"))
        })?;
        let link = Link { url: address(&made, &self.connection.hub)?, valid_until: until.to_string() };
        output.print(&link, |link| {
            format!(
                "{}\nOpen it in a browser; it holds once, until {}. It is as good as your certificate: give it to nobody.",
                link.url, link.valid_until
            )
        });
        Ok(())
    }
}

/// The whole link: on the console's own address, or on the hub's host.
fn address(made: &CreateSignInLinkResponse, hub: &str) -> Result<String, Failure> {
    if !made.url.is_empty() {
        return Ok(format!("{}{}", made.url.trim_end_matches('/'), made.path));
    }
    let wrong =
        || Failure::new(Exit::Usage, format!("{hub:?} is not an address such as https://localhost:7443"));
    let hub: hyper::Uri = hub.parse().map_err(|_| wrong())?;
    let host = hub.scheme().and(hub.host()).ok_or_else(wrong)?;
    Ok(format!("https://{host}:{}{}", made.port, made.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_on_the_consoles_address_or_the_hubs_host() {
        let made = |url: &str| CreateSignInLinkResponse {
            path: "/sign-in/link/x".into(),
            url: url.into(),
            port: 7445,
            valid_until_us: 0,
        };
        let on = |url: &str, hub: &str| address(&made(url), hub).expect("an address");
        assert_eq!(on("", "https://hub.example.vn:7443"), "https://hub.example.vn:7445/sign-in/link/x");
        assert_eq!(on("", "https://[::1]:7443"), "https://[::1]:7445/sign-in/link/x");
        assert_eq!(on("https://truc.vn/", "https://hub:7443"), "https://truc.vn/sign-in/link/x");
        assert!(address(&made(""), "nonsense").is_err());
    }
}
