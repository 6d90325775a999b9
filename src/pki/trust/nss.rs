//! NSS databases in the user's home: Firefox (one a profile) and Chromium with its kin (one for
//! all). Worked on with `certutil`, which distributions do not install with the browsers.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Anchor, Kind, Place, State, Store, StoreError, judge};
use crate::host::{Command, Host, RunError};

pub(super) struct Nss;

/// Folders of profiles, below the home.
const FIREFOX: [&str; 8] = [
    ".mozilla/firefox",
    // from Firefox 147 on, for new users
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox",
    ".librewolf",
    ".var/app/io.gitlab.librewolf-community/.librewolf",
    "Library/Application Support/Firefox/Profiles",
];
/// Databases, below the home.
const CHROMIUM: [(&str, &str); 6] = [
    ("Chromium", CHROMIUM_OWN),
    ("Chromium", ".local/share/pki/nssdb"),
    ("Chromium (snap)", "snap/chromium/current/.pki/nssdb"),
    ("Chromium (Flatpak)", ".var/app/org.chromium.Chromium/.pki/nssdb"),
    ("Chrome (Flatpak)", ".var/app/com.google.Chrome/.pki/nssdb"),
    ("Brave (Flatpak)", ".var/app/com.brave.Browser/.pki/nssdb"),
];
/// The one that Chromium reads and does not make until something is to be put into it.
const CHROMIUM_OWN: &str = ".pki/nssdb";
const CHROMIUM_PROGRAMS: [&str; 7] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "vivaldi",
];
/// An authority for servers, and for nothing else.
const TRUSTED: &str = "C,,";
/// The files of a database in the format that NSS has had since 2018.
const FILES: [&str; 3] = ["cert9.db", "key4.db", "pkcs11.txt"];

fn certutil<'a>(place: &Place, args: impl IntoIterator<Item = &'a str>) -> Command {
    let database = format!("sql:{}", place.path.display());
    // Without a file of passwords it asks for one on its standard input, and at the end of that
    // again and again, for ever.
    let first = ["-d".to_owned(), database, "-f".to_owned(), "/dev/null".to_owned()];
    let all = first.into_iter().chain(args.into_iter().map(str::to_owned));
    Command::new("certutil", all).timeout(super::PROGRAM)
}

/// macOS has a program of this name that is another one; Homebrew's lies in a folder of its own.
fn hint(host: &dyn Host) -> String {
    let packages = [("apt-get", "libnss3-tools"), ("dnf", "nss-tools"), ("zypper", "mozilla-nss-tools")];
    let found = packages.iter().find(|(program, _)| host.which(program).is_some());
    match found {
        Some((manager, package)) => format!("sudo {manager} install {package}"),
        None if host.which("pacman").is_some() => "sudo pacman -S nss".into(),
        None if host.which("apk").is_some() => "sudo apk add nss-tools".into(),
        None if host.facts().os == "macos" => "brew install nss".into(),
        None => "install NSS's tools (certutil)".into(),
    }
}

async fn is_database(host: &dyn Host, folder: &Path) -> bool {
    host.exists(&folder.join(FILES[0])).await
}

#[async_trait]
impl Store for Nss {
    async fn places(&self, host: &dyn Host) -> Vec<Place> {
        let home = host.folders().home;
        let place = |path: PathBuf, label: String| Place { kind: Kind::Nss, path, label };
        let mut all: Vec<Place> = Vec::new();
        for below in FIREFOX {
            let folder = home.join(below);
            for profile in host.list(&folder).await.unwrap_or_default() {
                let path = folder.join(&profile);
                if is_database(host, &path).await {
                    all.push(place(path, format!("Firefox, profile {profile}")));
                }
            }
        }
        let before = all.len();
        for (label, below) in CHROMIUM {
            if is_database(host, &home.join(below)).await {
                all.push(place(home.join(below), label.into()));
            }
        }
        let own = all.iter().skip(before).any(|place| place.label == "Chromium");
        let linux = host.facts().os == "linux";
        if linux && !own && CHROMIUM_PROGRAMS.iter().any(|program| host.which(program).is_some()) {
            all.push(place(home.join(CHROMIUM_OWN), "Chromium".into()));
        }
        all
    }

