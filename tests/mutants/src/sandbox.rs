//! Own mounts, network and processes: a mutant that breaks something breaks nothing of the machine.

use crate::files::Folder;
use crate::run;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

const UNSHARE: &[&str] = &["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// $1: the checkout, $2: the folder of the run; then the command, which is told the folder for the tests' files. The shell
/// is process 1 and stays, so that Ctrl-C ends the command (process 1 would not hear it) and everything with it.
const INSIDE: &str = r#"set -e
root=$1 out=$2
shift 2
ip link set lo up
# the engine's socket among other things
mount -t tmpfs tmpfs /run
case "$out:$root" in
  /tmp/* | *:/tmp/*) temporary=$out/tmp ;;
  *) temporary=/tmp && mount --bind "$out/tmp" /tmp ;;
esac
for folder in /boot /etc /home /opt /root /srv /usr /var "$root"; do
  [ -d "$folder" ] || continue
  mount --bind "$folder" "$folder"
  mount -o remount,bind,ro "$folder"
done
# it may lie in one of those
mount --bind "$out" "$out"
mount -o remount,bind,rw "$out"
for folder in "$out/tree" "$out/build"; do
  mount --bind "$folder" "$folder"
  mount -o remount,bind,ro "$folder"
done
cd "$out/tree"
"$@" --inside "$temporary"
"#;

/// The tests, inside of walls where that takes no more than is here; says whether it did.
pub fn run(root: &Path, folder: &mut Folder) -> Result<bool> {
    // what an interrupted run left
    if folder.temporary.exists() {
        std::fs::remove_dir_all(&folder.temporary)?;
    }
    std::fs::create_dir_all(&folder.temporary)?;
    let answers = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    // without root, `unshare` fails
    if !answers(Command::new("unshare").args(UNSHARE).args(["ip", "link", "set", "lo", "up"])) {
        println!("no namespaces (they take root, `unshare` and `ip`): mutants run on this machine as they are");
        folder.temporary = std::env::temp_dir().join(format!("zz-{}", std::process::id()));
        std::fs::create_dir(&folder.temporary)?;
        let ran = run::all(folder);
        let _ = std::fs::remove_dir_all(&folder.temporary);
        return ran.map(|()| false);
    }
    let status = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", INSIDE, "sh"])
        .args([root, &folder.path])
        .arg(std::env::current_exe()?)
        .arg("--out")
        .arg(&folder.path)
        .status()
        .context("could not run unshare")?;
    if !status.success() {
        bail!("the run in its namespaces failed ({status})");
    }
    Ok(true)
}
