//! A real browser: Chromium without a screen, driven by ChromeDriver (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, is_root, skipped};

/// One browser with a profile of its own. Gone when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// `None`, said aloud: there is none on this machine. `rules`: names that lead elsewhere, as
    /// `--host-resolver-rules` takes them.
    pub fn start(scenario: &str, rules: &str) -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let started = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = started else {
            skipped(scenario, "chromium", "chromedriver is not installed");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        // whatever else it says is read, so that it never waits
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let profile = TempDir::with_prefix("macula-browser-").unwrap();
        let mut browser = Self { driver, port: port.unwrap(), session: String::new(), _profile: profile };
        let mut args = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--window-size=1200,1000".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
            format!("--host-resolver-rules={rules}"),
        ];
        if is_root() {
            args.push("--no-sandbox".to_owned());
        }
        let options = json!({"args": args});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let made = browser.call("POST", "/session", &wanted);
        let Some(session) = made["value"]["sessionId"].as_str() else {
            skipped(scenario, "chromium", &format!("no session: {}", made["value"]["message"]));
            return None;
        };
        browser.session = session.to_owned();
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" || method == "DELETE" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        // it keeps the connection, whatever it is asked
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while answer.read_line(&mut line).unwrap() > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut content = vec![0; length];
        answer.read_exact(&mut content).unwrap();
        serde_json::from_slice(&content).unwrap_or(Value::Null)
    }

    fn command(&self, method: &str, what: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{what}", self.session), body)["value"].clone()
    }

    pub fn open(&self, url: &str) {
        self.command("POST", "url", &json!({"url": url}));
    }

    /// Opens a page in a window of its own, which is the one that is used from then on; its handle.
    pub fn window(&self, url: &str) -> String {
        let made = self.command("POST", "window/new", &json!({"type": "window"}));
        let handle = made["handle"].as_str().unwrap().to_owned();
        self.switch(&handle);
        self.open(url);
        handle
    }

    pub fn switch(&self, handle: &str) {
        self.command("POST", "window", &json!({"handle": handle}));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script that waits comes to: `expression` is a promise.
    pub fn wait(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             Promise.resolve().then(() => ({expression})).then(done, error => done(String(error)))"
        );
        self.command("POST", "execute/async", &json!({"script": script, "args": []}))
    }

    /// The text of the page.
    pub fn text(&self) -> String {
        self.run("return document.body ? document.body.innerText : ''").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page has this text.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "the page never shows `{text}`:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Clicks the button or link with this text, once it is there.
    #[track_caller]
    pub fn click(&self, text: &str) {
        let text = json!(text);
        let script = format!(
            "const found = [...document.querySelectorAll('button, a, summary')].find(one => one.innerText.trim() === {text}); \
             if (found) found.click(); return !!found"
        );
        // what comes and goes with each look is waited for, as a person does
        let begun = Instant::now();
        while self.run(&script) != true {
            assert!(begun.elapsed() < PATIENCE, "nothing to click is called {text}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
