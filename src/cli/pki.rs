//! `truc pki`: certificates for tests, demonstrations and sites without a CA of their own.

mod authority;

use std::path::PathBuf;

pub use authority::{
    Authority, InitOptions, LEAF_DAYS, Paths, PkiError, Revocation, Role, ServerOptions, init, issue,
    issue_scoped_auditor, issue_server, revoke,
};

use super::{Exit, Failure, Output};

/// Makes and revokes TLS certificates.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a CA with certificates for hub, operator, security officer, registrar and auditor, and the hub's log key.
    Init {
        /// Folder for all files.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        options: InitOptions,
    },
    /// Issue a certificate and its key: NAME.pem and NAME.key.
    Issue {
        /// Folder of the CA, and of the new files.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What its holder may do.
        #[arg(long)]
        role: Role,
        /// Name of its holder: 1 to 63 of a-z 0-9 - .
        #[arg(long)]
        name: String,
        /// For an auditor: sees only what concerns this agency and those below it.
        #[arg(long, value_name = "AGENCY")]
        below: Option<String>,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Put a certificate on the CA's revocation list.
    Revoke {
        /// Folder of the CA.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The certificate.
        #[arg(value_name = "FILE.pem")]
        certificate: PathBuf,
    },
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Init { out, options } => output.print(&init(&out, &options)?, |made| {
                let (folder, ca_key) = (out.display(), made.ca.key.display());
                format!(
                    "Certificates are in {folder}. Keep {ca_key} off the hub; keep copies of it and of {}.",
                    made.log_key.display()
                )
            }),
            Command::Issue { out, role, name, below, server } => {
                let paths = match &below {
                    None => issue_server(&out, role, &name, &server)?,
                    Some(agency) if role == Role::Auditor => {
                        issue_scoped_auditor(&out, &name, agency, &server)?
                    }
                    Some(_) => {
                        return Err(Failure::new(Exit::Usage, "--below is for auditors")
                            .with_help("leave it out, or use --role auditor"));
                    }
                };
                output.print(&paths, |paths| {
                    format!("{}\n{}", paths.certificate.display(), paths.key.display())
                });
            }
            Command::Revoke { out, certificate } => output.print(&revoke(&out, &certificate)?, |done| {
                format!("{} is on {}, {} in all", done.serial, done.crl.display(), done.revoked)
            }),
        }
        Ok(())
    }
}
