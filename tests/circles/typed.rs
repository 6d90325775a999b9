//! A command line that is run, and what it says and changes.

use super::*;

/// One command line, as somebody types it, on a machine as it was before.
pub(super) fn type_in(world: &World, line: &str, known: &mut Files) -> Seen {
    end_all();
    for folder in OWN {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
    }
    for (file, text) in world.files {
        let path = Path::new(FOLDER).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    // nothing has changed /etc since the look after the command before
    look(known, &OWN);
    let before = known.clone();
    let home = Path::new(FOLDER).join("home");
    let (out, err) = (Path::new("/run/out"), Path::new("/run/err"));
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .env_clear()
        .env("PATH", format!("{FOLDER}/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
        .env("HOME", &home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .current_dir(Path::new(FOLDER).join("project"))
        .stdin(Stdio::null())
        .stdout(File::create(out).unwrap())
        .stderr(File::create(err).unwrap());
    if let Some(endpoint) = world.endpoint {
        command.env("DOCKER_HOST", endpoint);
    }
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let patience = if STAY.contains(&line) { STAYED } else { PATIENCE };
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status.code().unwrap_or(-1)),
            None if begun.elapsed() > patience => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = begun.elapsed();
    if code.is_none() {
        end_all();
        child.wait().unwrap();
    }
    let text = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let said = text(out) + &text(err);
    look(known, &[OWN[0], OWN[1], "/etc"]);
    let content = |file: Option<&Kept>| file.map(|file| Rc::clone(&file.content));
    let changed = before.iter().filter(|(path, was)| content(known.get(*path)) != content(Some(was)));
    let advice = |labels: &'static [&'static str]| {
        let lines = said.lines().map(str::trim_start);
        lines.filter_map(move |line| labels.iter().find_map(|label| line.strip_prefix(label)).map(str::trim))
    };
    // what a command is for stands behind it
    let command = |text: &str| text.split("  (").next().unwrap_or(text).to_owned();
    Seen {
        code,
        error: said.lines().find_map(|line| line.strip_prefix("error: ")).map(str::to_owned),
        sentences: advice(&["hint:"]).count(),
        next: advice(&["try:", "or:"]).map(command).collect(),
        changed: changed.map(|(path, _)| path.display().to_string()).collect(),
        said,
        took,
    }
}

/// A file as it was read last, and what says that it is still the same.
#[derive(Clone)]
pub(super) struct Kept {
    stamp: (u64, u64, i64, i64),
    content: Rc<[u8]>,
}

pub(super) type Files = BTreeMap<PathBuf, Kept>;

/// What is there now, with its content. What has not been touched is not read once more: there are some hundred files
/// in /etc, and this looks at them twice for each command.
pub(super) fn look(known: &mut Files, folders: &[&str]) {
    fn walk(folder: &Path, known: &Files, all: &mut Files) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&path, known, all);
            // /etc/mtab is a link to what is mounted at the moment
            } else if kind.is_file()
                && let Ok(now) = entry.metadata()
            {
                let stamp = (now.ino(), now.size(), now.ctime(), now.ctime_nsec());
                let kept = known.get(&path).filter(|kept| kept.stamp == stamp).cloned();
                let read = || std::fs::read(&path).map(|content| Kept { stamp, content: content.into() });
                if let Some(kept) = kept.or_else(|| read().ok()) {
                    all.insert(path, kept);
                }
            }
        }
    }
    let mut all = known.clone();
    all.retain(|path, _| !folders.iter().any(|folder| path.starts_with(folder)));
    for folder in folders {
        walk(Path::new(folder), known, &mut all);
    }
    *known = all;
}

/// Every other process of this namespace.
fn end_all() {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|pid| !pid.is_init()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
