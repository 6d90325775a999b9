//! The resolver as a service: started with the machine (and then on port 53) or with the user's
//! session.

use std::path::Path;

use super::change::{Content, HEADER, Wanted};
use super::{InstallError, Rung};
use crate::host::Host;

pub const UNIT: &str = "macula-dns.service";
const AGENT: &str = "dev.macula.dns";

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Of the system: runs as this user, may use port 53, is there without a login.
    System,
    /// Of the user's session (on macOS a launch agent).
    User,
}

impl Service {
    /// How it is done on this machine.
    pub fn rung(self, host: &dyn Host) -> Result<Rung, InstallError> {
        let facts = host.facts();
        let no = |reason: &str| Err(InstallError::Unfit { method: "service".into(), reason: reason.into() });
        match self {
            Self::User if facts.os == "macos" => Ok(Rung::LaunchAgent),
            Self::System if facts.os == "macos" => no("on macOS there is only `--service user`"),
            _ if !facts.systemd => {
                no("systemd does not run here; `macula up` starts the resolver wherever there is none")
            }
            Self::System => Ok(Rung::SystemService),
            Self::User => Ok(Rung::UserService),
        }
    }
}

/// The unit. `program` is this program; `log` takes what it says where the system has no journal.
pub fn file(host: &dyn Host, rung: Rung, program: &Path, log: &Path) -> Wanted {
    let (facts, folders) = (host.facts(), host.folders());
    // the folders as this run sees them: a service has another environment
    let mut environment = vec![("HOME".to_owned(), folders.home.display().to_string())];
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        environment.extend(host.env(name).map(|value| (name.to_owned(), value)));
    }
    if rung == Rung::LaunchAgent {
        let path = folders.home.join(format!("Library/LaunchAgents/{AGENT}.plist"));
        return Wanted { path, content: Content::Whole(agent(program, log, &environment)), root: false };
    }
    // a home that comes late, or an address that somebody has for a moment, is waited for however long it takes
    let mut text = format!(
        "# {HEADER}\n[Unit]\nDescription=The resolver of {}'s platforms (macula)\nAfter=network.target\n\
         StartLimitIntervalSec=0\n",
        facts.user,
    );
    if rung == Rung::SystemService {
        text.push_str(&format!("RequiresMountsFor={}\n", word(&folders.home.display().to_string())));
    }
    text.push_str(&format!(
        "\n[Service]\nExecStart={} dns serve --started-by=service\nRestart=always\nRestartSec=1\n",
        word(&program.display().to_string()),
    ));
    for (name, value) in &environment {
        text.push_str(&format!("Environment={}\n", word(&format!("{name}={value}"))));
    }
    if rung == Rung::SystemService {
        text.push_str(&format!(
            "User={}\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n\
             NoNewPrivileges=yes\n\n[Install]\nWantedBy=multi-user.target\n",
            facts.user
        ));
        return Wanted { path: Path::new("/etc/systemd/system").join(UNIT), content: Content::Whole(text), root: true };
    }
    text.push_str("\n[Install]\nWantedBy=default.target\n");
    let config = folders.config.parent().unwrap_or(&folders.config).join("systemd/user");
    Wanted { path: config.join(UNIT), content: Content::Whole(text), root: false }
}

/// One word of a unit file (systemd.syntax(7)): quoted, and `%` is no specifier.
fn word(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    // a line of its own would be another setting of a service that runs as root
    format!("\"{}\"", text.replace('\n', "\\n").replace('\r', "\\r"))
}

fn agent(program: &Path, log: &Path, environment: &[(String, String)]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let variables: String = environment
        .iter()
        .map(|(name, value)| format!("    <key>{}</key><string>{}</string>\n", escaped(name), escaped(value)))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- {HEADER} -->\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key><string>{AGENT}</string>\n  <key>ProgramArguments</key>\n  \
         <array>\n    <string>{}</string><string>dns</string><string>serve</string><string>--started-by=service</string>\n  \
         </array>\n  <key>EnvironmentVariables</key>\n  <dict>\n{variables}  </dict>\n  \
         <key>RunAtLoad</key><true/>\n  <key>KeepAlive</key><true/>\n  \
         <key>StandardErrorPath</key><string>{}</string>\n</dict>\n</plist>\n",
        escaped(&program.display().to_string()),
        escaped(&log.display().to_string()),
    )
}