    async fn look(&self, host: &dyn Host, place: &Place, anchor: &Anchor) -> Result<State, StoreError> {
        if host.which("certutil").is_none() {
            return Ok(State::Unavailable { reason: "certutil is not installed".into(), hint: hint(host) });
        }
        if !is_database(host, &place.path).await {
            return Ok(State::Missing);
        }
        let id = anchor.id();
        let found = host.run(&certutil(place, ["-L", "-n", &id, "-a"]).may_fail()).await?;
        if !judge(anchor, &place.path, &found.stdout)? {
            return Ok(State::Missing);
        }
        let listing = host.run(&certutil(place, ["-L"])).await?.stdout();
        // name and flags, parted by blanks; our names have none
        let flags = listing
            .lines()
            .filter_map(|line| line.trim_end().rsplit_once(' '))
            .find_map(|(name, flags)| (name.trim_end() == id).then_some(flags));
        Ok(match flags {
            Some(flags) if flags.starts_with('C') => State::Trusted,
            _ => State::Partly("the database holds it, but does not trust it".into()),
        })
    }

    async fn must_be_made(&self, host: &dyn Host, place: &Place) -> bool {
        !is_database(host, &place.path).await
    }

    async fn add(&self, host: &dyn Host, place: &Place, anchor: &Anchor, certificate: &Path) -> Result<(), StoreError> {
        if !is_database(host, &place.path).await {
            host.create_folder(&place.path, 0o700).await?;
            host.run(&certutil(place, ["-N", "--empty-password"])).await?;
        }
        let (id, file) = (anchor.id(), certificate.to_string_lossy());
        let added = host.run(&certutil(place, ["-A", "-t", TRUSTED, "-n", &id, "-i", &*file])).await;
        let Err(error) = added else { return Ok(()) };
        // where a password is asked for, the certificate is in by then, without trust
        let _ = host.run(&certutil(place, ["-D", "-n", &id]).may_fail()).await;
        Err(match error {
            RunError::Failed { output, .. } if output.contains("SEC_ERROR_BAD_PASSWORD") => StoreError::Locked,
            other => other.into(),
        })
    }

    async fn remove(
        &self,
        host: &dyn Host,
        place: &Place,
        anchor: &Anchor,
        _: &Path,
        made: bool,
    ) -> Result<(), StoreError> {
        match self.look(host, place, anchor).await? {
            State::Trusted | State::Partly(_) => {
                host.run(&certutil(place, ["-D", "-n", &anchor.id()])).await?;
            }
            State::Unavailable { .. } if is_database(host, &place.path).await => {
                // says which program is missing
                host.run(&certutil(place, ["-L"])).await?;
            }
            _ => {}
        }
        if made && is_database(host, &place.path).await && is_empty(host, place).await? {
            for file in FILES {
                host.remove(&place.path.join(file)).await?;
            }
            remove_empty_folders(host, &place.path).await;
        }
        Ok(())
    }
}

/// No certificate and no key: nobody else has come to use it.
async fn is_empty(host: &dyn Host, place: &Place) -> Result<bool, StoreError> {
    let certificates = host.run(&certutil(place, ["-L"])).await?.stdout();
    // three lines of heading
    let listed = certificates.lines().filter(|line| !line.trim().is_empty() && !line.contains("Trust Attributes"));
    let listed = listed.filter(|line| !line.contains("SSL,S/MIME,JAR/XPI")).count();
    // status 255 and "no keys found"
    let keys = host.run(&certutil(place, ["-K"]).may_fail()).await?;
    let none = [keys.stdout(), keys.stderr()].concat().contains("no keys found");
    Ok(listed == 0 && !keys.success() && none)
}

/// The database's folder and `.pki`, as far as nothing is in them.
async fn remove_empty_folders(host: &dyn Host, path: &Path) {
    let home = host.folders().home;
    for folder in path.ancestors().take(2) {
        // what a browser has put there in this very moment stays
        if folder == home || !folder.starts_with(&home) || host.remove_empty_folder(folder).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[test]
    fn the_package_with_certutil_is_that_of_the_system() {
        for (program, os, expected) in [
            ("apt-get", "linux", "sudo apt-get install libnss3-tools"),
            ("dnf", "linux", "sudo dnf install nss-tools"),
            ("zypper", "linux", "sudo zypper install mozilla-nss-tools"),
            ("pacman", "linux", "sudo pacman -S nss"),
            ("apk", "linux", "sudo apk add nss-tools"),
            ("brew", "macos", "brew install nss"),
            ("emerge", "linux", "install NSS's tools (certutil)"),
        ] {
            let host = FakeHost::new().program(program).facts_with(|facts| facts.os = os.into());
            assert_eq!(hint(&host), expected, "{program}");
        }
    }
}
